package browser

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// client is an HTTP client with the cookies of a person's browser.
func (p *person) client() *http.Client {
	p.t.Helper()
	got, err := chromedp.Run(p.Context(), chromedp.Action[[]*network.Cookie](func(ctx context.Context, t *chromedp.Target) ([]*network.Cookie, error) {
		res, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
		return res.Cookies, err
	}))
	if err != nil {
		p.t.Fatal(err)
	}
	jar := cookies{}
	for _, c := range got {
		jar = append(jar, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// cookies always sends the same.
type cookies []*http.Cookie

func (c cookies) SetCookies(*url.URL, []*http.Cookie) {}
func (c cookies) Cookies(*url.URL) []*http.Cookie     { return c }

// addresses are where a page leads by GET, with links that htmx follows and forms
// without fields.
func addresses(page []byte) (list []string) {
	z := html.NewTokenizer(bytes.NewReader(page))
	for z.Next() != html.ErrorToken {
		tag := z.Token()
		post := slices.ContainsFunc(tag.Attr, func(a html.Attribute) bool { return a.Key == "method" && strings.EqualFold(a.Val, "post") })
		for _, a := range tag.Attr {
			switch {
			case tag.Data == "form" && a.Key == "action" && post:
			case tag.Data == "button" && slices.ContainsFunc(tag.Attr, func(a html.Attribute) bool { return a.Key == "hx-include" }): // needs what is ticked
			case a.Key == "href", a.Key == "hx-get", a.Key == "src", a.Key == "data-live-url", tag.Data == "form" && a.Key == "action":
				list = append(list, a.Val)
			}
		}
	}
	return list
}

var (
	particular = regexp.MustCompile(`/[^/]*[0-9][^/]*`)
	unreadable = regexp.MustCompile(`%!|&lt;nil&gt;|>nil<|0001-01-01|\bundefined\b|\bNaN\b|\[object|map\[|goroutine |[\pL\d.,;](?:<time|<code|<a )|(?:</time>|</code>|</a>)[\pL\d(]`)
)

// shape is what addresses of one kind have in common.
func shape(u *url.URL) string {
	keys := make([]string, 0)
	for key := range u.Query() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return particular.ReplaceAllString(u.Path, "/*") + "?" + strings.Join(keys, "&")
}

// TestEveryLink follows what every page leads to, from the overview on, twice for each
// kind of address: nothing ends nowhere, every page is free of scripts and styles in
// it, also where hostile texts are shown, and none shows what only a programmer could read.
func TestEveryLink(t *testing.T) {
	s := up(t, true)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	s.misbehaving(t)
	s.hostile(t)
	client := p.client()
	base, _ := url.Parse(s.ready.Console)
	base.Path = "/"
	type link struct{ to, from string }
	todo, seen, shapes, pages, waits := []link{{"/", "the beginning"}}, map[string]bool{"/": true}, map[string]int{}, 0, 0
	var slowest time.Duration
	var slow string
	for len(todo) > 0 && pages < 600 {
		next := todo[0]
		todo = todo[1:]
		pages++
		began := time.Now()
		res, err := client.Get(base.Scheme + "://" + base.Host + next.to)
		if err != nil {
			t.Fatal(err)
		}
		kind := res.Header.Get("Content-Type")
		body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
		res.Body.Close()
		if took := time.Since(began); took > slowest {
			slowest, slow = took, next.to
		}
		if res.StatusCode == http.StatusTooManyRequests && waits < 60 { // nobody clicks as fast: as programs do, it comes again
			waits++
			<-time.After(time.Second)
			todo = append([]link{next}, todo...)
			pages--
			continue
		}
		if res.StatusCode == 404 && strings.HasPrefix(next.to, "/messages/sessions/") {
			continue // it ended since
		}
		if err != nil || res.StatusCode != 200 && res.StatusCode != 303 {
			t.Errorf("%s on %s ends with %d: %.200s", next.to, next.from, res.StatusCode, text(body))
			continue
		}
		if strings.HasPrefix(res.Header.Get("Location"), "/sign-in") {
			t.Fatalf("%s asks for a sign-in", next.to)
		}
		if !strings.HasPrefix(kind, "text/html") {
			continue
		}
		for _, fault := range uitest.Inert(bytes.NewReader(body)) {
			t.Errorf("%s: %s", next.to, fault)
		}
		if at := unreadable.FindIndex(body); at != nil {
			t.Errorf("%s shows %s", next.to, body[max(0, at[0]-80):min(len(body), at[1]+80)])
		}
		from, _ := base.Parse(next.to)
		for _, a := range append(addresses(body), res.Header.Get("Location")) {
			u, err := from.Parse(a)
			if err != nil || u.Host != base.Host || a == "" {
				continue
			}
			to := u.RequestURI()
			if k := shape(u); !seen[to] && shapes[k] < 2 && !strings.HasPrefix(u.Path, "/live") {
				seen[to] = true
				shapes[k]++
				todo = append(todo, link{to, next.to})
			}
		}
	}
	t.Logf("%d addresses of %d kinds; the slowest, %s, took %v", pages, len(shapes), slow, slowest)
	if pages < 100 {
		t.Errorf("only %d addresses were found", pages)
	}
}

var tags = regexp.MustCompile(`(?s)<head>.*</head>|<script.*?</script>|<[^>]*>|\s+`)

// text is roughly what a page says.
func text(page []byte) string { return strings.TrimSpace(tags.ReplaceAllString(string(page), " ")) }
