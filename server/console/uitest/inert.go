package uitest

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// loads are the attributes by which elements fetch something by themselves or send
// something.
var loads = map[string][]string{"script": {"src"}, "link": {"href"}, "img": {"src", "srcset"}, "iframe": {"src", "srcdoc"}, "object": {"data"}, "embed": {"src"}, "video": {"src", "poster"},
	"audio": {"src"}, "source": {"src", "srcset"}, "use": {"href", "xlink:href"}, "image": {"href", "xlink:href"}, "form": {"action"}, "button": {"formaction"}, "input": {"formaction", "src"}, "base": {"href"}}

// Inert lists what a page has that the content security policy is there to stop,
// or that reaches another host: inline scripts and styles, handlers in attributes,
// addresses of elsewhere, links that run. The policy would stop most of it; a page
// that needs it to is broken.
func Inert(page io.Reader) (faults []string) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	z := html.NewTokenizer(page)
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				add("the page cannot be read: %v", z.Err())
			}
			return faults
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		tag := z.Token()
		attr := map[string]string{}
		for _, a := range tag.Attr {
			attr[strings.ToLower(a.Key)] = a.Val
		}
		if tag.Data == "script" && attr["src"] == "" && attr["type"] != "application/json" {
			add("an inline script: %s", tag)
		}
		if tag.Data == "style" || tag.Data == "iframe" || tag.Data == "object" || tag.Data == "embed" || tag.Data == "base" {
			add("the element %s", tag)
		}
		if tag.Data == "meta" && strings.EqualFold(attr["http-equiv"], "refresh") {
			add("a page that leads away by itself: %s", tag)
		}
		for name, value := range attr {
			switch {
			case name == "style", strings.HasPrefix(name, "on"), strings.HasPrefix(name, "hx-on"):
				add("the attribute %s of %s", name, tag)
			case name == "href" && tag.Data == "a" && !harmless(value):
				add("the link %s", tag)
			case slices.Contains(loads[tag.Data], name) && !local(value):
				add("%s is of elsewhere: %s", name, tag)
			case strings.HasPrefix(value, "js:"), strings.HasPrefix(name, "hx-") && strings.Contains(value, "javascript:"):
				add("the attribute %s runs a script: %s", name, tag)
			}
		}
	}
}

// local tells whether an address is of this server or in the page itself.
func local(address string) bool {
	u, err := url.Parse(strings.TrimSpace(address))
	return err == nil && (u.Scheme == "" && u.Host == "" || u.Scheme == "data" && strings.HasPrefix(u.Opaque, "image/"))
}

// harmless tells whether a link may be followed: here, or openly elsewhere.
func harmless(address string) bool {
	u, err := url.Parse(strings.TrimSpace(address))
	return err == nil && (u.Scheme == "" && u.Host == "" || u.Scheme == "https" && u.Host != "" || u.Scheme == "mailto" || u.Scheme == "data" && strings.HasPrefix(u.Opaque, "image/"))
}
