package demo_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/demo"
)

// start runs a real server on data until the test, or the returned stop, ends it.
func start(t *testing.T, data string, change func(*config.Config)) (demo.Config, *adminapi.Client, func()) {
	t.Helper()
	return startAt(t, data, time.Now, change)
}

func startAt(t *testing.T, data string, now func() time.Time, change func(*config.Config)) (demo.Config, *adminapi.Client, func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Data = data
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	srv, err := server.NewWith(cfg.Complete(), slog.New(slog.DiscardHandler), server.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan server.Ready, 1), make(chan error, 1)
	go func() { ended <- srv.Run(ctx, func(r server.Ready) { ready <- r }) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("the server:", err)
		}
	})
	t.Cleanup(stop)
	select {
	case r := <-ready:
		token, err := os.ReadFile(r.AdminTokenFile)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		text, err := os.ReadFile(r.CAFile)
		if err != nil || !roots.AppendCertsFromPEM(text) {
			t.Fatal("the CA file:", err)
		}
		secret := strings.TrimSpace(string(token))
		api := &adminapi.Client{BaseURL: r.API, Token: adminapi.NewBearer(secret), HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Time: now}, DisableKeepAlives: true}}}
		return demo.Config{API: r.API, DeviceAPI: r.DeviceAPI, MQTTS: r.MQTTS, CAFile: r.CAFile, Token: secret, Dir: filepath.Join(data, "demo")}.At(now), api, stop
	case err := <-ended:
		ended <- nil
		t.Fatal("the server:", err)
	}
	panic("not reached")
}

// tell runs the demo until its story is over, then until more is done.
func tell(t *testing.T, cfg demo.Config, more func()) string {
	t.Helper()
	var out, log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, ended := make(chan struct{}), make(chan error, 1)
	cfg.Out, cfg.Told = &out, func() { close(told) }
	go func() { ended <- demo.Run(ctx, cfg) }()
	select {
	case <-told:
		if more != nil {
			more()
		}
	case err := <-ended:
		t.Fatalf("%v\n%s", err, log.String())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	noneLeft(t)
	return out.String()
}

// noneLeft waits until nothing of the clients runs any more.
func noneLeft(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for end := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		text := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(text, "paho.golang") && !strings.Contains(text, "server/demo.(*member)") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the fleet left goroutines behind:\n%s", text)
		}
	}
}

func wants(t *testing.T, story string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(story, w) {
			t.Errorf("the story does not say %q", w)
		}
	}
}

