package audit

import (
	"context"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Render writes the sentence. It is written here and not by a template because
// every space counts.
func (s sentence) Render(ctx context.Context, w io.Writer) error {
	for _, p := range s {
		if err := p.node().Render(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (p piece) node() ui.Node {
	switch p.sort {
	case party:
		return partyNode(p)
	case value:
		return element("b", p.text)
	case quote:
		return element("q", p.text)
	case moment:
		return ui.Exact(p.at)
	}
	return ui.Text(p.text)
}

// element is a text in an element without attributes.
func element(name, text string) ui.Node {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "<"+name+">"+templ.EscapeString(text)+"</"+name+">")
		return err
	})
}

// partyNode is who or what, with a link to its page.
func partyNode(p piece) ui.Node {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		name, attributes := "span", ""
		if p.href != "" {
			name, attributes = "a", ` href="`+templ.EscapeString(ui.LocalPath(p.href, "/audit"))+`"`
		}
		if p.hint != "" {
			attributes += ` title="` + templ.EscapeString(p.hint) + `"`
		}
		_, err := io.WriteString(w, "<"+name+` class="audit-party"`+attributes+">"+templ.EscapeString(p.text)+"</"+name+">")
		return err
	})
}

// searchPath is the list with one filter.
func searchPath(name, value string) string { return "/audit?" + url.Values{name: {value}}.Encode() }

// aroundPath is the list of ten minutes.
func aroundPath(t time.Time) string {
	t = t.UTC()
	return "/audit?" + url.Values{"from": {t.Add(-5 * time.Minute).Format(time.RFC3339)}, "to": {t.Add(5 * time.Minute).Format(time.RFC3339)}}.Encode()
}

// requestPath is what else one request did: the text is searched for near its
// time, which keeps the search short.
func requestPath(request string, t time.Time) string {
	t = t.UTC()
	return "/audit?" + url.Values{"q": {request}, "from": {t.Add(-10 * time.Minute).Format(time.RFC3339)}, "to": {t.Add(10 * time.Minute).Format(time.RFC3339)}}.Encode()
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
