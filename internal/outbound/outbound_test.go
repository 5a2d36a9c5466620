package outbound

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var loopback = prefixes("127.0.0.0/8", "::1/128")

// answers is a resolver whose answers a test writes, one after the other for
// each name; the last is repeated.
type answers map[string][][]netip.Addr

func (a answers) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	list := a[host]
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(list) > 1 {
		a[host] = list[1:]
	}
	return list[0], nil
}

func ips(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestJudge(t *testing.T) {
	for _, s := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.0.1",
		"169.254.169.254", "169.254.170.2", "100.64.0.1", "100.127.255.255", "100.100.100.200", "192.0.0.192", "168.63.129.16",
		"192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
		"::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fc00::1", "fdff::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
		"2001::1", "2001:10::1", "2002:7f00:1::", "2002:c0a8:101::1", "3fff::1", "100::1", "5f00::1", "4000::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
	} {
		if err := Judge(netip.MustParseAddr(s), nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, not a refusal", s, err)
		}
	}
	if err := Judge(netip.Addr{}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("no address: %v", err)
	}
	for _, s := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::808:808"} {
		if err := Judge(netip.MustParseAddr(s), nil); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestAllow(t *testing.T) {
	for _, c := range []struct {
		allow, addr string
		ok          bool
	}{
		{"10.20.0.0/16", "10.20.3.4", true},
		{"10.20.0.0/16", "::ffff:10.20.3.4", true},
		{"10.20.0.0/16", "64:ff9b::a14:304", true},
		{"10.20.0.0/16", "10.21.0.1", false},
		{"10.20.0.0/16", "127.0.0.1", false},
		{"0.0.0.0/0", "169.254.169.254", false},
		{"0.0.0.0/0", "100.100.100.200", false},
		{"0.0.0.0/0", "168.63.129.16", false},
		{"::/0", "64:ff9b::a9fe:a9fe", false},
		{"fc00::/7", "fd00:ec2::254", false},
		{"169.254.169.254/32", "169.254.169.254", true},
		{"169.254.169.254/32", "::ffff:169.254.169.254", true},
		{"fd00:ec2::254/128", "fd00:ec2::254", true},
		{"fe80::/10", "fe80::1%lo", false},
	} {
		if err := Judge(netip.MustParseAddr(c.addr), prefixes(c.allow)); (err == nil) != c.ok {
			t.Errorf("%s with %s allowed: %v", c.addr, c.allow, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, s := range []string{
		"http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https:example.com", "https:///x", "//example.com/", "",
		"https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/",
		"https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/", "https://017700000001/", "https://127.0.0.1./",
		"https://1.2.3.4.5/", "https://example.0x/", "https://example.1/", "https://0/", "https://00000/",
		"https://127.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/", "https://[fe80::1%25eth0]/", "https://[::]/",
		"https://169.254.169.254/latest/meta-data/", "https://metadata.google.internal/", "https://METADATA.google.internal./", "https://metadata/", "https://instance-data/",
		"https://127。0。0。1/", "https://①②⑦.0.0.1/", "https://exämple.com/",
		"https://example.com:0/", "https://example.com:65536/", "https://example.com:22/", "https://example.com:25/", "https://example.com:6379/", "https://example.com:0443/", "https://example.com:/",
	} {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		if err := (Policy{}).Check(u); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, not a refusal", s, err)
		}
	}
	if err := (Policy{}).Check(nil); !errors.Is(err, ErrRefused) {
		t.Error("no URL:", err)
	}
	for _, s := range []string{"https://example.com/", "https://example.com:8443/a?b#c", "https://8.8.8.8/", "https://[2606:4700::1111]:443/", "https://xn--exmple-cua.com./", "https://a_b.example.com", "https://10x/", "https://4.example/"} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := (Policy{}).Check(u); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	u := &url.URL{Scheme: "http", Host: "example.com:81"}
	if err := (Policy{AllowHTTP: true, Ports: []uint16{81}}).Check(u); err != nil {
		t.Error(err)
	}
}

// site is a server whose hits are counted.
func site(t *testing.T, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	var hits atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hits.Add(1); h(w, r) }))
	t.Cleanup(s.Close)
	return s, &hits
}

