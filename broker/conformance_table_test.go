package broker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statements is how many normative statements the standard's appendix B has.
const statements = 251

// TestConformanceTable reads docs/protocol/mqtt-conformance.md: every statement of
// the standard once, and nothing named there that does not exist.
func TestConformanceTable(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol/mqtt-conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, vectors := goTests(t), vectorNames(t)
	row := regexp.MustCompile(`(?m)^\| MQTT-([0-9.]+)-([0-9]+) \|(.*)\|$`)
	named := regexp.MustCompile("(vector )?`([^`]+)`")
	last, rows := map[string]int{"2.2.1": 1}, 0 // that section begins with 2
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		rows++
		section, name := m[1], fmt.Sprintf("MQTT-%s-%s", m[1], m[2])
		n, _ := strconv.Atoi(m[2])
		if n != last[section]+1 {
			t.Errorf("%s follows number %d", name, last[section])
		}
		last[section] = n
		cells := strings.Split(m[3], "|")
		shown := strings.TrimSpace(cells[len(cells)-1])
		if len(cells) != 4 || strings.TrimSpace(cells[2]) == "" {
			t.Errorf("%s: %d cells", name, len(cells)+1)
		}
		if shown == "client's side" || strings.HasPrefix(shown, "not met: ") {
			continue
		}
		found := named.FindAllStringSubmatch(shown, -1)
		if len(found) == 0 {
			t.Errorf("%s: no test", name)
		}
		for _, f := range found {
			if f[1] == "" && !tests[f[2]] || f[1] != "" && !vectors[f[2]] {
				t.Errorf("%s: there is no %s", name, f[0])
			}
		}
	}
	if rows != statements {
		t.Errorf("%d rows", rows)
	}
}

func goTests(t *testing.T) map[string]bool {
	all := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, dir := range []string{".", "../mqtt", "../test"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range decl.FindAllStringSubmatch(string(text), -1) {
				all[m[1]] = true
			}
		}
	}
	return all
}

func vectorNames(t *testing.T) map[string]bool {
	all := map[string]bool{}
	for _, file := range []string{"valid", "refused"} {
		text, err := os.ReadFile("../test/vectors/mqtt/" + file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var vectors []struct{ Name string }
		if err := json.Unmarshal(text, &vectors); err != nil {
			t.Fatal(err)
		}
		for _, v := range vectors {
			all[v.Name] = true
		}
	}
	return all
}
