package adminapi

import (
	"fmt"
	"net/http"
	"strconv"
)

// Allowance is how many requests a caller has left.
type Allowance struct {
	Policy    string // its name: client, person or source
	Quota     int64  // requests in a window
	Window    int64  // in seconds
	Remaining int64
	Reset     int64 // seconds until more is allowed
	Exceeded  bool
}

// headers writes it as draft-ietf-httpapi-ratelimit-headers-10 has it, and
// Retry-After (RFC 9110 section 10.2.3) when nothing is left.
func (l Allowance) headers(h http.Header) {
	if l.Quota == 0 {
		return
	}
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", l.Policy, l.Quota, l.Window))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", l.Policy, max(l.Remaining, 0), l.Reset))
	if l.Exceeded {
		h.Set("Retry-After", strconv.FormatInt(max(l.Reset, 1), 10))
	}
}