func client(t *testing.T, p Policy) *http.Client {
	t.Helper()
	c, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func port(s *httptest.Server) string {
	u, _ := url.Parse(s.URL)
	return u.Port()
}

func TestDialChecksWhatTheNameBecame(t *testing.T) {
	s, hits := site(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "inside") })
	r := answers{
		"evil.example":   {ips("127.0.0.1")},
		"mapped.example": {ips("::ffff:127.0.0.1")},
		"meta.example":   {ips("169.254.169.254")},
		"mixed.example":  {ips("10.0.0.1", "::1", "169.254.1.1")},
		"empty.example":  {{}},
	}
	c := client(t, Policy{AllowHTTP: true, Resolver: r})
	for host := range r {
		_, err := Fetch(t.Context(), c, "http://"+host+":"+port(s)+"/", "*/*", 100)
		if host != "empty.example" && !errors.Is(err, ErrRefused) || err == nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := Fetch(t.Context(), c, "http://unknown.example/", "*/*", 100); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("an unknown name: %v", err)
	}
	if hits.Load() != 0 {
		t.Errorf("the inside was reached %d times", hits.Load())
	}
}

// TestRebinding gives a good address first and a bad one later: each connection
// looks up and judges for itself.
func TestRebinding(t *testing.T) {
	s, hits := site(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "once") })
	r := answers{"turn.example": {ips("127.0.0.1"), ips("127.0.0.2"), ips("127.0.0.1", "127.0.0.2")}}
	c := client(t, Policy{AllowHTTP: true, Allow: prefixes("127.0.0.1/32"), Resolver: r})
	target := "http://turn.example:" + port(s) + "/"
	if _, err := Fetch(t.Context(), c, target, "*/*", 100); err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections()
	if _, err := Fetch(t.Context(), c, target, "*/*", 100); !errors.Is(err, ErrRefused) {
		t.Fatalf("the second answer of the DNS: %v", err)
	}
	if _, err := Fetch(t.Context(), c, target, "*/*", 100); err != nil {
		t.Fatalf("one good address of two: %v", err)
	}
	if hits.Load() != 2 {
		t.Errorf("%d requests, not 2", hits.Load())
	}
}

func TestRedirects(t *testing.T) {
	inside, hits := site(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "credentials") })
	var to string
	outside, _ := site(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/go":
			http.Redirect(w, r, to, http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			io.WriteString(w, "here")
		}
	})
	none := client(t, Policy{AllowHTTP: true, Allow: loopback})
	some := client(t, Policy{AllowHTTP: true, Allow: loopback, Redirects: 3})
	for _, to = range []string{inside.URL, "http://169.254.169.254/latest/", "https://example.com/", "gopher://x/", "http://user@" + strings.TrimPrefix(inside.URL, "http://")} {
		if _, err := Fetch(t.Context(), none, outside.URL+"/go", "*/*", 100); err == nil {
			t.Errorf("%s: followed", to)
		}
		if _, err := Fetch(t.Context(), some, outside.URL+"/go", "*/*", 100); err == nil {
			t.Errorf("%s: followed", to)
		}
	}
	if hits.Load() != 0 {
		t.Error("a redirect led to the inside")
	}
	to = "/there"
	if b, err := Fetch(t.Context(), some, outside.URL+"/go", "*/*", 100); err != nil || string(b) != "here" {
		t.Errorf("a redirect on the same host: %q %v", b, err)
	}
	if _, err := Fetch(t.Context(), none, outside.URL+"/go", "*/*", 100); err == nil {
		t.Error("a redirect was followed without leave")
	}
	if _, err := Fetch(t.Context(), some, outside.URL+"/loop", "*/*", 100); !errors.Is(err, ErrRefused) {
		t.Errorf("a loop: %v", err)
	}
}

