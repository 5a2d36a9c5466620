package sqlite

import (
	"encoding/json"
	"os/exec"
	"testing"
)

type module struct{ Path, Version, GoMod string }

// TestLibc holds modernc.org/libc to the version that modernc.org/sqlite was
// generated for: they share the layout of C structures, and any other version,
// newer ones too, can corrupt memory.
func TestLibc(t *testing.T) {
	list := func(v any, args ...string) {
		t.Helper()
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			t.Fatalf("running go %v: %v", args, err)
		}
		if err := json.Unmarshal(out, v); err != nil {
			t.Fatal(err)
		}
	}
	var libc, sqlite module
	list(&libc, "list", "-m", "-json", "modernc.org/libc")
	list(&sqlite, "list", "-m", "-json", "modernc.org/sqlite")
	var own struct{ Require []module }
	list(&own, "mod", "edit", "-json", sqlite.GoMod)
	for _, r := range own.Require {
		if r.Path == libc.Path {
			if r.Version != libc.Version {
				t.Fatalf("this module uses %s %s, and %s %s needs exactly %s", libc.Path, libc.Version, sqlite.Path, sqlite.Version, r.Version)
			}
			return
		}
	}
	t.Fatalf("%s %s requires no %s", sqlite.Path, sqlite.Version, libc.Path)
}
