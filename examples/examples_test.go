package examples_test

import (
	"io/fs"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/examples"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/plan"
)

// The example's policy loads without a problem, and all its own tests pass, by
// day and by night.
func TestRiversideWaterPolicy(t *testing.T) {
	var files []manifest.File
	err := fs.WalkDir(examples.RiversideWater(), "policy", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(examples.RiversideWater(), path)
		files = append(files, manifest.File{Name: path, Data: text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m, problems := manifest.Load(files)
	for _, p := range problems {
		t.Error(p)
	}
	set, problems := policy.Compile(m, policy.Config{PayloadMax: 256 << 10})
	for _, p := range problems {
		t.Error(p)
	}
	if t.Failed() {
		t.FailNow()
	}
	allowed, denied := 0, 0
	for _, hour := range []int{3, 12} {
		for _, r := range plan.Tests(set, m, time.Date(2026, 5, 4, hour, 0, 0, 0, time.UTC)) {
			if !r.Passed {
				t.Error(r)
			}
			if r.Explanation.Decision.Allowed {
				allowed++
			} else {
				denied++
			}
		}
	}
	if allowed < 20 || denied < 20 {
		t.Errorf("the tests cover %d allowed and %d denied actions: too few", allowed, denied)
	}
}
