package est

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientOperations(t *testing.T) {
	ca := newCA(time.Now())
	ca.attrs = vector(t, "csrattrs.der")
	_, c := serve(t, ca, Config{})
	c.Label = "meter"
	ctx := t.Context()
	if certs, err := c.CACerts(ctx); err != nil || len(certs) != 1 || !certs[0].Equal(ca.cert) {
		t.Fatal(certs, err)
	}
	if attrs, err := c.CSRAttrs(ctx); err != nil || len(attrs) != 2 {
		t.Fatal(attrs, err)
	}
	ca.attrs = nil
	if attrs, err := c.CSRAttrs(ctx); err != nil || attrs != nil {
		t.Fatal(attrs, err)
	}
	key, csr := newCSR("d1")
	certs, err := c.Enroll(ctx, csr)
	if err != nil || len(certs) != 2 || !key.PublicKey.Equal(certs[0].PublicKey) || certs[0].CheckSignatureFrom(certs[1]) != nil {
		t.Fatal(len(certs), err)
	}
	present(c, certs[0], key)
	c.Credential = Credential{}
	newer, csr := newCSR("d1")
	if certs, err = c.Reenroll(ctx, csr); err != nil || !newer.PublicKey.Equal(certs[0].PublicKey) || ca.request().Op != OpReenroll {
		t.Fatal(err)
	}
	c.Credential = BearerCredential("token")
	der, certs, err := c.ServerKeyGen(ctx, csr)
	if err != nil {
		t.Fatal(err)
	}
	if k := must(x509.ParsePKCS8PrivateKey(der)).(*ecdsa.PrivateKey); !k.PublicKey.Equal(certs[0].PublicKey) {
		t.Error("the key does not belong to the certificate")
	}
	if !allZero(ca.lastKey) || len(ca.lastKey) == 0 {
		t.Error("the handler did not erase the key")
	}
}

func TestClientRefusals(t *testing.T) {
	ca := newCA(time.Now())
	_, c := serve(t, ca, Config{})
	_, csr := newCSR("d1")
	c.Credential = BasicCredential("u", "wrong")
	_, err := c.Enroll(t.Context(), csr)
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status != 401 || p.Code != "unauthorized" || p.Fix == "" || p.RequestID == "" || !strings.Contains(err.Error(), p.Fix) {
		t.Fatalf("%#v %v", p, err)
	}
	ca.pending = []time.Duration{time.Hour}
	_, err = c.Enroll(t.Context(), csr)
	if w, ok := errors.AsType[*Pending](err); !ok || w.RetryAfter != time.Hour || !strings.Contains(err.Error(), "1h") {
		t.Fatal(err)
	}
	c.Label = "lamp"
	if _, err = c.CACerts(t.Context()); err == nil || !strings.Contains(err.Error(), "No type lamp") {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Client){
		"http":      func(c *Client) { c.BaseURL = "http://127.0.0.1" },
		"path":      func(c *Client) { c.BaseURL += "/x" },
		"user":      func(c *Client) { c.BaseURL = "https://u:p@127.0.0.1" },
		"not a URL": func(c *Client) { c.BaseURL = "https://a b" },
		"label":     func(c *Client) { c.Label = "a/b" },
		"client":    func(c *Client) { c.HTTP = nil },
		"colon":     func(c *Client) { c.Credential = BasicCredential("a:b", "c") },
		"newline":   func(c *Client) { c.Credential = BasicCredential("a", "c\r\nX: y") },
		"token":     func(c *Client) { c.Credential = BearerCredential("a\r\nX: y") },
		"untrusted": func(c *Client) { c.HTTP = &http.Client{Transport: &http.Transport{}} },
	} {
		bad := &Client{BaseURL: c.BaseURL, HTTP: c.HTTP, Credential: BearerCredential("token")}
		change(bad)
		if _, err := bad.Enroll(t.Context(), csr); err == nil {
			t.Errorf("%s: enrolled", name)
		}
		if bad.HTTP != nil {
			bad.HTTP.CloseIdleConnections()
		}
	}
	if _, err := c.Enroll(t.Context(), []byte("junk")); err == nil {
		t.Error("sent junk")
	}
}

func TestClientAgainstStrangeServers(t *testing.T) {
	_, csr := newCSR("d1")
	_, other := serve(t, newCA(time.Now()), Config{})
	reply := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	keygen := string(vector(t, "serverkeygen.mime"))
	parts := strings.Split(keygen, "--holdfast-est-part")
	certsOnly := func(name string) string {
		return string(must(RenderCerts([]*x509.Certificate{must(x509.ParseCertificate(vector(t, name)))})))
	}
	noCert := strings.Replace(keygen, parts[2], "\r\nContent-Type: application/pkcs7-mime\r\n\r\n"+certsOnly("issuing.der"), 1)
	for name, h := range map[string]http.HandlerFunc{
		"somebody else's certificate": reply(200, TypeCertsOnly, certsOnly("leaf.der")),
		"wrong type":                  reply(200, "text/html", "<html>"),
		"junk":                        reply(200, TypeCertsOnly, "junk"),
		"endless":                     reply(200, TypeCertsOnly, strings.Repeat("A", MaxResponse+1)),
		"key without certificate":     reply(200, `multipart/mixed; boundary="holdfast-est-part"`, noCert),
		"no content":                  reply(204, "", ""),
		"text":                        reply(500, "text/plain; charset=utf-8", "it broke\x1b[31m\n"),
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.BaseURL+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"to GET": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		},
		"hangup": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		_, c := serveHandler(t, h)
		if _, err := c.Enroll(t.Context(), csr); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: Enroll: %v", name, err)
		}
		if key, _, err := c.ServerKeyGen(t.Context(), csr); err == nil || key != nil {
			t.Errorf("%s: ServerKeyGen: %v", name, err)
		}
		if _, err := c.CSRAttrs(t.Context()); err == nil && name != "no content" {
			t.Errorf("%s: CSRAttrs", name)
		}
	}
	_, c := serveHandler(t, http.NotFoundHandler())
	if attrs, err := c.CSRAttrs(t.Context()); err != nil || attrs != nil {
		t.Error("a server without csrattrs:", err)
	}
}

