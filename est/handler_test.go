package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// ask sends one raw request to the server and returns the answer with its body.
func ask(t *testing.T, c *Client, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req := must(http.NewRequest(method, c.BaseURL+path, strings.NewReader(body)))
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res, string(must(io.ReadAll(res.Body)))
}

const bearer = "Bearer token"

func TestHandlerOperations(t *testing.T) {
	ca := newCA(time.Now())
	ca.attrs = vector(t, "csrattrs.der")
	_, c := serve(t, ca, Config{})
	_, csr := newCSR("d1")
	for _, x := range []struct{ method, path, media, encoding string }{
		{"GET", "cacerts", TypeCertsOnly, "base64"},
		{"HEAD", "cacerts", TypeCertsOnly, "base64"},
		{"GET", "meter/cacerts", TypeCertsOnly, "base64"},
		{"GET", "csrattrs", TypeCSRAttrs, "base64"},
		{"POST", "simpleenroll", TypeCertsOnly, "base64"},
		{"POST", "meter/simplereenroll", TypeCertsOnly, "base64"},
		{"POST", "meter/serverkeygen", `multipart/mixed; boundary="holdfast-est-part"`, ""},
	} {
		body := ""
		if x.method == "POST" {
			body = string(encode(csr))
		}
		res, got := ask(t, c, x.method, Path+x.path, body, "Content-Type", TypePKCS10, "Authorization", bearer)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != x.media || res.Header.Get("Content-Transfer-Encoding") != x.encoding ||
			res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Request-Id") == "" || (got == "") != (x.method == "HEAD") {
			t.Errorf("%s %s: %v %v %q", x.method, x.path, res.Status, res.Header, got)
		}
	}
	ca.attrs = nil
	if res, got := ask(t, c, "GET", Path+"csrattrs", ""); res.StatusCode != 204 || got != "" {
		t.Errorf("no attributes: %v %q", res.Status, got)
	}
}

func TestHandlerRefusals(t *testing.T) {
	_, c := serve(t, newCA(time.Now()), Config{})
	_, csr := newCSR("d1")
	good := string(encode(csr))
	enroll := Path + "simpleenroll"
	for _, x := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"unknown operation", "GET", Path + "enrol", "", nil, 404, "unknown-operation"},
		{"no operation", "GET", Path, "", nil, 404, "unknown-operation"},
		{"elsewhere", "GET", "/", "", nil, 404, "unknown-operation"},
		{"deep", "GET", Path + "a/b/cacerts", "", nil, 404, "unknown-operation"},
		{"slash at the end", "GET", Path + "cacerts/", "", nil, 404, "unknown-operation"},
		{"encoded slash", "GET", Path + "a%2Fcacerts", "", nil, 404, "unknown-operation"},
		{"empty label", "GET", Path + "/cacerts", "", nil, 404, "unknown-label"},
		{"dots", "GET", Path + "../cacerts", "", nil, 404, "unknown-label"},
		{"operation as label", "GET", Path + "cacerts/cacerts", "", nil, 404, "unknown-label"},
		{"long label", "GET", Path + strings.Repeat("a", 65) + "/cacerts", "", nil, 404, "unknown-label"},
		{"label unknown to the backend", "GET", Path + "lamp/cacerts", "", nil, 404, "unknown-label"},
		{"fullcmc", "POST", Path + "fullcmc", good, nil, 501, "full-cmc"},
		{"post cacerts", "POST", Path + "cacerts", "", nil, 405, "method"},
		{"delete csrattrs", "DELETE", Path + "csrattrs", "", nil, 405, "method"},
		{"get enroll", "GET", enroll, "", nil, 405, "method"},
		{"anonymous", "POST", enroll, good, []string{"Content-Type", TypePKCS10}, 401, "unauthorized"},
		{"wrong token", "POST", enroll, good, []string{"Content-Type", TypePKCS10, "Authorization", "Bearer no"}, 401, "unauthorized"},
		{"two credentials", "POST", enroll, good, []string{"Authorization", bearer, "Authorization", "Basic YTpi"}, 400, "bad-credential"},
		{"bad credential", "POST", enroll, good, []string{"Authorization", "Basic x"}, 400, "bad-credential"},
		{"scheme", "POST", enroll, good, []string{"Authorization", "Negotiate x"}, 401, "credential-scheme"},
		{"type", "POST", enroll, good, []string{"Content-Type", "text/plain", "Authorization", bearer}, 415, "content-type"},
		{"compressed", "POST", enroll, good, []string{"Content-Encoding", "gzip", "Authorization", bearer}, 415, "content-encoding"},
		{"empty", "POST", enroll, "", []string{"Content-Type", TypePKCS10, "Authorization", bearer}, 400, "bad-body"},
		{"large", "POST", enroll, strings.Repeat("A", MaxRequest+1), []string{"Content-Type", TypePKCS10, "Authorization", bearer}, 413, "body-too-large"},
		{"not a csr", "POST", enroll, "MAA=", []string{"Content-Type", TypePKCS10, "Authorization", bearer}, 400, "bad-csr"},
	} {
		res, body := ask(t, c, x.method, x.path, x.body, x.header...)
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Errorf("%s: %v in %q", x.name, err, body)
			continue
		}
		if res.StatusCode != x.status || doc["status"] != float64(x.status) || doc["type"] != problemType+x.code || doc["fix"] == nil ||
			doc["detail"] == nil || doc["request_id"] != res.Header.Get("X-Request-Id") || res.Header.Get("Content-Type") != TypeProblem {
			t.Errorf("%s: %v %v", x.name, res.Status, body)
		}
		if (x.status == 401) != (res.Header.Get("Www-Authenticate") == `Basic realm="est"`) {
			t.Errorf("%s: challenges %v", x.name, res.Header.Values("Www-Authenticate"))
		}
		if (x.status == 405) != (res.Header.Get("Allow") != "") {
			t.Errorf("%s: Allow %q", x.name, res.Header.Get("Allow"))
		}
	}
}

