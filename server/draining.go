package server

import (
	"io"
	"net/http"
	"time"
)

// Bounds of what is read of a body that nobody wants any more.
const (
	maxLeftover  = 16 << 20 // bytes
	leftoverTime = 10 * time.Second
)

// drained reads what a handler left of a body before the answer goes out. A client
// that is still sending may otherwise lose the answer that says what is wrong with
// its body: it sees the connection reset first (RFC 9112 section 9.6).
func drained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 || r.Header.Get("Expect") != "" { // nothing comes, or not before it is asked for
			next.ServeHTTP(w, r)
			return
		}
		body := r.Body
		r.Body = io.NopCloser(body) // what is closed cannot be read; the HTTP server closes its own
		next.ServeHTTP(w, r)
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftoverTime))
		io.CopyN(io.Discard, body, maxLeftover)
	})
}
