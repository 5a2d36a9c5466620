package ui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

const hostile = `"><img src=x onerror=alert(1)>'</script><script>alert(2)</script>{{7*7}}<hx-partial hx-target="body">&lt; javascript:alert(3)` + "\r\nevent: bye\r\r"

var unsafe = regexp.MustCompile(`(?i)<img|<script>|onerror=alert\(1\)>|\sstyle=|\son[a-z]+=|hx-on|href="javascript|<hx-partial hx-target="body`)

func answer(t *testing.T, text, method, path, body string, htmx bool) *httptest.ResponseRecorder {
	t.Helper()
	m := ui.NewMux()
	uitest.Gallery(m, text)
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if htmx {
		r.Header.Set("HX-Request", "true")
		r.Header.Set("HX-Source", "form#quarantine-form")
	}
	w := httptest.NewRecorder()
	uitest.Pages(m, access.Root(), nil).ServeHTTP(w, r)
	return w
}

// A hostile value in every place of every component stays text.
func TestHostileText(t *testing.T) {
	for _, x := range []struct {
		method, path, body string
		htmx               bool
	}{
		{"GET", "/gallery", "", false}, {"GET", "/gallery?q=" + url.QueryEscape(hostile) + "&zone=" + url.QueryEscape(hostile), "", false}, {"GET", "/gallery/retire", "", true}, {"GET", "/gallery/retire", "", false},
		{"POST", "/gallery/quarantine", "reason=x", true}, {"POST", "/gallery/quarantine", "reason=x", false}, {"POST", "/gallery/quarantine", "reason=step", true},
	} {
		w := answer(t, hostile, x.method, x.path, x.body, x.htmx)
		body := w.Body.String()
		// What is written as text may hold anything but the signs that end it.
		if at := unsafe.FindStringIndex(strings.ReplaceAll(body, "onerror=alert(1)&gt;", "")); at != nil {
			t.Errorf("%s %s: unsafe: …%s", x.method, x.path, body[max(0, at[0]-80):min(len(body), at[1]+40)])
		}
	}
}

func TestFlashRoundTrip(t *testing.T) {
	w := answer(t, hostile, "POST", "/gallery/again", "", false)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/gallery" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	c := w.Result().Cookies()[0]
	if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
		t.Fatalf("%v", c)
	}
	m := ui.NewMux()
	uitest.Gallery(m, "x")
	r := httptest.NewRequest("GET", "/gallery", nil)
	r.AddCookie(c)
	w = httptest.NewRecorder()
	uitest.Pages(m, access.Root(), nil).ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), "Read again. ") || strings.Contains(w.Body.String(), "<img") || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Fatal("the note is not shown once, as text")
	}
}

func TestLocalPath(t *testing.T) {
	for _, bad := range []string{"", "x", "//evil.example", "/\\evil.example", "\\\\evil", "https://evil.example/", "javascript:alert(1)", "/\t/evil.example", "/\n/evil", "/%2f\\evil", "/a\x00b", "///x", "/%5cevil.example", "//%2fevil", "/" + strings.Repeat("a", 3000)} {
		if got := ui.LocalPath(bad, "/safe"); got != "/safe" {
			t.Errorf("LocalPath(%q) = %q", bad, got)
		}
	}
	for _, good := range []string{"/", "/devices?q=a%2Fb&x=//y", "/devices/a%20b", "/a//b"} {
		if got := ui.LocalPath(good, "/safe"); got != good {
			t.Errorf("LocalPath(%q) = %q", good, got)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "//x", "/\\x", "https://x", "/a?b=c#d"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://holdfast.example/x")
	f.Fuzz(func(t *testing.T, s string) {
		got := ui.LocalPath(s, "/")
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != "https" || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\t\r\n") {
			t.Fatalf("%q leads to %v (%v)", s, u, err)
		}
	})
}

var spec = ui.TableSpec{Filters: []string{"q", "state"}, Sorts: []string{"id"}, Columns: []string{"id", "state", "zone"}, Keep: []string{"tab"}}

func TestTableState(t *testing.T) {
	s := ui.ParseTable("/devices", url.Values{"q": {" a&b "}, "state": {"active"}, "sort": {"-id"}, "cols": {"zone,id,nope,id"}, "limit": {"100"}, "tab": {"x"}, "evil": {"1"}}, spec)
	s = s.Next("c1").Next("c2").Next("c3")
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	back := ui.ParseTable(u.Path, u.Query(), spec)
	if !reflect.DeepEqual(s, back) {
		t.Fatalf("\n%+v\n%+v", s, back)
	}
	if u.Query().Has("evil") || back.Filter("q") != "a&b" || !back.Down || !reflect.DeepEqual(back.Columns, []string{"zone", "id"}) {
		t.Fatalf("%+v", back)
	}
	prev, _ := back.Previous()
	prev2, _ := prev.Previous()
	first, ok := prev2.Previous()
	if prev.After != "c2" || prev2.After != "c1" || !ok || first.After != "" {
		t.Fatalf("%v %v %v", prev.After, prev2.After, first.After)
	}
	if f := back.With("state", ""); f.After != "" || f.Filter("state") != "" || back.Filter("state") != "active" {
		t.Fatal("a filter was not taken away, or from the wrong state")
	}
	rows, next := ui.SortPage(ui.ParseTable("/x", url.Values{"sort": {"-id"}, "limit": {"25"}}, spec), make([]int, 60), map[string]func(a, b int) int{})
	if len(rows) != 25 || next != "25" {
		t.Fatal(len(rows), next)
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add("q=a&after=x&trail=a&trail=b&cols=id,zone&sort=-id&limit=25")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		s := ui.ParseTable("/x", q, spec)
		u, err := url.Parse(s.URL())
		if err != nil || u.Path != "/x" {
			t.Fatalf("%q: %v", query, err)
		}
		if back := ui.ParseTable("/x", u.Query(), spec); back.URL() != s.URL() {
			t.Fatalf("%q: %q is read back as %q", query, s.URL(), back.URL())
		}
	})
}

func FuzzParseLiveRef(f *testing.F) {
	f.Add("devices/session?id=pump-1")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ui.ParseLiveRef(s)
		if err == nil && (l.String() != s || len(l.Args) > 16 || strings.Trim(l.ID(), "-0123456789abcdefghijklmnopqrstuvwxyz") != "") {
			t.Fatalf("%q: %+v", s, l)
		}
	})
}

func FuzzWholePage(f *testing.F) {
	f.Add(hostile)
	f.Add("</title><svg/onload=x>")
	f.Fuzz(func(t *testing.T, s string) {
		w := answer(t, "HF"+s, "GET", "/gallery", "", false)
		if w.Code != 200 && w.Code != 500 {
			t.Fatal(w.Code)
		}
		if body := w.Body.String(); regexp.MustCompile(`HF[^<>"]*["<>]`).FindString(s) != "" && strings.Contains(body, "HF"+s) {
			t.Fatalf("%q is in the page as it is", s)
		}
	})
}
