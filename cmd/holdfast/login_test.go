package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func (w *world) fingerprint() string {
	sum := sha256.Sum256(w.srv.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

func TestLogInWorkLogOut(t *testing.T) {
	w := newWorld(t)
	w.onWait = w.approves
	r := w.run(nil, "login", "--server", w.srv.URL, "--fingerprint", strings.ToUpper(w.fingerprint()))
	r.check(t, 0, "To log in, open", w.srv.URL+"/device", "Waiting; ctrl-C ends it.", "logged in to "+w.srv.URL+" as Alice (profile 127.0.0.1)")
	if strings.Contains(r.err, "▀") || strings.Contains(r.out+r.err, "\x1b") {
		t.Errorf("colours without a terminal:\n%s%s", r.out, r.err)
	}
	for path, mode := range map[string]os.FileMode{w.profilesFile(): 0o600, filepath.Dir(w.profilesFile()): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	p := w.only()
	if p.Account != "Alice" || p.AccountID != "palice0000000000x" || p.RefreshToken == "" || !p.Renewing.IsZero() {
		t.Errorf("the profile is %+v", p)
	}
	w.run(nil, "zone", "list").check(t, 0, "nothing to list")
	w.run(nil, "zone", "list", "--server", strings.ToUpper(w.srv.URL[:5])+w.srv.URL[5:]+"/").check(t, 0, "nothing to list")
	w.run(nil, "login").check(t, 0, "you are logged in", "--again")
	show := w.run(nil, "profile", "show", "-o", "json")
	show.check(t, 0, `"current": true`, w.fingerprint())
	if strings.Contains(show.out, p.RefreshToken) || strings.Contains(show.out, p.AccessToken) {
		t.Errorf("a profile shows its tokens:\n%s", show.out)
	}

	// An access token that ends is renewed before it is needed, once.
	w.moved.Add(int64(20 * time.Minute))
	w.run(nil, "zone", "list").check(t, 0)
	w.run(nil, "zone", "list").check(t, 0)
	if q := w.only(); q.RefreshToken == p.RefreshToken || q.AccessToken == p.AccessToken || !q.Renewing.IsZero() {
		t.Errorf("the tokens were not renewed: %+v", q)
	}
	if all, live, turns, stolen := w.signIns.state(); all != 1 || live != 1 || turns != 1 || stolen != 0 {
		t.Errorf("%d sign-ins, %d live, %d renewals, %d thefts", all, live, turns, stolen)
	}

	// Logging in again makes a new sign-in and ends the one before.
	w.run(nil, "login", "--again").check(t, 0, "logged in")
	if all, live, _, stolen := w.signIns.state(); all != 2 || live != 1 || stolen != 0 {
		t.Errorf("%d sign-ins, %d live, %d thefts", all, live, stolen)
	}
	w.run(nil, "logout").check(t, 0, "logged out of "+w.srv.URL)
	if _, live, _, _ := w.signIns.state(); live != 0 || w.only().RefreshToken != "" || w.only().AccessToken != "" || w.only().CA == "" {
		t.Errorf("%d live; the profile is %+v", live, w.only())
	}
	w.run(nil, "logout").check(t, 0, "was not logged in")
	w.run(nil, "zone", "list").check(t, 1, "you are not logged in", "fix: run `holdfast login --profile 127.0.0.1`")
	w.run(nil, "login").check(t, 0, "logged in")
	w.run(nil, "profile", "remove", "127.0.0.1").check(t, 2, "give --yes")
	w.run(nil, "profile", "remove", "127.0.0.1", "--yes").check(t, 0, "removed")
	if _, live, _, _ := w.signIns.state(); live != 0 || len(w.stored().Profiles) != 0 || w.stored().Current != "" {
		t.Errorf("%d live, %+v", live, w.stored())
	}
}

func TestWhoIsTrusted(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/oauth/") {
			asked++
		}
		return false
	}
	w.run(nil, "login", "--server", w.srv.URL).check(t, 1, "an authority that this machine does not know", w.fingerprint(), "--fingerprint")
	w.run(nil, "login", "--server", w.srv.URL, "--yes").check(t, 1, "does not know")
	w.run(nil, "login", "--server", w.srv.URL, "--fingerprint", strings.Repeat("0", 64)).check(t, 1, "not the one that you gave")
	w.run(nil, "login", "--server", w.srv.URL, "--fingerprint", "12").check(t, 2, "not a SHA-256 fingerprint")
	w.run(nil, "login", "--server", strings.Replace(w.srv.URL, "127.0.0.1", "localhost", 1), "--fingerprint", w.fingerprint()).check(t, 1, "checking the server's certificate")
	w.run(nil, "login", "--server", "http://127.0.0.1").check(t, 2, "is not an https URL")
	w.run(nil, "login").check(t, 2, "it is not said which server")
	if asked != 0 {
		t.Errorf("%d calls before the server was trusted", asked)
	}
	if _, err := os.Stat(w.profilesFile()); !os.IsNotExist(err) {
		t.Errorf("a profile was written: %v", err)
	}
}

func TestProfilesOfSeveralServers(t *testing.T) {
	one, two := newWorld(t), newWorld(t)
	two.home = one.home
	one.logIn("--profile", "one")
	two.logIn()
	if s := one.stored(); s.Current != "127.0.0.1" || len(s.Profiles) != 2 {
		t.Fatalf("got %+v", s)
	}
	asked := map[string]int{}
	count := func(name string, w *world) {
		w.before = func(_ http.ResponseWriter, r *http.Request) bool { asked[name]++; return false }
	}
	count("one", one)
	count("two", two)
	used := func(want string, env []string, args ...string) {
		t.Helper()
		clear(asked)
		one.run(env, append([]string{"zone", "list"}, args...)...).check(t, 0)
		if len(asked) != 1 || asked[want] != 1 {
			t.Errorf("%v %v went to %v, want %s", env, args, asked, want)
		}
	}
	used("two", nil)
	used("one", nil, "--profile", "one")
	used("one", nil, "--server", one.srv.URL)
	used("one", []string{"HOLDFAST_PROFILE=one"})
	used("one", []string{"HOLDFAST_SERVER=" + one.srv.URL})
	used("one", []string{"HOLDFAST_SERVER=" + two.srv.URL, "HOLDFAST_TOKEN=wrong"}, "--profile", "one")
	used("two", []string{"HOLDFAST_SERVER=" + two.srv.URL, "HOLDFAST_PROFILE=one"})
	used("one", []string{"HOLDFAST_DATA=/nowhere", "HOLDFAST_PROFILE=one"})
	one.run([]string{"HOLDFAST_DATA=" + one.home}, "zone", "list").check(t, 1, "no server is running on the data folder")
	one.run(nil, "zone", "list", "--profile", "one", "--server", one.srv.URL).check(t, 2, "each name a server")
	one.run(nil, "zone", "list", "--profile", "none").check(t, 1, `there is no profile "none"`, "127.0.0.1, one")
	one.run(nil, "login", "--profile", "one", "--server", two.srv.URL).check(t, 1, "profile one is for "+one.srv.URL)
	one.run(nil, "profile", "use", "one").check(t, 0)
	used("one", nil)
	one.run(nil, "profile", "list").check(t, 0, one.srv.URL, two.srv.URL, "Alice")
	one.run([]string{"HOLDFAST_SERVER=" + one.srv.URL, "HOLDFAST_TOKEN=wrong"}, "zone", "list").check(t, 1, "the credential is not valid")
	one.run([]string{"HOLDFAST_SERVER=" + one.srv.URL, "HOLDFAST_TOKEN=two words"}, "zone", "list").check(t, 2, "HOLDFAST_TOKEN does not hold a token")
	nobody := newWorld(t)
	nobody.run(nil, "zone", "list").check(t, 1, "it is not known which server is meant", nobody.profilesFile(), "/var/lib/holdfast", "holdfast login --server URL")
}

func TestThePersonSaysNoOrNothing(t *testing.T) {
	w := newWorld(t)
	ca := w.caFile()
	w.onWait = func(screen string) { _ = w.oauth.Deny(context.Background(), w.alice(), shownUserCode(screen)) }
	w.run(nil, "login", "--server", w.srv.URL, "--ca", ca).check(t, 1, "the sign-in was turned down")
	w.onWait = nil
	w.run(nil, "login", "--server", w.srv.URL, "--ca", ca).check(t, 1, "the code was not approved in time", "fix: start again")
	polls := 0
	w.before = func(rw http.ResponseWriter, r *http.Request) bool { // a server that is busy, then gone for a moment
		if r.URL.Path != "/oauth/token" {
			return false
		}
		switch polls++; polls {
		case 1:
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(400)
			_, _ = rw.Write([]byte(`{"error":"slow_down"}`))
		case 2:
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	}
	var waited []time.Duration
	last := w.now()
	w.onWait = func(screen string) {
		waited, last = append(waited, w.now().Sub(last)), w.now()
		if len(waited) == 4 {
			w.approves(screen)
		}
	}
	w.run(nil, "login", "--server", w.srv.URL, "--ca", ca).check(t, 0, "logged in")
	if got := fmt.Sprint(waited); got != "[5s 10s 20s 20s]" {
		t.Errorf("waited %s", got)
	}
	if all, _, _, _ := w.signIns.state(); all != 1 {
		t.Errorf("%d sign-ins", all)
	}
}

func TestHostileLoginServers(t *testing.T) {
	good := `"device_code":"d","user_code":"BCDF-GHJK","verification_uri":"https://h.example/device","expires_in":600,"interval":5`
	for name, c := range map[string]struct {
		status int
		kind   string
		body   string
		words  string
	}{
		"garbage":      {200, "application/json", "\x00\xff{", "is not the JSON that was expected"},
		"html":         {200, "text/html", "<html>", "is not JSON: this is no Holdfast server"},
		"huge":         {200, "application/json", `{"device_code":"` + strings.Repeat("x", 1<<20), "is longer than"},
		"not found":    {404, "text/plain", "404", "is not JSON"},
		"redirect":     {302, "text/html", "", "is not JSON"},
		"empty":        {200, "application/json", "{}", "its device code is not one"},
		"types":        {200, "application/json", `{"device_code":7}`, "is not the JSON"},
		"script":       {200, "application/json", `{"device_code":"d","user_code":"B","verification_uri":"javascript:alert(1)","expires_in":600}`, "its page is not an https URL"},
		"option":       {200, "application/json", `{"device_code":"d","user_code":"B","verification_uri":"--help","expires_in":600}`, "its page is not an https URL"},
		"terminal":     {200, "application/json", `{"device_code":"d","user_code":"B\u001b[2J","verification_uri":"https://h","expires_in":600}`, "its user code is not one"},
		"page escapes": {200, "application/json", `{"device_code":"d","user_code":"B","verification_uri":"https://h/\u001b[2J","expires_in":600}`, "its page is not an https URL"},
		"expired":      {200, "application/json", strings.Replace("{"+good+"}", "600", "0", 1), "has expired already"},
		"long error":   {400, "application/json", `{"error":"x","error_description":"` + strings.Repeat("y", 2000) + `"}`, "is not an OAuth error"},
		"error":        {400, "application/json", `{"error":"invalid_client","error_description":"go \u001b[2J away"}`, "go \ufffd[2J away"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.before = func(rw http.ResponseWriter, r *http.Request) bool {
				rw.Header().Set("Content-Type", c.kind)
				rw.Header().Set("Location", "https://127.0.0.1:1/")
				rw.WriteHeader(c.status)
				_, _ = rw.Write([]byte(c.body))
				return true
			}
			r := w.run(nil, "login", "--server", w.srv.URL, "--ca", w.caFile())
			r.check(t, 1, c.words)
			if strings.Contains(r.out+r.err, "\x1b") || len(r.err) > 2000 {
				t.Errorf("the screen got %.300q", r.err)
			}
		})
	}
	w := newWorld(t) // tokens that would break out of a header, and a wait for ever
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/oauth/token" {
			_, _ = rw.Write([]byte(`{"access_token":"a\r\nX: y","token_type":"Bearer","expires_in":1e9,"refresh_token":"r"}`))
		} else {
			_, _ = rw.Write([]byte("{" + strings.Replace(good, `"interval":5`, `"interval":99999999`, 1) + "}"))
		}
		return true
	}
	began := w.now()
	w.run(nil, "login", "--server", w.srv.URL, "--ca", w.caFile()).check(t, 1)
	if waited := w.now().Sub(began); waited > 10*time.Minute {
		t.Errorf("it waited %s", waited)
	}
}

