package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// web is the API's listener as somebody without any credential sees it.
type web struct {
	*running
	host   string // and port
	client *http.Client
}

func openWeb(t *testing.T) *web {
	t.Helper()
	r := start(t, tempData(t), Options{})
	u, err := url.Parse(r.ready.API)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &web{r, u.Host, &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (w *web) dial(protocol string) *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	return conn
}

// paths are all operations of the API by its own document, and what else the
// listener answers.
func (w *web) paths() (list [][2]string) {
	w.t.Helper()
	res, err := w.client.Get(w.ready.API + "/openapi.json")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		w.t.Fatal(err)
	}
	for path, ops := range doc.Paths {
		for method := range ops {
			if m := strings.ToUpper(method); m == "GET" || m == "POST" || m == "PUT" || m == "PATCH" || m == "DELETE" {
				list = append(list, [2]string{m, strings.NewReplacer("{", "", "}", "").Replace(path)})
			}
		}
	}
	if len(list) < 80 {
		w.t.Fatalf("the document has only %d operations", len(list))
	}
	return append(list, [2]string{"GET", "/"}, [2]string{"GET", "/sign-in"}, [2]string{"GET", "/openapi.json"}, [2]string{"GET", "/openapi.yaml"}, [2]string{"POST", "/oauth/token"}, [2]string{"GET", "/oauth/jwks"},
		[2]string{"GET", "/.well-known/oauth-authorization-server"}, [2]string{"GET", "/healthz"}, [2]string{"GET", "/readyz"}, [2]string{"GET", "/nothing"}, [2]string{"GET", "/api/v1/nothing"}, [2]string{"GET", "/api/"})
}

// TestEveryAnswerSaysHow asks for all that the listener has, as a stranger with a
// name for the host: each answer asks for TLS from now on, forbids guessing of types
// and use in pages of others, and sets no cookie but the console's own kind.
func TestEveryAnswerSaysHow(t *testing.T) {
	w := openWeb(t)
	for _, p := range w.paths() {
		req, _ := http.NewRequestWithContext(t.Context(), p[0], w.ready.API+p[1], nil)
		req.Host = "asked-under.example"
		res, err := w.client.Do(req)
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		h := res.Header
		if h.Get("Strict-Transport-Security") != "max-age=31536000" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
			!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("Cross-Origin-Resource-Policy") != "same-origin" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Server") != "" {
			t.Errorf("%v: %v", p, h)
		}
		if strings.HasPrefix(p[1], "/api/") && p[1] != "/api/v1/ca/bundle.pem" { // certificates are for everybody
			if res.StatusCode != 401 && res.StatusCode != 404 || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%v answers a stranger with %d %s %v", p, res.StatusCode, body, h)
			}
		}
		if bytes.Contains(body, []byte("asked-under.example")) || strings.Contains(h.Get("Location"), "asked-under.example") {
			t.Errorf("%v repeats the host it was asked under: %s", p, body)
		}
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || !strings.HasPrefix(c.Name, "__Host-") {
				t.Errorf("%v: %v", p, c)
			}
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1:8443", "[::1]:8443", "x.localhost", ""} {
		if named(host) {
			t.Errorf("%q would keep other programs of this machine from plain HTTP", host)
		}
	}
}

// TestCookiesAreNoKey: the API takes no cookie, so that no page can act through it
// with somebody's sign-in.
func TestCookiesAreNoKey(t *testing.T) {
	w := openWeb(t)
	for _, p := range w.paths() {
		if !strings.HasPrefix(p[1], "/api/") || p[1] == "/api/v1/ca/bundle.pem" {
			continue
		}
		req, _ := http.NewRequestWithContext(t.Context(), p[0], w.ready.API+p[1], nil)
		req.Header.Set("Cookie", "__Host-holdfast=hfs_"+strings.Repeat("a", 52)+"; token=x; session=x")
		res, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 401 && res.StatusCode != 404 {
			t.Errorf("%v: %d", p, res.StatusCode)
		}
	}
}

