package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/refusal"
)

// bodyTime is how long the listener that browsers reach waits for all of a body, so
// that nobody holds on to connections by sending slowly.
const bodyTime = 2 * time.Minute

// secured sets what every answer of a listener that browsers reach says: come over
// TLS for the next year, do not guess types, and nothing here is a page or a part
// of one. The console, which has pages, says more.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // not every writer has one; those of servers do
		}
		if named(r.Host) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// unambiguous ends an HTTP/1.1 connection after a request whose body came in chunks.
// Such a request may have had a length too, which net/http drops: a proxy in front
// that went by the length would take what comes next for a part of this request, and
// we for another one. RFC 9112 section 6.1 demands that the connection ends.
func unambiguous(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// named tells whether a host is a name of its own. Strict-Transport-Security is
// for all ports of a host: on localhost it would break other people's programs.
func named(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && host != ""
}

// allSources stands for everybody together in a limiter.
var allSources = netip.IPv4Unspecified()

// estStatus maps refusals to the statuses of RFC 7030 and RFC 9110.
var estStatus = map[refusal.Kind]struct {
	status int
	title  string
}{
	refusal.Invalid:         {http.StatusBadRequest, "The request is not valid"},
	refusal.Unauthenticated: {http.StatusUnauthorized, "No valid credential"},
	refusal.Forbidden:       {http.StatusForbidden, "Not allowed"},
	refusal.NotFound:        {http.StatusNotFound, "Not found"},
	refusal.Conflict:        {http.StatusConflict, "In conflict with the present state"},
	refusal.TooLarge:        {http.StatusRequestEntityTooLarge, "Too large"},
	refusal.TooMany:         {http.StatusTooManyRequests, "Too many"},
	refusal.Unavailable:     {http.StatusServiceUnavailable, "Not available"},
}

// retryAfter is when a device should try again what could not be done now.
const retryAfter = 30 * time.Second

// estProblem renders a refusal for a device; other errors stay hidden.
func estProblem(err error) error {
	r := refusal.As(err)
	if r == nil {
		return err
	}
	m := estStatus[r.Kind]
	p := &est.Problem{Status: m.status, Code: r.Code, Title: m.title, Detail: r.Detail, Fix: r.Fix}
	if r.Kind == refusal.Unavailable || r.Kind == refusal.TooMany {
		p.RetryAfter = retryAfter
	}
	return p
}

// sourceOf is the address that a request came from: the connection's, or behind
// a trusted proxy the last address that it added to X-Forwarded-For.
func (s *Server) sourceOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("") // a link's name is ours, not the peer's
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trustedProxy(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	return addr
}

func (s *Server) trustedProxy(addr netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