func states(t *testing.T, api *adminapi.Client) map[device.State]int {
	t.Helper()
	list, err := api.Devices(t.Context(), device.Filter{}, device.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	n := map[device.State]int{}
	for _, d := range list.Items {
		n[d.State]++
	}
	return n
}

func TestStory(t *testing.T) {
	data := t.TempDir()
	cfg, api, stop := start(t, data, nil)
	began := time.Now()
	story := tell(t, cfg, nil)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the story took %s", took)
	}
	wants(t, story, "25 simulated devices", "7 enrolled with a group token", "13 enrolled with a one-time token", "3 enrolled with their manufacturer",
		"2 enrolled with a token and an operator's approval", "25 devices used their certificates", "renewed with its certificate",
		"shows the key of level-plant-1: key-reused", "copied and used again: token-used", "riverside-intake: not-for-production",
		"asks for a renewal: device-quarantined", "remote error: tls", "OCSP says revoked", "lists serial", "revoked 2 group tokens",
		"applied policy version 1", "25 devices connected over MQTT 5", `"guard":"Ida"`, `"guard":"h:`,
		"PUBACK 0x87 not authorized: no rule lets device level-plant-2", "SUBACK 0x87", "MessagePolicy/video-apart/process",
		"PUBACK 0x97 quota exceeded", "/ml_per_min is 900, more than 50", "DeviceType/chlorine-doser/dose", "while it is in maintenance",
		"DISCONNECT 0x87", "flow-plant-2 is back with its new certificate", "the thief's MQTT session ends too")
	if n := states(t, api); n[device.Active] != 24 || n[device.Quarantined] != 1 || len(n) != 2 {
		t.Error(n)
	}
	checkFiles(t, cfg.Dir)

	t.Run("again", func(t *testing.T) {
		story := tell(t, cfg, nil)
		wants(t, story, "24 devices still have their certificates", "level-intake-2 is quarantined: it stays cut off", "remote error: tls")
		if strings.Contains(story, "was refused") || strings.Contains(story, "enrolled with") {
			t.Error("the second run enrolled")
		}
	})
	t.Run("after a restart on other ports, with what operators did", func(t *testing.T) {
		for id, move := range map[device.ID]device.Move{"pump-plant-1": device.Revoke, "pump-intake-1": device.Retire, "gateway-plant": device.Quarantine} {
			if _, err := api.ChangeDevice(t.Context(), id, move, "playing"); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		cfg, api, _ := start(t, data, nil)
		story := tell(t, cfg, nil)
		wants(t, story, "21 devices still have", "pump-plant-1 is registered: it stays", "pump-intake-1 is retired", "gateway-plant is quarantined")
		if n := states(t, api); n[device.Active] != 21 {
			t.Error(n)
		}
	})
}

func checkFiles(t *testing.T, dir string) {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(dir, "*", "key.pem"))
	if err != nil || len(keys) != 27 { // 25 devices, the app and the manufacturer
		t.Fatal(len(keys), err)
	}
	for _, key := range keys {
		info, err := os.Stat(key)
		if err != nil || info.Mode() != 0o600 {
			t.Error(key, info.Mode(), err)
		}
		if folder := filepath.Dir(key); filepath.Base(folder) != "manufacturer" {
			checkPair(t, folder)
		}
	}
}

