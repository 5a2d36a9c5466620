package server

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/refusal"
)

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