func TestClientFollowsWithinOrigin(t *testing.T) {
	h := Handler(newCA(time.Now()), Config{})
	_, c := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "meter") {
			http.Redirect(w, r, Path+"meter/simpleenroll", http.StatusTemporaryRedirect)
			return
		}
		h.ServeHTTP(w, r)
	}))
	_, csr := newCSR("d1")
	followed := 0
	c.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { followed++; return nil }
	if _, err := c.Enroll(t.Context(), csr); err != nil || followed != 1 {
		t.Fatal(followed, err)
	}
}

func TestLeafFirst(t *testing.T) {
	certs := goldenCerts(t)
	set := []*x509.Certificate{certs[1], certs[1], certs[0]}
	if !leafFirst(set, certs[0].PublicKey, nil) || set[0] != certs[0] || set[2] != certs[1] {
		t.Error("by key")
	}
	slices.Reverse(set)
	if !leafFirst(set, nil, certs[0].RawSubjectPublicKeyInfo) || set[0] != certs[0] {
		t.Error("by encoding")
	}
	if leafFirst(set, nil, nil) || leafFirst(nil, certs[0].PublicKey, nil) {
		t.Error("found nothing's certificate")
	}
}

// pipes is a listener without a network, so that time can be simulated around a real TLS server.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (p *pipes) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// servePipes is serve inside a synctest bubble; the returned function stops everything.
func servePipes(ca *testCA) (*Client, func()) {
	key := newKey()
	cert := ca.sign(pkix.Name{}, key.Public(), "est.test")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: Handler(ca, Config{}), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}}
	ended := make(chan struct{})
	go func() { _ = srv.ServeTLS(l, "", ""); close(ended) }()
	tr := &http.Transport{DialContext: l.Dial, TLSClientConfig: &tls.Config{RootCAs: roots}}
	c := &Client{BaseURL: "https://est.test", HTTP: &http.Client{Transport: tr}, Credential: BearerCredential("token")}
	return c, func() { tr.CloseIdleConnections(); _ = srv.Close(); <-ended }
}

func TestEnrollWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ca := newCA(start)
		c, stop := servePipes(ca)
		defer stop()
		ca.pending = []time.Duration{20 * time.Second, 0, 90 * time.Second}
		var waits []time.Duration
		c.OnPending = func(d time.Duration) { waits = append(waits, d) }
		key, csr := newCSR("d1")
		certs, err := c.EnrollWait(t.Context(), csr)
		if err != nil || !key.PublicKey.Equal(certs[0].PublicKey) {
			t.Fatal(err)
		}
		if want := []time.Duration{20 * time.Second, time.Second, 90 * time.Second}; !slices.Equal(waits, want) || time.Since(start) != 111*time.Second {
			t.Errorf("waited %v, %v in all", waits, time.Since(start))
		}
	})
}

func TestEnrollWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ca := newCA(start)
		c, stop := servePipes(ca)
		defer stop()
		_, csr := newCSR("d1")
		ca.pending = []time.Duration{time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.EnrollWait(ctx, csr); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ca.pending = []time.Duration{time.Second}
		c.Credential = BearerCredential("wrong")
		_, err := c.EnrollWait(t.Context(), csr)
		if p, ok := errors.AsType[*Problem](err); !ok || p.Status != 401 {
			t.Error(err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	date := "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, x := range []struct {
		retry, date string
		want        time.Duration
		told        bool
	}{
		{"120", "", 2 * time.Minute, true},
		{"0", "", 0, true},
		{"4294967295", "", maxRetryAfter, true},
		{"Mon, 02 Jan 2006 15:05:05 GMT", date, time.Minute, true},
		{"Mon, 02 Jan 2006 15:04:00 GMT", date, 0, true},
		{"Mon, 02 Jan 2006 15:05:05 GMT", "", 0, false},
		{"-1", "", 0, false}, {"", "", 0, false}, {"soon", date, 0, false}, {"99999999999999999999", date, 0, false},
	} {
		got, told := parseRetryAfter(http.Header{"Retry-After": {x.retry}, "Date": {x.date}})
		if got != x.want || told != x.told {
			t.Errorf("%q: %v %v", x.retry, got, told)
		}
	}
	_, c := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }))
	_, csr := newCSR("d1")
	_, err := c.Enroll(t.Context(), csr)
	if p, ok := errors.AsType[*Pending](err); !ok || p.RetryAfter != defaultWait {
		t.Error(err)
	}
}
