package browser

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// terminal is a command line with a home folder of its own, on the built program.
type terminal struct {
	t             *testing.T
	program, home string
	site          *site
}

func (s *site) terminal(t *testing.T) *terminal {
	t.Helper()
	dir := t.TempDir()
	c := &terminal{t: t, program: filepath.Join(dir, "holdfast"), home: filepath.Join(dir, "home"), site: s}
	build := exec.Command("go", "build", "-o", c.program, "./cmd/holdfast")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building holdfast: %v\n%s", err, out)
	}
	return c
}

// command is one that knows nothing but its home folder.
func (c *terminal) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = []string{"HOME=" + c.home, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// run runs one to its end and expects an exit code and words.
func (c *terminal) run(code int, words string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := c.command(ctx, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	if got := exitCode(exit); got != code || !strings.Contains(string(out), words) {
		c.t.Fatalf("holdfast %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), got, code, words, out)
	}
	return string(out)
}

func exitCode(e *exec.ExitError) int {
	if e == nil {
		return 0
	}
	return e.ExitCode()
}

var (
	shownPage = regexp.MustCompile(`(?m)^ +(https://\S+)$`)
	shownCode = regexp.MustCompile(`(?m)^ +([A-Z0-9]{4}-[A-Z0-9]{4})$`)
)

// login runs `holdfast login`, hands what it shows to somebody, and returns what it
// said and how it ended.
func (c *terminal) login(answer func(page, code string), args ...string) (said string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := c.command(ctx, append([]string{"login"}, args...)...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close()
		ended <- err
	}()
	var text strings.Builder
	asked := false
	for buf := make([]byte, 4096); ; {
		n, err := r.Read(buf)
		text.Write(buf[:n])
		if !asked && strings.Contains(text.String(), "Waiting;") {
			asked = true
			page, code := shownPage.FindStringSubmatch(text.String()), shownCode.FindStringSubmatch(text.String())
			if page == nil || code == nil {
				c.t.Fatalf("the command line shows no page or no code:\n%s", text.String())
			}
			answer(page[1], code[1])
		}
		if err != nil {
			break
		}
	}
	var exit *exec.ExitError
	if err := <-ended; err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return text.String(), exitCode(exit)
}

// decide walks the page that the command line named: the code, a look at who asks, a
// button.
func (p *person) decide(page, code, button, words string) {
	p.t.Helper()
	p.open(page)
	p.wait("the field for the code", `document.querySelector("[name=code]")?.checkVisibility()`)
	p.fillNamed("code", strings.ToLower(code))
	p.press("Look at it")
	p.reads("Is this code on your own screen?")
	p.reads(code)
	p.press(button)
	p.reads(words)
}

// TestLogin is a command line that somebody lets in from a browser: it is turned away
// when they say no, is they when they say yes, can do no more than was asked for, and
// is nobody after logout, even with the tokens it had.
func TestLogin(t *testing.T) {
	s := up(t, false)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	c := s.terminal(t)
	server := []string{"--server", s.ready.API, "--ca", s.ready.CAFile}

	said, code := c.login(func(page, code string) { p.decide(page, code, "No, turn it away", "It did not get in") }, server...)
	if code != 1 || strings.Contains(said, "logged in") {
		t.Errorf("turned away, it ended with %d:\n%s", code, said)
	}
	c.run(2, "the API token is missing", append([]string{"person", "list"}, server...)...)

	said, code = c.login(func(page, code string) { p.decide(page, code, "Let it in", "You can close this page") }, server...)
	if code != 0 || !strings.Contains(said, "logged in to "+s.ready.API+" as ") || !strings.Contains(said, "Ada Lovelace") {
		t.Fatalf("let in, it ended with %d:\n%s", code, said)
	}
	p.clean("letting a command line in")
	c.run(0, "Ada Lovelace", "person", "list")
	c.run(0, "Ada Lovelace", "account", "show")
	p.Go("/account/sign-ins")
	p.reads("holdfast")

	profiles, err := filepath.Glob(filepath.Join(c.home, ".config", "holdfast", "profiles*"))
	if err != nil || len(profiles) == 0 {
		t.Fatalf("there is no file of profiles: %v", err)
	}
	kept, err := os.ReadFile(profiles[0])
	if err != nil {
		t.Fatal(err)
	}
	c.run(0, "logged out", "logout")
	c.run(1, "you are not logged in", "person", "list")
	if err := os.WriteFile(profiles[0], kept, 0o600); err != nil { // somebody had copied them
		t.Fatal(err)
	}
	c.run(1, "", "person", "list")

	said, code = c.login(func(page, code string) { p.decide(page, code, "Let it in", "You can close this page") }, append(server, "--again", "--only", "device.read")...)
	if code != 0 {
		t.Fatalf("let in again, it ended with %d:\n%s", code, said)
	}
	c.run(0, "", "device", "list")
	if out := c.run(1, "", "person", "list"); !strings.Contains(out, "person.read") {
		t.Errorf("with device.read alone: %s", out)
	}
}
