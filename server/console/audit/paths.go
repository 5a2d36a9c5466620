package audit

import (
	"net/url"
	"strings"
	"time"
)

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