func TestSlowServersDoNotHoldACommand(t *testing.T) {
	w := newWorld(t)
	over := make(chan struct{})
	defer close(over)
	w.before = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	}
	client, err := httpsClient(w.caFile())
	w.ok(err)
	z := &authorizer{server: w.srv.URL, http: client, now: time.Now, timeout: 50 * time.Millisecond}
	_, err = z.begin(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
}

// program starts the command line as a process of its own.
func (w *world) program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	w.ok(err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(w.env(), "HOLDFAST_TEST_RUN=1")
	return cmd
}

// outdated makes the access token one that has to be renewed now.
func (w *world) outdated() {
	w.put(func(p *storedProfile) { p.AccessExpires = time.Now().Add(-time.Minute) })
}

func TestManyProcessesRenewOnce(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	for range 3 {
		w.outdated()
		_, _, before, _ := w.signIns.state()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if out, err := w.program("zone", "list").CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		if _, live, turns, stolen := w.signIns.state(); live != 1 || turns != before+1 || stolen != 0 {
			t.Errorf("%d live, %d renewals, %d thefts", live, turns-before, stolen)
		}
	}
}

// TestKilledWhileRenewing kills a process after the server renewed its sign-in and
// before the answer arrives. Nothing of that may look like theft.
func TestKilledWhileRenewing(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	w.outdated()
	var killed atomic.Pointer[os.Process]
	var once sync.Once
	hook := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/oauth/token" {
			return false
		}
		once.Do(func() {
			w.oauth.Handler().ServeHTTP(discard{http.Header{}}, r)
			for killed.Load() == nil { // until its starter has noted it
				runtime.Gosched()
			}
			w.ok(killed.Load().Kill())
		})
		panic(http.ErrAbortHandler)
	}
	w.hook.Store(&hook)
	victim := w.program("zone", "list")
	victim.Stdout, victim.Stderr = os.Stderr, os.Stderr
	w.ok(victim.Start())
	killed.Store(victim.Process)
	if err := victim.Wait(); err == nil {
		t.Fatal("the process was not killed")
	}
	w.hook.Store(nil)
	if w.only().Renewing.IsZero() {
		t.Error("the interrupted renewal left no mark")
	}
	w.run(nil, "zone", "list").check(t, 1, "a renewal of the sign-in was interrupted", "fix: run `holdfast login --profile")
	if _, live, turns, stolen := w.signIns.state(); live != 0 || turns != 1 || stolen != 0 {
		t.Errorf("%d live, %d renewals, %d thefts", live, turns, stolen)
	}
	w.onWait = w.approves
	w.run(nil, "login").check(t, 0, "logged in")
	w.run(nil, "zone", "list").check(t, 0)
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func TestRenewalsThatFail(t *testing.T) {
	fail := func(status int, kind, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/oauth/token" {
				return false
			}
			rw.Header().Set("Content-Type", kind)
			rw.WriteHeader(status)
			_, _ = rw.Write([]byte(body))
			return true
		}
	}
	for name, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		words  string
		works  bool // when the server is well again
	}{
		"busy":     {fail(503, "application/json", `{"error":"temporarily_unavailable","error_description":"wait"}`), "renewing the sign-in: wait", true},
		"too many": {fail(429, "application/json", `{"error":"slow_down"}`), "renewing the sign-in: slow_down", true},
		"ended":    {fail(400, "application/json", `{"error":"invalid_grant"}`), "the sign-in has ended", false},
		"proxy":    {fail(502, "text/html", "<html>"), "is not JSON", false},
		"broken":   {fail(500, "application/json", `{"error":"server_error","error_description":"something"}`), "something", false},
		"bad":      {fail(200, "application/json", `{"access_token":"a"}`), "has no tokens that can be used", false},
		"cut off":  {func(_ http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) }, "renewing the sign-in", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.logIn()
			w.moved.Add(int64(20 * time.Minute))
			w.before = c.before
			w.run(nil, "zone", "list").check(t, 1, c.words)
			w.before = nil
			if r := w.run(nil, "zone", "list"); (r.code == 0) != c.works {
				t.Errorf("afterwards: %d %s", r.code, r.err)
			}
			if _, _, _, stolen := w.signIns.state(); stolen != 0 {
				t.Errorf("%d thefts", stolen)
			}
		})
	}
	w := newWorld(t) // a server that is not there leaves the sign-in as it was
	w.logIn()
	w.moved.Add(int64(20 * time.Minute))
	url := w.only().Server
	w.put(func(p *storedProfile) { p.Server = "https://127.0.0.1:1" })
	w.run(nil, "zone", "list").check(t, 1, "renewing the sign-in", "refused")
	w.put(func(p *storedProfile) { p.Server = url })
	w.run(nil, "zone", "list").check(t, 0)

	w.moved.Add(int64(9*time.Minute + 30*time.Second)) // the last half minute of a token is used
	w.before = fail(503, "application/json", `{"error":"temporarily_unavailable"}`)
	w.run(nil, "zone", "list").check(t, 0)
}

func TestAClockThatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	w.put(func(p *storedProfile) { p.AccessToken, p.AccessExpires = "stale", w.now().Add(time.Hour) })
	w.run(nil, "zone", "list").check(t, 0)
	w.api = func(rw http.ResponseWriter, r *http.Request) {
		problem(rw, 403, `{"status":403,"code":"step-up-needed","detail":"this action needs a fresh proof that it is you","fix":"confirm"}`)
	}
	w.run(nil, "zone", "list").check(t, 1, "fresh proof", "holdfast login --again --profile 127.0.0.1", "holdfast account confirm")
}

func TestProfileFilesThatAreNotInOrder(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	good, err := os.ReadFile(w.profilesFile())
	w.ok(err)
	write := func(text string) {
		w.ok(os.RemoveAll(w.profilesFile()))
		w.ok(os.WriteFile(w.profilesFile(), []byte(text), 0o600))
	}
	for name, text := range map[string]string{
		"cut":     string(good[:len(good)/2]),
		"empty":   "",
		"version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"more":    string(good) + "{}",
		"unknown": strings.Replace(string(good), `"version": 1`, `"version": 1, "x": 1`, 1),
		"server":  strings.Replace(string(good), "https://", "http://", 1),
		"current": strings.Replace(string(good), `"current": "127.0.0.1"`, `"current": "else"`, 1),
		"name":    strings.ReplaceAll(string(good), `"127.0.0.1"`, `"../x"`),
		"token":   strings.Replace(string(good), `"refresh_token": "`, `"refresh_token": "a\u000d\u000ab`, 1),
		"ca":      strings.Replace(string(good), "BEGIN CERTIFICATE", "BEGIN SOMETHING", 1),
		"huge":    string(good) + strings.Repeat(" ", maxProfileFile),
	} {
		write(text)
		for _, args := range [][]string{{"zone", "list"}, {"profile", "list"}, {"login", "--server", w.srv.URL}, {"logout"}} {
			if r := w.run(nil, args...); r.code != 1 || !strings.Contains(r.err, "reading the profiles") {
				t.Errorf("%s: %v gives %d %s", name, args, r.code, r.err)
			}
		}
		if after, err := os.ReadFile(w.profilesFile()); err != nil || string(after) != text {
			t.Errorf("%s: a file that was not understood was changed", name)
		}
	}
	write(string(good))
	w.ok(os.Chmod(w.profilesFile(), 0o640))
	w.run(nil, "zone", "list").check(t, 1, "others may read or write", "chmod 600")
	w.ok(os.Chmod(w.profilesFile(), 0o600))
	w.run(nil, "zone", "list").check(t, 0)
	w.ok(os.Rename(w.profilesFile(), w.profilesFile()+".else"))
	w.ok(os.Symlink(w.profilesFile()+".else", w.profilesFile()))
	w.run(nil, "zone", "list").check(t, 1, "reading the profiles", "an ordinary file")
	w.ok(os.Remove(w.profilesFile()))
	w.ok(os.Mkdir(w.profilesFile(), 0o700))
	w.run(nil, "zone", "list").check(t, 1, "is not an ordinary file")
	runIn(t, "", nil, "login", "--server", "https://127.0.0.1:1").check(t, 1, "the environment names no home folder")
}