func TestHandlerBodyOfUnknownLength(t *testing.T) {
	_, c := serve(t, newCA(time.Now()), Config{})
	req := must(http.NewRequest("POST", c.BaseURL+Path+"simpleenroll", io.LimitReader(neverending('A'), MaxRequest+1)))
	req.Header.Set("Authorization", bearer)
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Fatal(res.Status)
	}
}

type neverending byte

func (b neverending) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestHandlerCutBody(t *testing.T) {
	r := httptest.NewRequest("POST", Path+"simpleenroll", io.MultiReader(strings.NewReader("MII"), brokenReader{}))
	r.Header.Set("Authorization", bearer)
	w := httptest.NewRecorder()
	Handler(newCA(time.Now()), Config{}).ServeHTTP(w, r)
	if w.Code != 400 {
		t.Fatal(w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHandlerErrors(t *testing.T) {
	inner := errors.New("dsn=postgres://secret")
	for _, x := range []struct {
		name   string
		err    error
		status int
		retry  string
		logged bool
	}{
		{"unknown", fmt.Errorf("enrolling d1: %w", inner), 500, "", true},
		{"wrapped problem", fmt.Errorf("enrolling d1 %w: %w", inner, &Problem{Status: 403, Code: "quota", Title: "Quota"}), 403, "", false},
		{"busy", errors.Join(inner, &Problem{Status: 503, Code: "busy", RetryAfter: 1500 * time.Millisecond}), 503, "2", true},
		{"status out of range", errors.Join(inner, &Problem{Status: 200, Code: "x"}), 500, "", true},
		{"bad code", errors.Join(inner, &Problem{Status: 400, Code: "Has Spaces"}), 500, "", true},
		{"pending", fmt.Errorf("enrolling: %w", &Pending{90 * time.Second}), 202, "90", false},
		{"pending, no time", &Pending{}, 202, "1", false},
	} {
		ca, log := newCA(time.Now()), &errorLog{}
		ca.fail = x.err
		_, c := serve(t, ca, Config{OnError: log.add})
		_, csr := newCSR("d1")
		res, body := ask(t, c, "POST", Path+"simpleenroll", string(encode(csr)), "Content-Type", TypePKCS10, "Authorization", bearer)
		if res.StatusCode != x.status || res.Header.Get("Retry-After") != x.retry || strings.Contains(body, "postgres") || log.has(inner) != x.logged {
			t.Errorf("%s: %v, retry %q, logged %v: %s", x.name, res.Status, res.Header.Get("Retry-After"), log.errs, body)
		}
		if x.status == 202 && body != "" {
			t.Errorf("%s: body %q", x.name, body)
		}
		if x.status == 500 && !strings.Contains(body, "urn:holdfast:problem:internal") {
			t.Errorf("%s: %s", x.name, body)
		}
		for _, path := range []string{"cacerts", "csrattrs"} {
			if res, body := ask(t, c, "GET", Path+path, ""); res.StatusCode != x.status || strings.Contains(body, "postgres") {
				t.Errorf("%s: %s: %v %s", x.name, path, res.Status, body)
			}
		}
	}
}

// badBackend gives answers that no correct backend gives.
type badBackend struct {
	testCA
	issued Issued
}

func (b *badBackend) Enroll(context.Context, Request) (Issued, error)  { return b.issued, nil }
func (b *badBackend) CSRAttrs(context.Context, string) ([]byte, error) { return []byte("junk"), nil }

func TestHandlerRefusesToSendNonsense(t *testing.T) {
	_, csr := newCSR("d1")
	key := PrivateKey{0x30, 0x01, 0xff}
	_, c := serveHandler(t, Handler(&badBackend{issued: Issued{PrivateKey: key}}, Config{}))
	for _, op := range []string{"simpleenroll", "serverkeygen"} {
		res, _ := ask(t, c, "POST", Path+op, string(encode(csr)), "Content-Type", TypePKCS10, "Authorization", bearer)
		if res.StatusCode != 500 {
			t.Errorf("%s: %v", op, res.Status)
		}
	}
	if !allZero(key) {
		t.Error("the key was not erased after an error")
	}
	if res, _ := ask(t, c, "GET", Path+"csrattrs", ""); res.StatusCode != 500 {
		t.Error(res.Status)
	}
}

func TestHandlerRequest(t *testing.T) {
	ca := newCA(time.Now())
	_, c := serve(t, ca, Config{RequestID: func(*http.Request) string { return "R7" }})
	_, csr := newCSR("d1")
	key := newKey()
	present(c, ca.sign(pkix.Name{CommonName: "d1"}, key.Public()), key)
	headers := []string{"Content-Type", TypePKCS10, "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("u:p"))}
	if res, body := ask(t, c, "POST", Path+"meter/simplereenroll", string(csr), headers...); res.StatusCode != 200 || res.Header.Get("X-Request-Id") != "R7" {
		t.Fatal(res.Status, body)
	}
	got := ca.request()
	if got.Op != OpReenroll || got.Label != "meter" || !bytes.Equal(got.CSR, csr) || len(got.Peer) != 1 || got.RequestID != "R7" ||
		got.Credential.Username() != "u" || got.Credential.Reveal() != "p" || got.Source != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", got)
	}
	if got.TLSUnique != nil || len(got.TLSExporter) != 32 {
		t.Errorf("TLS 1.3: unique %x, exporter %x", got.TLSUnique, got.TLSExporter)
	}
	c.HTTP.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	c.HTTP.CloseIdleConnections()
	ask(t, c, "POST", Path+"simpleenroll", string(csr), headers...)
	if got := ca.request(); len(got.TLSUnique) == 0 {
		t.Error("TLS 1.2: no tls-unique")
	}
}

func TestHandlerOptions(t *testing.T) {
	ca := newCA(time.Now())
	addr := netip.MustParseAddr("2001:db8::1")
	_, c := serve(t, ca, Config{AllowAnonymous: true, LeafOnly: true, Source: func(*http.Request) netip.Addr { return addr }})
	_, csr := newCSR("d1")
	ca.pending = []time.Duration{time.Minute}
	if res, _ := ask(t, c, "POST", Path+"simpleenroll", string(csr), "Content-Type", TypePKCS10); res.StatusCode != 202 || ca.request().Source != addr {
		t.Fatal(res.Status, ca.request().Source)
	}
	_, body := ask(t, c, "POST", Path+"simpleenroll", string(csr), "Content-Type", TypePKCS10, "Authorization", bearer)
	if certs, err := ParseCerts([]byte(body)); err != nil || len(certs) != 1 {
		t.Fatal(len(certs), err)
	}
	r := httptest.NewRequest("POST", Path+"simpleenroll", nil)
	if r.RemoteAddr = "@"; remoteAddr(r).IsValid() {
		t.Error("an address from nowhere")
	}
	if r.RemoteAddr = "[::ffff:192.0.2.1]:9"; remoteAddr(r).String() != "192.0.2.1" {
		t.Error(remoteAddr(r))
	}
}

// failingWriter is a connection that breaks while the body is written.
type failingWriter struct{ *httptest.ResponseRecorder }

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestHandlerReportsLostAnswers(t *testing.T) {
	ca, log := newCA(time.Now()), &errorLog{}
	_, csr := newCSR("d1")
	r := httptest.NewRequest("POST", Path+"serverkeygen", bytes.NewReader(encode(csr)))
	r.Header.Set("Authorization", bearer)
	r.Header.Set("Content-Type", TypePKCS10)
	Handler(ca, Config{OnError: log.add}).ServeHTTP(failingWriter{httptest.NewRecorder()}, r)
	if !log.has(io.ErrClosedPipe) || len(ca.lastKey) == 0 || !allZero(ca.lastKey) {
		t.Error(log.errs, len(ca.lastKey))
	}
}