// TestTwoWaysToReadARequest sends requests that two servers in a row could read
// differently: each is refused, and the connection ends, so that nothing that follows
// is taken for a request of its own.
func TestTwoWaysToReadARequest(t *testing.T) {
	w := openWeb(t)
	smuggled := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, head := range map[string]string{
		"two lengths":           "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"a list of lengths":     "Content-Length: 0, 5\r\n\r\n",
		"a signed length":       "Content-Length: +5\r\n\r\n",
		"a length in hex":       "Content-Length: 0x5\r\n\r\n",
		"a space in the name":   "Content-Length : 5\r\n\r\n",
		"another coding":        "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"a coding hidden":       "Transfer-Encoding: xchunked\r\n\r\n",
		"two codings":           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
		"a coding behind a tab": "Transfer-Encoding:\x0bchunked\r\n\r\n",
		"a bad chunk":           "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
		"a zero byte":           "X: a\x00b\r\n\r\n",
		"a bare return":         "X: a\rY: b\r\n\r\n",
	} {
		conn := w.dial("http/1.1")
		fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\n%s%s", w.host, head, smuggled)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if n := bytes.Count(answer, []byte("HTTP/1.1 ")); n != 1 || bytes.Contains(answer, []byte("HTTP/1.1 200")) {
			t.Errorf("%s: %d answers: %s", name, n, answer)
		}
	}
	// Both a length and a coding: RFC 9112 section 6.3 lets a server go by the coding
	// alone. What matters is that the connection is not used for more.
	conn := w.dial("http/1.1")
	fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", w.host, 5+len(smuggled), smuggled)
	answer, _ := io.ReadAll(bufio.NewReader(io.LimitReader(conn, 1<<20)))
	if bytes.Contains(answer, []byte("\r\n\r\nok\n")) {
		t.Errorf("what was hidden behind a body was answered: %s", answer)
	}
}

// TestLargeHeaders: more than 16 KiB of headers, in one or in many, are refused on
// both protocols, and so is a path as long.
func TestLargeHeaders(t *testing.T) {
	w := openWeb(t)
	many := http.Header{}
	for i := range 2000 {
		many.Add(fmt.Sprintf("X-%d", i), "0123456789")
	}
	for name, h := range map[string]http.Header{"one": {"X": {strings.Repeat("x", 64<<10)}}, "many": many, "cookies": {"Cookie": {strings.Repeat("a=b; ", 10<<10)}}} {
		for _, protocol := range []string{"http/1.1", "h2"} {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, ForceAttemptHTTP2: protocol == "h2"}, Timeout: 10 * time.Second}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", w.ready.API+"/healthz", nil)
			req.Header = h
			res, err := client.Do(req)
			client.CloseIdleConnections()
			if err != nil {
				continue // the server hung up
			}
			res.Body.Close()
			if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s over %s: %d", name, protocol, res.StatusCode)
			}
		}
	}
	conn := w.dial("http/1.1")
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", strings.Repeat("x", 64<<10), w.host)
	if answer, _ := io.ReadAll(conn); bytes.Contains(answer, []byte(" 200 ")) {
		t.Errorf("a path of 64 KiB: %.200s", answer)
	}
}

