//go:build ignore

// Command gen makes the compact list of common passwords that package password
// builds in, from lists of text. README.md says which.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/holdfast-iot/holdfast/access/password"
)

func main() {
	out := flag.String("o", "common.bin", "file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(out string, lists []string) error {
	var filters []password.Filter
	for _, name := range lists {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("opening a list: %w", err)
		}
		list, err := password.ReadList(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		filters = append(filters, list)
	}
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("creating the compact list: %w", err)
	}
	if err := password.Filters(filters...).WriteCompact(f); err != nil {
		return err
	}
	return f.Close()
}
