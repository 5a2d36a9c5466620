package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// result is what a run of the program left.
type result struct {
	code     int
	out, err string
}

func runIn(t *testing.T, stdin string, env []string, args ...string) result {
	t.Helper()
	var out, errs strings.Builder
	code := run(args, strings.NewReader(stdin), &out, &errs, env)
	return result{code, out.String(), errs.String()}
}

func (r result) check(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			t.Errorf("%q is missing in\n%s%s", w, r.out, r.err)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args  string
		words []string
	}{
		"flag":        {"device list --nope", []string{"error: unknown flag: --nope", "fix: see holdfast device list --help"}},
		"command":     {"stats", []string{`error: unknown command "stats"`, "fix: did you mean status?"}},
		"subcommand":  {"device lst", []string{`error: holdfast device has no subcommand "lst"`, "fix: did you mean list?"}},
		"none":        {"ca", []string{"error: holdfast ca needs a subcommand", "fix: say which: init, list, bundle, rotate"}},
		"arguments":   {"type create", []string{"error: wrong number of arguments", "fix: write holdfast type create NAME"}},
		"required":    {"token create", []string{`required flag(s) "type", "zone" not set`}},
		"exclusive":   {"ca rotate --root-key x --identity a --passphrase-file b", []string{"identity", "passphrase-file"}},
		"output":      {"version -o xml", []string{`error: --output "xml" is not known`, "fix: use table, json or yaml"}},
		"duration":    {"type create x --validity soon", []string{`invalid argument "soon" for "--validity"`}},
		"index":       {"audit show -- -1", []string{`error: "-1" is not an index`}},
		"time":        {"audit list --since yesterday", []string{`error: --since "yesterday" is not a time`, "fix: write such as"}},
		"config flag": {"up --listen-api 8443", []string{"flag --listen-api: listen.api: expected HOST:PORT"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := runIn(t, "", nil, strings.Fields(c.args)...)
			r.check(t, 2, c.words...)
			if r.out != "" {
				t.Errorf("an error wrote to standard output: %s", r.out)
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	runIn(t, "", nil, "version", "-o", "json").check(t, 0, `"version"`, `"go"`)
	runIn(t, "", nil, "--help").check(t, 0, "Prove what happened:", "enroll")
	runIn(t, "", nil, "completion", "bash").check(t, 0, "bash completion")
}

func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	runIn(t, "", []string{"HOLDFAST_DATA=" + dir}, "status").check(t, 1, "error: no server is running on the data folder "+dir, "fix: start one with `holdfast up --data "+dir+"`")
	runIn(t, "", nil, "status", "--server", "http://127.0.0.1:1", "--token-file", "x").check(t, 2, "is not an https URL")
	runIn(t, "", nil, "status", "--server", "https://127.0.0.1:1").check(t, 2, "the API token is missing")
	runIn(t, "", nil, "status", "--server", "https://127.0.0.1:1", "--token-file", filepath.Join(dir, "none")).check(t, 1, "reading the API token", "fix:")
}

// peer is an HTTPS server that gives recorded answers, and a data folder whose
// ready.json leads to it. It shows what the command line makes of an answer; the
// real API is behind the whole-system scenarios.
func peer(t *testing.T, answer http.HandlerFunc) (env []string) {
	t.Helper()
	srv := httptest.NewTLSServer(answer)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ready := readyFile{API: srv.URL, DeviceAPI: "https://device.example:8444",
		CAFile:         write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))),
		AdminTokenFile: write("token", "secret-token\n")}
	text, err := json.Marshal(ready)
	if err != nil {
		t.Fatal(err)
	}
	write("run/ready.json", string(text))
	return []string{"HOLDFAST_DATA=" + dir}
}

func problem(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func TestRefusalsAreShown(t *testing.T) {
	env := peer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			t.Errorf("the token is %q", r.Header.Get("Authorization"))
		}
		switch r.URL.Path {
		case "/api/v1/devices/d1":
			problem(w, 404, `{"status":404,"code":"no-device","detail":"there is no device d1","fix":"see `+"`holdfast device list`"+`"}`)
		case "/api/v1/devices/import":
			problem(w, 422, `{"status":422,"code":"bad-rows","detail":"2 rows are wrong","errors":[{"line":17,"field":"zone","error":"there is no zone \u001b[2Jx"},{"line":18,"error":"the id stands twice"}]}`)
		case "/api/v1/zones":
			problem(w, 500, `{"status":500,"code":"internal","detail":"something went wrong","request_id":"r7"}`)
		default:
			http.Error(w, "?", http.StatusBadGateway)
		}
	})
	r := runIn(t, "", env, "device", "show", "d1")
	r.check(t, 1)
	if want := "error: there is no device d1\nfix: see `holdfast device list`\n"; r.err != want || r.out != "" {
		t.Errorf("got %q and %q", r.err, r.out)
	}
	r = runIn(t, "id,type,zone\n", env, "device", "import", "-", "--format", "csv")
	r.check(t, 1, "line 17: zone: there is no zone \ufffd[2Jx\n", "line 18: the id stands twice\n", "nothing was imported")
	runIn(t, "", env, "device", "import", "x.txt").check(t, 2, "the format of the file is not known")
	runIn(t, "", env, "zone", "list").check(t, 1, "something went wrong", "look for request r7 in the server's log")
	runIn(t, "", env, "type", "list").check(t, 1, "502 Bad Gateway", "proxies between")
}

