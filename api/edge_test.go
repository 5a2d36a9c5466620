package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestConnectRefusesAddresses(t *testing.T) {
	for _, server := range []string{"", "holdfast.example.com", "http://holdfast.example.com", "ftp://127.0.0.1", "https://user:word@127.0.0.1", "https://127.0.0.1/?a=b", "https://127.0.0.1/#a", "https:///", "http://127.0.0.1.example.com"} {
		if c, err := Connect(server, nil); err == nil || c != nil {
			t.Errorf("%q was taken", server)
		}
	}
	for _, server := range []string{"https://holdfast.example.com", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"} {
		if _, err := Connect(server, nil); err != nil {
			t.Errorf("%q: %v", server, err)
		}
	}
	if _, err := Transport([]byte("no certificate")); err == nil {
		t.Error("authorities without a certificate were taken")
	}
}

// answering is a client of a server that gives one answer.
func answering(t *testing.T, h http.HandlerFunc) *ClientWithResponses {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := Connect(s.URL, nil, WithToken("hfk_secret"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAnswersThatAreErrors gives what a server, or something between, may answer.
func TestAnswersThatAreErrors(t *testing.T) {
	for _, c := range []struct {
		status            int
		kind, body, after string
		code              string // empty: another error
		wait              time.Duration
	}{
		{404, "application/problem+json", `{"type":"urn:holdfast:problem:no-such-device","title":"Not Found","status":404,"code":"no-such-device","detail":"no","fix":"list them"}`, "", "no-such-device", 0},
		{429, "application/problem+json; charset=utf-8", `{"status":429,"code":"too-many-requests","detail":"no"}`, "7", "too-many-requests", 7 * time.Second},
		{429, "application/problem+json", `{"status":429,"code":"too-many-requests","detail":"no"}`, "-7", "too-many-requests", 0},
		{502, "text/html", "<h1>Bad Gateway</h1>", "", "not-holdfast", 0},
		{500, "application/problem+json", `{"status":`, "", "not-holdfast", 0},
		{200, "text/html", "<h1>Sign in to the guest network</h1>", "", "", 0},
		{202, "application/json", `{}`, "", "", 0},
		{302, "text/html", "", "", "not-holdfast", 0},
	} {
		client := answering(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer hfk_secret" {
				t.Errorf("the token was not sent: %v", r.Header)
			}
			w.Header().Set("Content-Type", c.kind)
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			if c.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		var err error
		for _, err = range client.AllDevices(t.Context(), ListDevicesParams{}) {
		}
		var e *Error
		switch {
		case err == nil:
			t.Errorf("%d %s: no error", c.status, c.body)
		case !errors.As(err, &e):
			if c.code != "" {
				t.Errorf("%d %s: %v", c.status, c.body, err)
			}
		case e.Code != c.code || e.Status != int64(c.status) || e.RetryAfter != c.wait || e.Error() == "":
			t.Errorf("%d %s: %+v", c.status, c.body, e)
		}
	}
}

// TestPages reads lists that end, stop early and never end.
func TestPages(t *testing.T) {
	asked := 0
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		switch after := r.URL.Query().Get("after"); {
		case r.URL.Query().Get("zone") == "loop":
			fmt.Fprint(w, `{"items":[{"id":"x"}],"next":"x"}`)
		case after == "":
			fmt.Fprint(w, `{"items":[{"id":"a"},{"id":"b"}],"next":"b"}`)
		case after == "b":
			fmt.Fprint(w, `{"items":[],"next":"c"}`)
		default:
			fmt.Fprint(w, `{"items":[{"id":"d"}]}`)
		}
	})
	read := func(params ListDevicesParams, most int) (ids string, err error) {
		for d, e := range c.AllDevices(t.Context(), params) {
			if err = e; e == nil {
				ids += d.ID
			}
			if len(ids) == most {
				break
			}
		}
		return ids, err
	}
	if ids, err := read(ListDevicesParams{}, 0); ids != "abd" || err != nil || asked != 3 {
		t.Errorf("read %q in %d requests, %v", ids, asked, err)
	}
	if ids, err := read(ListDevicesParams{}, 1); ids != "a" || err != nil || asked != 4 {
		t.Errorf("read %q in %d requests, %v", ids, asked, err)
	}
	if ids, err := read(ListDevicesParams{Zone: new("loop")}, 0); ids != "xx" || err == nil {
		t.Errorf("read %q, %v", ids, err)
	}
	list := c.AllDevices(t.Context(), ListDevicesParams{})
	for range 2 { // a list can be read again
		n := 0
		for range list {
			n++
		}
		if n != 3 {
			t.Errorf("read %d devices", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.AllDevices(ctx, ListDevicesParams{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

// FuzzRefusal reads answers that are not successes.
func FuzzRefusal(f *testing.F) {
	f.Add(404, "application/problem+json", `{"status":404,"code":"no-such-device","detail":"no","errors":[{"error":"x"}]}`)
	f.Add(202, "application/json", `{"detail":"wait","approval":{"id":"1"}}`)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		rec := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}, "Retry-After": {body}}, Body: http.NoBody}
		rec.Body = readCloser{strings.NewReader(body)}
		err := refusal(rec)
		var e *Error
		if err == nil || err.Error() == "" && !errors.As(err, &e) {
			t.Errorf("%d %q %q is no error", status, kind, body)
		}
		if errors.As(err, &e) && (e.Code == "" || e.Status != int64(status) || e.RetryAfter < 0) {
			t.Errorf("%d %q %q: %+v", status, kind, body, e)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
