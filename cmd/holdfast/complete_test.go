package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestCompletionAsksTheServer(t *testing.T) {
	answers := map[string]string{
		"GET /devices": `{"items":[{"id":"pump-1"},{"id":"pump-2"},{"id":"pump-\u001b[2J"}]}`,
		"GET /zones":   `{"items":[{"name":"north"},{"name":"south"}]}`, "GET /types": `{"items":[{"name":"pump"}]}`,
		"GET /roles": `{"items":[{"name":"operator"},{"name":"viewer"}]}`, "GET /clients": `{"items":[{"id":"c1","name":"export"}]}`,
		"GET /people": `{"items":[{"id":"palice0000000000x","name":"alice"}]}`, "GET /approvals": `{"items":[{"id":"a1"}]}`,
	}
	env, calls := recorded(t, answers)
	for command, want := range map[string]string{
		"device show pu":                    "pump-1 pump-2",
		"device quarantine pump-1 ":         "pump-2",
		"device show pump-1 ":               "",
		"device list --zone ":               "north south",
		"device create d --type p":          "pump",
		"zone show s":                       "south",
		"zone create s":                     "",
		"type show ":                        "pump",
		"role grant o":                      "operator",
		"role grant operator --person ":     "alice",
		"role create x --permission ca.":    "ca.read ca.rotate",
		"role create x --permission a,ca.r": "a,ca.read a,ca.rotate",
		"client show ":                      "export",
		"person disable a":                  "alice",
		"approval approve ":                 "a1",
		"completion ":                       "bash fish zsh",
		"token revoke ":                     "",
		"version -o y":                      "table json yaml",
	} {
		args := append([]string{"__complete"}, strings.Fields(command)...)
		if strings.HasSuffix(command, " ") {
			args = append(args, "")
		}
		r := runIn(t, "", env, args...)
		var got []string
		for line := range strings.Lines(r.out) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ":") && !strings.HasPrefix(line, "Completion ended") {
				got = append(got, line)
			}
		}
		if strings.Join(got, " ") != want && !sameWords(got, want) || strings.Contains(r.out, "\x1b") {
			t.Errorf("%q completes to %q, want %q", command, got, want)
		}
	}
	for _, c := range *calls {
		if c.path == "/devices" && !strings.Contains(c.query, "limit=200") {
			t.Errorf("an unbounded question: %s", c.query)
		}
	}
}

func sameWords(got []string, want string) bool {
	seen := map[string]bool{}
	for _, g := range got {
		seen[g] = true
	}
	words := strings.Fields(want)
	for _, w := range words {
		if !seen[w] {
			return false
		}
	}
	return len(words) == len(got)
}

func TestCompletionIsQuickAndQuiet(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	env := peer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})
	began := time.Now()
	quiet := func(r result) {
		t.Helper()
		if r.code != 0 || strings.Contains(r.out+r.err, "error") || strings.Contains(r.out, "context") {
			t.Errorf("got %+v", r)
		}
	}
	quiet(runIn(t, "", env, "__complete", "device", "show", ""))
	if took := time.Since(began); took > 2*completionTime {
		t.Errorf("it took %s", took)
	}
	quiet(runIn(t, "", []string{"HOLDFAST_DATA=" + t.TempDir()}, "__complete", "device", "show", ""))
	quiet(runIn(t, "", []string{"HOLDFAST_SERVER=nonsense"}, "__complete", "device", "show", ""))

	w := newWorld(t) // a key press never spends a refresh token
	w.logIn()
	w.moved.Add(int64(20 * time.Minute))
	quiet(w.run(nil, "__complete", "device", "show", ""))
	if _, _, turns, _ := w.signIns.state(); turns != 0 {
		t.Errorf("%d renewals", turns)
	}
	if r := w.run(nil, "__complete", "profile", "use", ""); !strings.Contains(r.out, "127.0.0.1\n") {
		t.Errorf("got %+v", r)
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, words := range map[string]string{"bash": "bash completion", "zsh": "#compdef holdfast", "fish": "complete -c holdfast"} {
		r := runIn(t, "", nil, "completion", shell)
		r.check(t, 0, words)
		if path, err := exec.LookPath(shell); err == nil {
			check := exec.Command(path, "-n")
			check.Stdin = strings.NewReader(r.out)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s does not read its script: %v %s", shell, err, out)
			}
		}
	}
	runIn(t, "", nil, "completion", "tcsh").check(t, 2, `there is no completion for "tcsh"`)
	runIn(t, "", nil, "completion").check(t, 2, "wrong number of arguments")
}

// macros are the requests that the pages may use.
var macros = regexp.MustCompile(`^\.(TH|SH|PP|TP|BR|nf|fi)( |$)`)

func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	runIn(t, "", nil, "man", "--dir", dir).check(t, 0, "manual pages written")
	groff, noGroff := exec.LookPath("groff")
	n := 0
	var every func(*cobra.Command)
	every = func(cmd *cobra.Command) {
		n++
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the summary is %q", cmd.CommandPath(), cmd.Short)
		}
		path := filepath.Join(dir, manName(cmd)+".1")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, ".") && !macros.MatchString(line) || strings.HasPrefix(line, "'") || strings.TrimRight(line, " ") != line {
				t.Errorf("%s:%d: %q", path, i+1, line)
			}
		}
		for _, section := range []string{".SH NAME", ".SH SYNOPSIS", `.SH "EXIT STATUS"`} {
			if !strings.Contains(string(text), section+"\n") {
				t.Errorf("%s has no %s", path, section)
			}
		}
		for _, c := range shownCommands(cmd) {
			every(c)
		}
	}
	a := newApp(strings.NewReader(""), io.Discard, io.Discard, nil)
	every(root(a))
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) != n || n < 100 {
		t.Errorf("%d pages for %d commands, %v", len(pages), n, err)
	}
	if noGroff == nil {
		for _, page := range pages {
			out, err := exec.Command(groff, "-Kutf8", "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("groff: %v\n%s", err, out)
				break
			}
		}
	}
	page := runIn(t, "", nil, "man", "device", "quarantine")
	page.check(t, 0, `.TH "HOLDFAST\-DEVICE\-QUARANTINE" "1"`, `\fB\-\-reason\fP`, ".BR holdfast\\-device (1)")
	runIn(t, "", nil, "man", "nothing").check(t, 2, `there is no command "nothing"`)
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		".so /etc/passwd": `\&.so /etc/passwd`, "'x": `\(aqx`, `a\fBb`: `a\efBb`, "a\n.b": "a\n\\&.b", "-x": `\-x`, "`a`": `\(gaa\(ga`, "…": `\[u2026]`, "😀": `\[u1F600]`,
	} {
		if got := roff(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