func TestImportRowsFoundWhileWriting(t *testing.T) {
	env := peer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "{\"checked\":2,\"rows\":2}\n{\"imported\":0,\"errors\":[{\"line\":3,\"field\":\"id\",\"error\":\"device d2 exists\"}]}\n")
	})
	runIn(t, "{}", env, "device", "import", "-", "--format", "json").check(t, 1, "line 3: id: device d2 exists", "nothing was imported")
}

func TestDangerNeedsAYes(t *testing.T) {
	moved := 0
	env := peer(t, func(w http.ResponseWriter, r *http.Request) {
		moved++
		_, _ = io.WriteString(w, `{"id":"d1","type":"t","zone":"z","state":"retired","created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","version":2}`)
	})
	runIn(t, "yes\n", env, "device", "retire", "d1").check(t, 2, "device d1 goes out of service for good", "fix: give --yes")
	if moved != 0 {
		t.Error("a device was retired without a yes")
	}
	runIn(t, "", env, "device", "retire", "d1", "--yes").check(t, 0, "retired")
	runIn(t, "", env, "device", "quarantine", "d1").check(t, 0, "d1")
	if moved != 2 {
		t.Errorf("%d moves", moved)
	}
}

func TestTokenSecretIsShownOnce(t *testing.T) {
	env := peer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"token":{"id":"abc","kind":"one-time","type":"sensor","zone":"plant","device_id":"s1","quota":1,"used":0,"expires_at":"2026-01-02T03:04:05Z","created_at":"2026-01-01T03:04:05Z","created_by":"token:admin"},"secret":"hfe_abc_xyz"}`)
	})
	args := []string{"token", "create", "--type", "sensor", "--zone", "plant", "--id", "s1"}
	runIn(t, "", env, args...).check(t, 0, "hfe_abc_xyz", "/CN=s1", "https://device.example:8444/.well-known/est/sensor/simpleenroll")
	runIn(t, "", env, append(args, "-o", "json")...).check(t, 0, `"secret": "hfe_abc_xyz"`)
	file := filepath.Join(t.TempDir(), "secret")
	if r := runIn(t, "", env, append(args, "--secret-file", file)...); r.code != 0 || strings.Contains(r.out+r.err, "hfe_abc_xyz") {
		t.Errorf("got %+v", r)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "hfe_abc_xyz\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	runIn(t, "", env, append(args, "--secret-file", file)...).check(t, 1, "exists already")
	missing := filepath.Join(t.TempDir(), "none", "secret")
	runIn(t, "", env, append(args, "--secret-file", missing)...).check(t, 1, "holdfast token revoke abc")
}

func TestExportIsWholeOrNotThere(t *testing.T) {
	broken := false
	env := peer(t, func(w http.ResponseWriter, _ *http.Request) {
		if broken {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, "id,type,zone\n")
	})
	dir := t.TempDir()
	out := filepath.Join(dir, "d.csv")
	runIn(t, "", env, "device", "export").check(t, 0, "id,type,zone\n")
	runIn(t, "", env, "device", "export", "--out", out).check(t, 0, "written")
	broken = true
	runIn(t, "", env, "device", "export", "--out", filepath.Join(dir, "e.csv")).check(t, 1, "copying the server's answer")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestTheAPITokenIsNotForEnrolling(t *testing.T) {
	dir := t.TempDir()
	api := filepath.Join(dir, "api-token")
	if err := os.WriteFile(api, []byte("secret-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := peer(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("a device sent %q", got)
		}
		problem(w, 401, `{"status":401,"code":"no-credential","detail":"there is no credential","fix":"give a token"}`)
	})
	data := strings.TrimPrefix(env[0], "HOLDFAST_DATA=")
	var ready readyFile
	if text, err := os.ReadFile(filepath.Join(data, "run", "ready.json")); err != nil || json.Unmarshal(text, &ready) != nil {
		t.Fatal(err)
	}
	runIn(t, "", append(env, "HOLDFAST_TOKEN_FILE="+api), "enroll", "--url", ready.API, "--ca", ready.CAFile, "--id", "d1", "--type", "sensor", "--out", filepath.Join(dir, "dev")).
		check(t, 1, "error: there is no credential", "fix: give a token")
}

func TestWhatIsTypedWinsOverTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	env := []string{"HOLDFAST_SERVER=https://127.0.0.1:1", "HOLDFAST_TOKEN_FILE=" + filepath.Join(dir, "none")}
	runIn(t, "", env, "status", "--data", dir).check(t, 1, "no server is running on the data folder "+dir)
	runIn(t, "", env, "status").check(t, 1, "reading the API token")
}