// checkPair verifies a device's files as openssl verify would.
func checkPair(t *testing.T, folder string) {
	t.Helper()
	read := func(name string) []*x509.Certificate {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.ParseCertificatesPEM(text)
		if err != nil {
			t.Fatal(folder, name, err)
		}
		return certs
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")); err != nil {
		t.Error(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range read("ca.pem") {
		roots.AddCert(c)
	}
	between.AddCert(read("issuer.pem")[0])
	if _, err := read("cert.pem")[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(folder, err)
	}
}

// Files of the devices can be lost while the server keeps its data, and the other
// way round; a camera can be lost while it waits.
func TestLostFiles(t *testing.T) {
	data := t.TempDir()
	cfg, api, stop := start(t, data, nil)
	tell(t, cfg, nil)
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	story := tell(t, cfg, nil)
	wants(t, story, "6 enrolled with a group token", "13 enrolled with a one-time token", "3 enrolled with their", "2 enrolled with a token and")
	if n := states(t, api); n[device.Active] != 24 {
		t.Error(n)
	}
	stop()
	for _, name := range []string{"holdfast.db", "holdfast.db-wal", "holdfast.db-shm", "ca.pem", "keys", "admin-token", "messages"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	fresh := t.TempDir()
	if err := os.CopyFS(filepath.Join(fresh, "demo"), os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	cfg, api, _ = start(t, fresh, nil)
	tell(t, cfg, nil)
	if n := states(t, api); n[device.Active] != 24 || n[device.Quarantined] != 1 {
		t.Error(n)
	}
}

// A fleet that was switched off for longer than its certificates live renews them
// late; one that was off for longer than the grace time enrols anew.
func TestAfterALongStop(t *testing.T) {
	data := t.TempDir()
	cfg, _, stop := start(t, data, nil)
	tell(t, cfg, nil)
	stop()
	for _, c := range []struct {
		off  time.Duration
		word string
	}{{3 * time.Hour, "24 devices renewed late"}, {400 * time.Hour, "6 enrolled with a group token"}} {
		cfg, api, stop := startAt(t, data, func() time.Time { return time.Now().Add(c.off) }, nil)
		wants(t, tell(t, cfg, nil), c.word, "level-intake-2 is quarantined")
		if n := states(t, api); n[device.Active] != 24 {
			t.Error(n)
		}
		stop()
	}
}

// The fleet respects what the server allows one source.
func TestStoryWithinLimits(t *testing.T) {
	cfg, api, _ := start(t, t.TempDir(), func(c *config.Config) { c.Enrolment.Rate, c.Enrolment.Burst = 10, 4 })
	tell(t, cfg, nil)
	if n := states(t, api); n[device.Active] != 24 {
		t.Error(n)
	}
}

func TestGoesOn(t *testing.T) {
	cfg, api, _ := start(t, t.TempDir(), nil)
	cfg.Every = 10 * time.Millisecond
	tell(t, cfg, func() {
		for {
			list, err := api.Certificates(t.Context(), adminapi.CertificateFilter{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) >= 50 {
				return
			}
		}
	})
}

// A device whose session is closed comes back, and process control goes on to
// command, after the story too.
func TestStaysConnected(t *testing.T) {
	cfg, api, _ := start(t, t.TempDir(), nil)
	tell(t, cfg.Controlling(20*time.Millisecond), func() {
		before, err := api.Session(t.Context(), "level-plant-1")
		if err != nil || !before.Connected {
			t.Fatal(before, err)
		}
		if err := api.CloseSession(t.Context(), "level-plant-1", "trying it out"); err != nil {
			t.Fatal(err)
		}
		until(t, "level-plant-1 is back and speaks", func() bool {
			v, err := api.Session(t.Context(), "level-plant-1")
			return err == nil && v.Connected && v.Since.After(before.Since) && v.In.Messages >= 2
		})
		until(t, "pump-plant-2 gets commands", func() bool {
			v, err := api.Session(t.Context(), "pump-plant-2")
			return err == nil && v.Out.Messages > 0
		})
	})
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(end) {
			t.Fatal("it did not happen that ", what)
		}
	}
}

// Another policy than the example's stays, and the story does without what it
// does not allow.
func TestOtherPolicy(t *testing.T) {
	cfg, api, _ := start(t, t.TempDir(), nil)
	files := []adminapi.PolicyFile{{Name: "mine.yaml", Text: "apiVersion: holdfast.dev/v1\nkind: MessagePolicy\nmetadata: {name: open}\nspec:\n" +
		"  publish: [{topic: 'water/#', retain: true}]\n  subscribe: [{topic: '#'}]\n"}}
	if _, err := api.ApplyPolicy(t.Context(), adminapi.PolicyApply{Files: files}); err != nil {
		t.Fatal(err)
	}
	wants(t, tell(t, cfg, nil), "another one than the example's: it stays", "level-plant-2 speaks in the name of pump-plant-1: this policy lets it through", "OCSP says revoked")
}

// Without a terminal the story is in the log, and no secret is in either.
func TestLogOnly(t *testing.T) {
	cfg, _, _ := start(t, t.TempDir(), nil)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Told = cancel
	if err := demo.Run(ctx, cfg); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if text := log.String(); !strings.Contains(text, "OCSP says revoked") || strings.Contains(text, "hfe_") || strings.Contains(text, cfg.Token) {
		t.Error(text)
	}
}

func TestCannotStart(t *testing.T) {
	cfg, _, _ := start(t, t.TempDir(), nil)
	bad := cfg
	bad.CAFile = filepath.Join(t.TempDir(), "none")
	if err := demo.Run(t.Context(), bad); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	bad = cfg
	bad.Token = "wrong"
	if err := demo.Run(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "running the simulated fleet: creating zone") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "pump-plant-1", "key.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := demo.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "delete it to have a new one made") {
		t.Error(err)
	}
}
