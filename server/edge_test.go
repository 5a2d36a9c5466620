package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

func TestLimiter(t *testing.T) {
	c := &clock{}
	base := time.Unix(1_000_000, 0)
	l := newLimiter(1, 3, func() time.Time { return base.Add(time.Duration(c.offset.Load())) })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if !l.allow(a) {
			t.Errorf("request %d of the burst was refused", i)
		}
	}
	if l.allow(a) {
		t.Error("the fourth request at once was allowed")
	}
	if !l.allow(b) {
		t.Error("another source pays for the first")
	}
	c.add(time.Second)
	if !l.allow(a) {
		t.Error("nothing came back after a second")
	}
	x, y := netip.MustParseAddr("2001:db8:1:2::1"), netip.MustParseAddr("2001:db8:1:2:ffff::9")
	for range 3 {
		l.allow(x)
	}
	if l.allow(y) {
		t.Error("two addresses of one IPv6 /64 have two budgets")
	}
	for i := range maxSources + 100 {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(l.sources); n > maxSources || n != l.recent.Len() {
		t.Errorf("%d sources are remembered, at most %d may be", n, maxSources)
	}
}

func TestSourceBehindProxies(t *testing.T) {
	s := &Server{cfg: config.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, test := range []struct{ remote, forwarded, want string }{
		{"192.0.2.7:1", "", "192.0.2.7"},
		{"192.0.2.7:1", "203.0.113.1", "192.0.2.7"}, // not a proxy: its word counts for nothing
		{"10.0.0.1:1", "203.0.113.1", "203.0.113.1"},
		{"10.0.0.1:1", "1.1.1.1, 203.0.113.1, 10.0.0.2", "203.0.113.1"}, // what the client made up is left of it
		{"10.0.0.1:1", "nonsense", "10.0.0.1"},
		{"[fe80::1%eth0]:1", "", "fe80::1"}, // an audit event takes no zone
		{"@", "", "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.remote
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := s.sourceOf(r).String(); got != test.want {
			t.Errorf("%s forwarding %q: %s, want %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

func TestEnrolmentRate(t *testing.T) {
	cfg := config.Default()
	cfg.Data, cfg.Node = tempData(t), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Enrolment.Rate, cfg.Enrolment.Burst = 0.01, 2
	r := startWith(t, cfg, Options{})
	r.fleet(nil)
	_, secret := r.token(enroll.OneTime, 1)
	d := newDev(t, "d1")
	for range 2 {
		if err := d.enrol(r, secret); err != nil {
			t.Fatal(err)
		}
	}
	err := d.enrol(r, secret)
	var p *est.Problem
	if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests || p.RetryAfter < time.Second {
		t.Errorf("got %v, want 429 with Retry-After", err)
	}
}

func TestAuthenticate(t *testing.T) {
	r := start(t, tempData(t), Options{})
	token, err := os.ReadFile(r.ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	good, ctx := strings.TrimSpace(string(token)), context.Background()
	if info, err := os.Stat(r.ready.AdminTokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin token's file has mode %v (%v)", info.Mode(), err)
	}
	if a, err := r.Authenticate(ctx, good, "192.0.2.1"); err != nil || a.Actor.ID != "admin" {
		t.Errorf("the admin token: %v, %v", a, err)
	}
	parts := strings.Split(good, "_")
	for _, bad := range []string{"", "x", good + "x", parts[0] + "_" + parts[1] + "_" + strings.Repeat("A", len(parts[2])), "hfe_" + parts[1] + "_" + parts[2], strings.Repeat("a_", 300)} {
		if _, err := r.Authenticate(ctx, bad, "192.0.2.1"); !refusal.Is(err, "bad-api-token") {
			t.Errorf("token %.20q: %v", bad, err)
		}
	}
	for range 30 {
		_, err = r.Authenticate(ctx, "x", "192.0.2.1")
	}
	if !refusal.Is(err, "too-many-failures") {
		t.Errorf("after many failures: %v", err)
	}
	r.sequenced()
	refused, err := r.Entries(ctx, adminapi.AuditFilter{Action: "api.authentication_refused", Limit: 100})
	if err != nil || len(refused) != 36 || refused[0].Event.Actor.Source != "192.0.2.1" || refused[0].Event.Outcome != "refused" {
		t.Errorf("%d refused authentications are recorded (%v), want 36", len(refused), err)
	}
	if _, err := r.Authenticate(ctx, good, "192.0.2.1"); err != nil {
		t.Errorf("failures of others on the same address lock the operator out: %v", err)
	}
}

// TestReplaceAdminToken takes the file away: the old token opens nothing any more.
func TestReplaceAdminToken(t *testing.T) {
	dir, ctx := tempData(t), context.Background()
	r := start(t, dir, Options{})
	old, err := os.ReadFile(r.ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.ready.AdminTokenFile); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, Options{})
	fresh, err := os.ReadFile(r.ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(ctx, strings.TrimSpace(string(old)), "192.0.2.1"); !refusal.Is(err, "bad-api-token") {
		t.Errorf("the old token: %v", err)
	}
	if _, err := r.Authenticate(ctx, strings.TrimSpace(string(fresh)), "192.0.2.1"); err != nil {
		t.Errorf("the new token: %v", err)
	}
}

func TestHealth(t *testing.T) {
	r := start(t, tempData(t), Options{})
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(r.ready.Metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if status, body := get("/readyz"); status != 200 || !strings.Contains(body, `"database":"ok"`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := get("/metrics"); status != 200 || !strings.Contains(body, `holdfast_certificates_issued_total{profile="server"} 1`) {
		t.Errorf("metrics: %d, the server's own certificate is not counted", status)
	}
	if err := r.bus.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"messages":"failing"`) {
		t.Errorf("readyz without a bus: %d %s", status, body)
	}
}

// TestSyslog runs a collector, loses its connection in the middle, and finds every
// event there in the end.
func TestSyslog(t *testing.T) {
	dir := t.TempDir()
	certs := httptest.NewUnstartedServer(nil) // for its certificate only
	certs.StartTLS()
	defer certs.Close()
	caFile := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, pki.EncodePEM("CERTIFICATE", certs.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certs.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan string, 1000)
	go collect(l, seen)
	cfg := config.Default()
	cfg.Data, cfg.Node = tempData(t), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Audit.Syslog = config.Syslog{Address: l.Addr().String(), CA: caFile}
	r := startWith(t, cfg, Options{})
	got := map[string]bool{}
	for i := range 3 {
		name := fmt.Sprintf("zone-%d", i)
		if _, err := r.CreateZone(context.Background(), operator, device.Zone{Name: device.ZoneName(name)}); err != nil {
			t.Fatal(err)
		}
		for !got[name] {
			select {
			case msg := <-seen:
				if !strings.HasPrefix(msg, "<") || !strings.Contains(msg, " test holdfast") {
					t.Errorf("not a message of RFC 5424: %s", msg)
				}
				for j := range 3 {
					if z := fmt.Sprintf("zone-%d", j); strings.Contains(msg, z) {
						got[z] = true
					}
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("the event of %s never reached the collector", name)
			}
		}
	}
}

// collect reads octet-counted messages (RFC 5425 section 4.3) and ends each
// connection after a while, as collectors do when they restart.
func collect(l net.Listener, seen chan<- string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		in := bufio.NewReader(conn)
		for range 9 {
			size, err := in.ReadString(' ')
			if err != nil {
				break
			}
			n, err := strconv.Atoi(strings.TrimSpace(size))
			if err != nil || n > 64<<10 {
				break
			}
			msg := make([]byte, n)
			if _, err := io.ReadFull(in, msg); err != nil {
				break
			}
			seen <- string(msg)
		}
		conn.Close()
	}
}

func TestReadyFile(t *testing.T) {
	dir := tempData(t)
	r := start(t, dir, Options{})
	path := filepath.Join(dir, "run", "ready.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ready map[string]any
	if err := json.Unmarshal(text, &ready); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"console", "api", "device_api", "pki", "metrics", "ca_file", "admin_token_file", "pid"} {
		if ready[field] == nil {
			t.Errorf("ready.json lacks %s", field)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ready.json: %v, %v", info, err)
	}
	if _, err := New(r.cfg, r.log); err == nil || !strings.Contains(err.Error(), "another holdfast") {
		t.Errorf("a second server on the same folder: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ready.json is still there after the end: %v", err)
	}
}

func TestIssueToOperators(t *testing.T) {
	r := start(t, tempData(t), Options{})
	ctx := context.Background()
	d := newDev(t, "billing")
	cert, chain, err := r.IssueCertificate(ctx, operator, adminapi.IssueRequest{Profile: "app", ID: "billing", CSR: d.csr})
	if err != nil || cert.SPIFFEID != "spiffe://holdfast.local/app/billing" || len(chain) != 2 {
		t.Fatalf("%+v, %d certificates, %v", cert, len(chain), err)
	}
	for want, req := range map[string]adminapi.IssueRequest{
		"bad-profile":   {Profile: "device", ID: "x", CSR: d.csr},
		"csr-malformed": {Profile: "app", ID: "x", CSR: []byte("x")},
		"key-reused":    {Profile: "app", ID: "other", CSR: d.csr},
		"bad-subject":   {Profile: "app", ID: "a/b", CSR: d.csr},
		"bad-address":   {Profile: "server", ID: "x", CSR: d.csr, IPs: []string{"no"}},
		"bad-validity":  {Profile: "app", ID: "billing", CSR: d.csr, Validity: time.Millisecond},
	} {
		if _, _, err := r.IssueCertificate(ctx, operator, req); !refusal.Is(err, want) {
			t.Errorf("%+v: %v, want %s", req.ID, err, want)
		}
	}
	app := &dev{t: t, id: "billing", key: d.key, csr: d.csr}
	certs, err := pki.ParseCertificatesPEM([]byte(strings.Join(chain, "")))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.keep(certs, nil); err != nil {
		t.Fatal(err)
	}
	if got := code(app.renew(r)); got != "not-a-device" {
		t.Errorf("an app renewing over EST: %q", got)
	}
	if _, err := r.RevokeCertificate(ctx, operator, cert.Serial, "certificateHold"); !refusal.Is(err, "bad-reason") {
		t.Errorf("revoking with certificateHold: %v", err)
	}
	if c, err := r.RevokeCertificate(ctx, operator, cert.Serial, "keyCompromise"); err != nil || c.Status != "revoked" {
		t.Errorf("revoking: %+v, %v", c, err)
	}
	if _, err := r.RevokeCertificate(ctx, operator, cert.Serial, ""); !refusal.Is(err, "not-revocable") {
		t.Errorf("revoking twice: %v", err)
	}
}

// TestWelcome: the page loads nothing from elsewhere and shows no secret.
func TestWelcome(t *testing.T) {
	r := start(t, tempData(t), Options{})
	pem, err := os.ReadFile(r.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	for path, want := range map[string]string{"/": "Sign in", "/sign-in": "Sign in"} {
		resp, err := client.Get(r.ready.Console + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src ") || strings.Contains(policy, "unsafe") {
			t.Error("the page has no strict content security policy")
		}
		if resp.TLS == nil || len(resp.TLS.OCSPResponse) == 0 {
			t.Error("no OCSP answer is stapled")
		}
	}
	resp, err := client.Get(r.ready.API + "/api/v1/devices")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the API without a token: %d", resp.StatusCode)
	}
}
