package demo

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-iot/holdfast/examples"
)

func TestFleet(t *testing.T) {
	f, err := loadFleet()
	if err != nil {
		t.Fatal(err)
	}
	if len(f.devices) != 25 || len(f.zones) != 4 || len(f.types) != 8 {
		t.Error(len(f.devices), len(f.zones), len(f.types))
	}
	if f.prototype() == "" || f.production() == "" {
		t.Error("the story of the prototype has no type or zone")
	}
	ids := map[string]bool{}
	for _, d := range f.devices {
		ids[string(d.ID)] = true
	}
	for _, id := range []string{clonedID, technicians, stolenID, doserID, valveID, liarID, victimID, flooderID, snoopID, leakedID} {
		if !ids[id] {
			t.Errorf("the story tells of %s, which the fleet has not", id)
		}
	}
}

func TestBadFleets(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"field":    {"zones.json", `"production"`, `"prodution"`, "zones.json"},
		"json":     {"types.json", "[", "{", "types.json"},
		"row":      {"devices.csv", "pump-plant-1,", "pump plant 1,", "devices.csv line 7"},
		"zone":     {"devices.csv", "riverside-lab", "riverside-attic", "leak-lab-1"},
		"serial":   {"devices.csv", "TW-CD-00931", "", "doser-plant-1"},
		"way":      {"types.json", "waiting-room", "shouting", "shouting"},
		"sign-off": {"types.json", `"stage": "prototype"`, `"stage": "deploy"`, "leak-sensor"},
		"no file":  {"devices.csv", "", "", "devices.csv"},
	} {
		files := fstest.MapFS{}
		for _, file := range []string{"zones.json", "types.json", "devices.csv"} {
			text, err := fs.ReadFile(examples.RiversideWater(), file)
			if err != nil {
				t.Fatal(err)
			}
			if file == c.file {
				if c.old == "" {
					continue
				}
				text = []byte(strings.Replace(string(text), c.old, c.new, 1))
			}
			files[file] = &fstest.MapFile{Data: text}
		}
		if _, err := readFleet(files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
