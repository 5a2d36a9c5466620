package test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools are the programs that the scenarios use, and their Debian packages.
var tools = map[string]string{
	"openssl": "openssl", "curl": "curl", "gcc": "gcc",
	"swtpm": "swtpm", "softhsm2-util": "softhsm2",
	"mosquitto_pub": "mosquitto-clients", "mosquitto_sub": "mosquitto-clients", "mosquitto_rr": "mosquitto-clients", "node": "nodejs",
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the programs once and puts them in front of PATH.
func run(m *testing.M) int {
	flag.Parse()
	// Each scenario has a server of its own: two at once are enough for a small machine.
	if err := flag.Set("test.parallel", "2"); err != nil {
		return complain(err)
	}
	for tool, from := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return complain(fmt.Errorf("%s is missing: install Debian's package %s", tool, from))
		}
	}
	if softHSM() == "" {
		return complain(fmt.Errorf("libsofthsm2.so is missing: install Debian's package softhsm2"))
	}
	bin, err := os.MkdirTemp("", "holdfast-test-bin-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(bin)
	if err := build(bin, "holdfast", "CGO_ENABLED=0"); err != nil {
		return complain(err)
	}
	if err := build(bin, "holdfast-signer", "CGO_ENABLED=1", "-tags", "pkcs11"); err != nil {
		return complain(err)
	}
	if err := os.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		return complain(err)
	}
	// The machine's own configuration must not leak into the tests.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "HOLDFAST_") {
			os.Unsetenv(name)
		}
	}
	return m.Run()
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "preparing the tests:", err)
	return 1
}

// build compiles a program under cmd/ as it is shipped: never with the race
// detector, whatever the tests run with.
func build(dir, name, cgo string, flags ...string) error {
	args := append([]string{"build", "-o", filepath.Join(dir, name)}, flags...)
	cmd := exec.Command("go", append(args, "./cmd/"+name)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return nil
}

// softHSM finds the PKCS#11 module of SoftHSM, or returns "".
func softHSM() string {
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}
