package est

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// problemType begins the "type" member of a problem document; the code follows.
const problemType = "urn:holdfast:problem:"

const (
	maxProblem    = 64 << 10            // bytes of a problem document that the client reads
	maxRetryAfter = 30 * 24 * time.Hour // longest wait the client takes from a server
)

// Problem is a refusal written for the other side (RFC 9457). A backend returns one, perhaps wrapped, to choose what the
// client sees; the client returns one for every answer that is neither success nor Pending.
type Problem struct {
	Status     int           // HTTP status, 400 to 599
	Code       string        // lower-case words joined by hyphens; the stable name of this kind of refusal
	Title      string        // the kind in a few words
	Detail     string        // what was wrong with this request
	Fix        string        // what to do next
	RetryAfter time.Duration // when to try again; 0 to say nothing; sent in whole seconds, rounded up
	RequestID  string        // set by the handler; the server's name for the request
}

// Error returns the refusal as one line.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "refused with status %d", p.Status)
	for _, part := range []string{p.Code, p.Detail, p.Fix} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	return b.String()
}

// Pending says that the request waits for somebody's decision (RFC 7030 section 4.2.3, status 202). It is an error so that
// nobody takes it for a certificate.
type Pending struct {
	RetryAfter time.Duration // when to send the same request again; sent in whole seconds, rounded up, at least 1
}

// Error says how long to wait.
func (p *Pending) Error() string {
	return fmt.Sprintf("waiting for approval: try again in %v", p.RetryAfter)
}

// Unauthorized is the refusal of a request without usable credentials; the handler adds the WWW-Authenticate header.
func Unauthorized(detail string) *Problem {
	return &Problem{Status: http.StatusUnauthorized, Code: "unauthorized", Title: "Authentication needed", Detail: detail,
		Fix: "Present an enrolment token (HTTP Basic or Bearer) or a client certificate that this server accepts."}
}

type problemDocument struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Fix       string `json:"fix,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// RenderProblem writes p as application/problem+json.
func RenderProblem(p *Problem) ([]byte, error) {
	body, err := json.Marshal(problemDocument{problemType + p.Code, p.Title, p.Status, p.Detail, p.Fix, p.RequestID})
	if err != nil {
		return nil, fmt.Errorf("rendering the problem: %w", err)
	}
	return append(body, '\n'), nil
}

// ParseProblem reads a refusal of any server: a problem document, or failing that plain text, or failing that the status
// alone. Texts are cut to a sane length and stripped of control characters, so that they are safe on a terminal.
func ParseProblem(status int, h http.Header, body []byte) *Problem {
	p := &Problem{Status: status, Code: "http-" + strconv.Itoa(status), Title: http.StatusText(status)}
	p.RetryAfter, _ = parseRetryAfter(h)
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || len(body) > maxProblem {
		return p
	}
	var doc problemDocument
	switch {
	case media == "application/problem+json" && json.Unmarshal(body, &doc) == nil:
		if code, ok := strings.CutPrefix(doc.Type, problemType); ok && codeForm.MatchString(code) {
			p.Code = code
		}
		if doc.Title != "" {
			p.Title = printable(doc.Title, 200)
		}
		p.Detail, p.Fix, p.RequestID = printable(doc.Detail, 1000), printable(doc.Fix, 1000), printable(doc.RequestID, 100)
	case media == "text/plain":
		p.Detail = printable(string(body), 500)
	}
	return p
}

var codeForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// printable replaces what is not printable by spaces and cuts at limit bytes on a rune boundary.
func printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = ' '
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// seconds renders a Retry-After value: whole seconds, rounded up, at least 1.
func seconds(d time.Duration) string {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return strconv.FormatInt(max(s, 1), 10)
}

// parseRetryAfter reads Retry-After as seconds or as a date (RFC 9110 section 10.2.3), a date being measured from the
// server's own Date. It says false when there is none that can be read; otherwise 0 to maxRetryAfter.
func parseRetryAfter(h http.Header) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter), true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(from), 0), maxRetryAfter), true
}
