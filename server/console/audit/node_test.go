package audit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestVerifyModule runs the tests of the check in the browser: its module is the
// same file that browsers load, with the vectors of the package audit.
func TestVerifyModule(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("the check in the browser is tested with Node.js 20 or later, and there is no node in the path")
	}
	// A module is told from a script by its name.
	module := filepath.Join(t.TempDir(), "audit-verify.mjs")
	text, err := os.ReadFile("../assets/js/audit-verify.js")
	if err == nil {
		err = os.WriteFile(module, text, 0o600)
	}
	vectors, err2 := filepath.Abs("../../../audit/testdata")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--no-warnings", "--test", "testdata/verify.test.mjs")
	c.Env = append(os.Environ(), "MODULE="+module, "VECTORS="+vectors)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
