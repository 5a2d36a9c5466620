package plan_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/plan"
)

// TestGuide loads every manifest of the guide as one policy, and runs its tests.
func TestGuide(t *testing.T) {
	data, err := os.ReadFile("../../docs/guide/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var docs, conditions []string
	for i, block := range strings.Split(string(data), "```") {
		if text, is := strings.CutPrefix(block, "yaml\n"); is && i%2 == 1 {
			docs = append(docs, text)
		}
		if strings.HasPrefix(block, "\nmessage.size") && i%2 == 1 {
			conditions = strings.Split(strings.TrimSpace(block), "\n")
		}
	}
	m, problems := manifest.Load([]manifest.File{{Name: "guide", Data: []byte(strings.Join(docs, "---\n"))}})
	if len(docs) < 5 || len(problems) > 0 {
		t.Fatalf("%d documents: %v", len(docs), problems)
	}
	if len(conditions) < 3 {
		t.Error("there are no conditions")
	}
	for _, c := range conditions {
		m.DeviceTypes[0].Publish[0].When = c
		compiled(t, m)
	}
	m.DeviceTypes[0].Publish[0].When = ""
	results := plan.Tests(compiled(t, m), m, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	if len(results) < 3 || plan.Failed(results) > 0 {
		t.Error(results)
	}
}