// TestResets opens streams and takes them back at once, thousands of times
// (CVE-2023-44487), and sends endless continuations of a header (CVE-2023-45288): the
// server ends the connection or goes on, and others are served meanwhile.
func TestResets(t *testing.T) {
	w := openWeb(t)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: w.host}, {Name: ":path", Value: "/sign-in"}} {
		enc.WriteField(f)
	}
	open := func() (*http2.Framer, *tls.Conn) {
		conn := w.dial("h2")
		io.WriteString(conn, http2.ClientPreface)
		f := http2.NewFramer(conn, conn)
		f.WriteSettings()
		return f, conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	done := make(chan int, 1)
	go func() { // what the server answers has to be read, or it waits for us
		f, conn := open()
		defer conn.Close()
		go func() {
			for {
				if _, err := f.ReadFrame(); err != nil {
					return
				}
			}
		}()
		sent := 0
		for id := uint32(1); id < 40_000 && ctx.Err() == nil; id += 2 {
			if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				break
			}
			sent++
		}
		done <- sent
	}()
	for attacking, slowest := true, time.Duration(0); attacking; {
		began := time.Now()
		res, err := w.client.Get(w.ready.API + "/healthz")
		if err != nil {
			t.Fatalf("while streams are reset: %v", err)
		}
		res.Body.Close()
		slowest = max(slowest, time.Since(began))
		select {
		case sent := <-done:
			attacking = false
			t.Logf("%d streams reset; the slowest answer to somebody else took %v", sent, slowest)
		default:
		}
		if slowest > 10*time.Second {
			t.Fatalf("somebody else waits %v", slowest)
		}
	}

	f, conn := open()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes()})
	filler := bytes.Repeat([]byte{0x00, 0x01, 'x', 0x01, 'y'}, 3000) // literal fields, 15 kB a frame
	ended := false
	for range 2000 {
		if f.WriteContinuation(1, false, filler) != nil {
			ended = true
			break
		}
	}
	if !ended {
		t.Error("30 MB of headers were taken")
	}
	conn.Close()
}

// TestSlowHeaders: who sends a request byte by byte is cut off.
func TestSlowHeaders(t *testing.T) {
	w := openWeb(t)
	srv := w.newHTTP(http.NotFoundHandler())
	if srv.ReadHeaderTimeout <= 0 || srv.ReadHeaderTimeout > 15*time.Second || srv.IdleTimeout <= 0 || srv.IdleTimeout > 5*time.Minute || srv.MaxHeaderBytes <= 0 || srv.MaxHeaderBytes > 64<<10 {
		t.Errorf("the bounds are %v, %v and %d", srv.ReadHeaderTimeout, srv.IdleTimeout, srv.MaxHeaderBytes)
	}
	conn, err := net.Dial("tcp", w.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // without TLS
	if answer, _ := io.ReadAll(conn); !bytes.Contains(answer, []byte("400")) {
		t.Errorf("plain HTTP is answered with %s", answer)
	}
}

// hurried is a writer that knows until when the body may be read.
type hurried struct {
	http.ResponseWriter
	until time.Time
}

// SetReadDeadline is asked for by http.ResponseController.
func (h *hurried) SetReadDeadline(t time.Time) error { h.until = t; return nil }

// TestSlowBodies: who announces a body has two minutes for it, whatever the path.
func TestSlowBodies(t *testing.T) {
	for _, body := range []io.Reader{strings.NewReader("a=b"), io.MultiReader(strings.NewReader("a=b"))} {
		w := &hurried{ResponseWriter: httptest.NewRecorder()}
		secured(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/sign-in", body))
		if left := time.Until(w.until); left <= 0 || left > bodyTime {
			t.Errorf("a body may take %v", left)
		}
	}
	w := &hurried{ResponseWriter: httptest.NewRecorder()}
	secured(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/live", nil))
	if !w.until.IsZero() {
		t.Error("a live stream ends by the clock")
	}
}

// TestRefusedBodies checks that who sends too much hears what is wrong, even when it
// listens only after it has sent everything.
func TestRefusedBodies(t *testing.T) {
	w := openWeb(t)
	conn := w.dial("http/1.1")
	const size = 12 << 20
	fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", w.host, size)
	chunk := bytes.Repeat([]byte("a"), 1<<20)
	for range size >> 20 {
		if _, err := conn.Write(chunk); err != nil {
			t.Fatalf("sending: %v", err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge && res.StatusCode != http.StatusBadRequest || len(text) == 0 {
		t.Errorf("%s %q %v", res.Status, text, err)
	}
}