func TestLogOutWithoutTheServer(t *testing.T) {
	w := newWorld(t)
	w.logIn()
	w.srv.Close()
	w.run(nil, "logout").check(t, 1, "the tokens are gone from this machine, but", "end it in the console")
	if w.only().RefreshToken != "" {
		t.Error("the token is still there")
	}
}

func FuzzParseProfiles(f *testing.F) {
	f.Add([]byte(`{"version":1,"current":"a","profiles":{"a":{"server":"https://h:1","refresh_token":"r","access_token":"a"}}}`))
	f.Add([]byte(`{"version":1,"profiles":{"a":{"server":"https://h/x"}}}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseProfiles(text)
		if err != nil {
			return
		}
		again, err := p.encode()
		if err != nil {
			t.Fatal(err)
		}
		q, err := parseProfiles(again)
		if err != nil || len(q.ByName) != len(p.ByName) || q.Current != p.Current {
			t.Fatalf("%q does not come back: %v", text, err)
		}
		for name, one := range p.ByName {
			if !tokenText(one.Tokens.Access.Reveal()) || !strings.HasPrefix(one.Server, "https://") || strings.ContainsAny(name, "/\\") {
				t.Fatalf("%q was taken", text)
			}
		}
	})
}

func FuzzOAuthAnswers(f *testing.F) {
	f.Add(200, "application/json", []byte(`{"device_code":"d","user_code":"BCDF-GHJK","verification_uri":"https://h.example/device","expires_in":600,"interval":5}`))
	f.Add(400, "application/json; charset=utf-8", []byte(`{"error":"slow_down"}`))
	f.Add(502, "text/html", []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		var d deviceAnswer
		if readOAuth(status, kind, body, &d) == nil {
			if g, err := d.grant(beginning); err == nil {
				if plain(g.page) != g.page || plain(g.shown) != g.shown || !strings.HasPrefix(strings.ToLower(g.page), "https:") || g.interval <= 0 || g.interval > time.Minute || g.until.Sub(beginning) > 30*time.Minute {
					t.Fatalf("%q was taken: %+v", body, g)
				}
			}
		}
		var a tokenAnswer
		if readOAuth(status, kind, body, &a) == nil {
			if got, err := a.tokens(beginning); err == nil && (!tokenText(got.Access.Reveal()) || got.Refresh.Empty() || got.Expires.Sub(beginning) > 24*time.Hour) {
				t.Fatalf("%q was taken", body)
			}
		}
	})
}
