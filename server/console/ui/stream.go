package ui

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
)

// Emit sends one event of a stream: HTML that a script puts in place. It returns
// an error when the browser is gone. Only one goroutine may call it.
type Emit func(event string, body Node) error

// Stream is an answer without an end, for what is watched as it happens. It does
// not count as activity of the person.
type Stream struct {
	Pattern string // of http.ServeMux, with GET
	Needs   []access.Permission
	Section string
	// Run works until the request's context ends: the browser left, the sign-in or
	// the permission ended, the server stops, or the longest life of a stream is
	// over. A *adminapi.Problem or refusal it returns is sent as the event "problem".
	Run func(r *Request, emit Emit) error
}

// Stream mounts a stream.
func (s *Section) Stream(pattern string, run func(*Request, Emit) error, needs ...access.Permission) {
	if !strings.HasPrefix(pattern, http.MethodGet+" /") {
		panic("console: the stream " + pattern + " is not GET and a path")
	}
	s.m.streams = append(s.m.streams, Stream{pattern, needs, s.name, run})
}

// Streams lists what was mounted.
func (m *Mux) Streams() []Stream { return m.streams }

// Event renders a body as one server-sent event (HTML standard, section 9.2). A
// carriage return ends a line of the stream too, so that a value with one could
// begin an event of its own.
func (r *Request) Event(name string, body Node) ([]byte, error) {
	var html, out bytes.Buffer
	if err := body.Render(r.Context(), &html); err != nil {
		return nil, err
	}
	out.WriteString("event: " + name + "\n")
	for line := range bytes.Lines(bytes.ReplaceAll(html.Bytes(), []byte("\r"), []byte("&#13;"))) {
		out.WriteString("data: ")
		out.Write(bytes.TrimRight(line, "\n"))
		out.WriteByte('\n')
	}
	if html.Len() == 0 {
		out.WriteString("data:\n")
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