func TestBounds(t *testing.T) {
	release := make(chan struct{})
	s, _ := site(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			io.WriteString(w, strings.Repeat("x", 5000))
		case "/chunks":
			for range 100 {
				io.WriteString(w, strings.Repeat("x", 100))
				w.(http.Flusher).Flush()
			}
		case "/exact":
			io.WriteString(w, strings.Repeat("x", 1000))
		case "/slow":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-release
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
		case "/bad":
			http.Error(w, "the body must not be told", http.StatusTeapot)
		}
	})
	defer close(release)
	c := client(t, Policy{AllowHTTP: true, Allow: loopback, MaxBody: 1000, Timeout: 300 * time.Millisecond})
	for _, path := range []string{"/long", "/chunks"} {
		if _, err := Fetch(t.Context(), c, s.URL+path, "*/*", 1<<20); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := Fetch(t.Context(), c, s.URL+"/exact", "*/*", 1<<20); err != nil || len(b) != 1000 {
		t.Errorf("as much as is allowed: %d %v", len(b), err)
	}
	if _, err := Fetch(t.Context(), c, s.URL+"/exact", "*/*", 999); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than this document may have: %v", err)
	}
	start := time.Now()
	if _, err := Fetch(t.Context(), c, s.URL+"/slow", "*/*", 10); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("a body that does not end: %v after %v", err, time.Since(start))
	}
	if _, err := Fetch(t.Context(), c, s.URL+"/header", "*/*", 10); err == nil {
		t.Error("an endless header was taken")
	}
	if _, err := Fetch(t.Context(), c, s.URL+"/bad", "*/*", 10); err == nil || strings.Contains(err.Error(), "must not") {
		t.Errorf("a bad status: %v", err)
	}
}

func TestTLSAndProxies(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer s.Close()
	s.Config.ErrorLog = nil
	if _, err := Fetch(t.Context(), client(t, Policy{Allow: loopback}), s.URL, "*/*", 10); err == nil {
		t.Error("a certificate of an unknown authority was taken")
	}
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if b, err := Fetch(t.Context(), client(t, Policy{Allow: loopback, Roots: roots}), s.URL, "*/*", 10); err != nil || string(b) != "ok" {
		t.Errorf("an extra authority: %q %v", b, err)
	}
	if _, err := New(Policy{Roots: []byte("nothing")}); err == nil {
		t.Error("an empty file of authorities was taken")
	}

	proxy, hits := site(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "proxy") })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	t.Setenv("ALL_PROXY", proxy.URL)
	r := answers{"web.example": {ips("127.0.0.1")}}
	web, _ := site(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") })
	b, err := Fetch(t.Context(), client(t, Policy{AllowHTTP: true, Allow: loopback, Resolver: r}), "http://web.example:"+port(web)+"/", "*/*", 10)
	if err != nil || string(b) != "direct" || hits.Load() != 0 {
		t.Errorf("a proxy of the environment was used: %q %v", b, err)
	}
	u, _ := url.Parse(proxy.URL)
	c := client(t, Policy{AllowHTTP: true, Proxy: u, Resolver: answers{}})
	if b, err := Fetch(t.Context(), c, "http://web.example/", "*/*", 10); err != nil || string(b) != "proxy" {
		t.Errorf("through the proxy that was given: %q %v", b, err)
	}
	if _, err := Fetch(t.Context(), c, "http://127.0.0.1:8080/", "*/*", 10); !errors.Is(err, ErrRefused) {
		t.Errorf("a special address through a proxy: %v", err)
	}
	for _, bad := range []string{"socks5://x", "http://"} {
		u, _ := url.Parse(bad)
		if _, err := New(Policy{Proxy: u}); err == nil {
			t.Errorf("the proxy %s was taken", bad)
		}
	}
}

func TestBadBounds(t *testing.T) {
	for _, p := range []Policy{{Timeout: -1}, {MaxBody: -1}, {Redirects: -1}, {Redirects: 11}} {
		if _, err := New(p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

// FuzzCheck looks for a URL that passes without a list and yet names a special
// address in a form that the standard library reads.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"https://example.com/", "https://127.0.0.1/", "https://[::1]:443/", "https://0x7f.1/", "https://a@b/", "https://[fe80::1%25eth0]/", "https://1.2.3.4:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil || (Policy{}).Check(u) != nil {
			return
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		if ip := net.ParseIP(host); ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()) {
			t.Fatalf("%q passes", s)
		}
		if u.Scheme != "https" || u.User != nil || host == "" {
			t.Fatalf("%q passes", s)
		}
	})
}
