package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// units of sizes, the largest first (IEC 80000-13).
var units = []struct {
	name  string
	bytes int64
}{{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", gib}, {"MiB", mib}, {"KiB", kib}, {"", 1}}

// ParseSize reads a number of bytes: a whole number with KiB, MiB, GiB, TiB or
// PiB behind it, or without a unit.
func ParseSize(s string) (int64, error) {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(s, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || int64(n) > math.MaxInt64/unit.bytes {
			break
		}
		return int64(n) * unit.bytes, nil
	}
	return 0, fmt.Errorf("parsing the size %q: write such as 64KiB, 1MiB or 8GiB", clip(s))
}

// FormatSize writes n bytes as ParseSize reads it, in the largest unit of which
// it is a whole number. n must not be negative.
func FormatSize(n int64) string {
	for _, unit := range units {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return "0"
}

func sizeField[N int | int64](key, help string, p *N, least, most N) field {
	return field{key: key, help: help, kind: size,
		set: func(v any) error {
			s, err := asText(v)
			if err != nil {
				return err
			}
			n, err := ParseSize(s)
			if err != nil {
				return errors.New("expected " + kinds[size].expects)
			}
			if int64(N(n)) != n { // an int of 32 bits
				n = int64(most) + 1
			}
			*p = N(n)
			return nil
		},
		show: func() string { return FormatSize(int64(*p)) },
		check: func() error {
			if *p < least || *p > most {
				return fmt.Errorf("expected %s to %s", FormatSize(int64(least)), FormatSize(int64(most)))
			}
			return nil
		}}
}
