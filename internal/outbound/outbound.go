// Package outbound makes HTTP clients for URLs that come from configuration,
// from documents of other parties or from people: discovery documents, key
// sets, metadata, webhooks.
//
// It promises that such a URL cannot be used to reach what only this machine or
// its network can reach (server-side request forgery): the address is checked
// at the moment of the connection, after the name was looked up, so that no
// second answer of the DNS can change it; special addresses of every kind and
// form are refused unless a prefix of Allow covers them; redirects to other
// hosts are not followed; no proxy of the environment is used; answers are
// bounded in bytes and in time. It trusts the resolver only for which public
// address to connect to, and TLS for who answers there. Whoever can write Allow
// can point requests at the internal network. Through a proxy (Proxy), the
// proxy looks names up: then it alone can refuse addresses behind names.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is inside every error that this package's rules cause, so that a
// caller can tell a forbidden URL from a host that is down.
var ErrRefused = errors.New("refusing to connect")

// ErrTooLarge is inside the error of reading more of an answer than MaxBody.
var ErrTooLarge = errors.New("the answer is larger than allowed")

// Bounds that hold where Policy leaves a field zero.
const (
	DefaultMaxBody = 1 << 20
	DefaultTimeout = 10 * time.Second
)

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// Resolver looks up the addresses of a name. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Policy says what a client may reach. The zero value reaches the public
// Internet by HTTPS, without redirects.
type Policy struct {
	// Allow names the special prefixes that may be reached: "10.20.0.0/16" for
	// an identity provider inside the network. Metadata addresses of clouds need
	// a prefix that covers nothing else.
	Allow []netip.Prefix
	// AllowHTTP permits URLs without TLS.
	AllowHTTP bool
	// Ports permits ports below 1024 other than 80 and 443, and the few above
	// it that other protocols use.
	Ports []uint16
	// Timeout bounds an exchange, with its redirects and the reading of the
	// answer; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxBody bounds an answer, in bytes after decompression; 0 means
	// DefaultMaxBody. Reading beyond it returns ErrTooLarge.
	MaxBody int64
	// Redirects is how many redirects are followed, each to the same scheme,
	// host and port; 0 means none: the redirect itself is the answer.
	Redirects int
	// Roots holds extra certificate authorities in PEM form, beside those of
	// the operating system.
	Roots []byte
	// Proxy is the proxy to go through; nil means none, whatever the
	// environment says.
	Proxy *url.URL
	// Resolver looks names up; nil means the operating system's way.
	Resolver Resolver
}

// New makes a client that keeps to the policy. It may be used by many
// goroutines. It has no cookies.
func New(p Policy) (*http.Client, error) {
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout
	}
	if p.MaxBody == 0 {
		p.MaxBody = DefaultMaxBody
	}
	if p.Timeout < 0 || p.MaxBody < 0 || p.Redirects < 0 || p.Redirects > 10 {
		return nil, errors.New("making an outbound client: a bound is out of its range")
	}
	if p.Resolver == nil {
		p.Resolver = net.DefaultResolver
	}
	p.Allow = slices.Clone(p.Allow)
	roots, err := pool(p.Roots)
	if err != nil {
		return nil, err
	}
	d := &dialer{policy: p}
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            d.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    p.Timeout,
		ResponseHeaderTimeout:  p.Timeout,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           16,
		MaxConnsPerHost:        16,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
	if p.Proxy != nil {
		if d.proxy, err = proxyAddress(p.Proxy); err != nil {
			return nil, err
		}
		transport.Proxy = http.ProxyURL(p.Proxy)
	}
	return &http.Client{
		Transport:     &guard{policy: p, next: transport},
		Timeout:       p.Timeout,
		CheckRedirect: p.redirect,
	}, nil
}

// pool adds PEM certificates to those of the operating system; nil means only those.
func pool(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("making an outbound client: the extra certificate authorities hold no PEM certificate")
	}
	return roots, nil
}

func proxyAddress(u *url.URL) (string, error) {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", errors.New("making an outbound client: the proxy is not an http or https URL with a host")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// redirect follows what stays on the host, and refuses the rest: a redirect is
// the other party's choice of a URL, and carries headers along.
func (p Policy) redirect(req *http.Request, via []*http.Request) error {
	if p.Redirects == 0 {
		return http.ErrUseLastResponse
	}
	if len(via) > p.Redirects {
		return fmt.Errorf("%w: more than %d redirects", ErrRefused, p.Redirects)
	}
	first := via[0].URL
	if req.URL.Scheme != first.Scheme || !strings.EqualFold(req.URL.Host, first.Host) {
		return fmt.Errorf("%w: a redirect leads from %q to another host", ErrRefused, first.Host)
	}
	return nil
}

// guard checks each request's URL, and bounds each answer.
type guard struct {
	policy Policy
	next   *http.Transport
}

// RoundTrip is http.RoundTripper's.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.policy.Check(r.URL); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > g.policy.MaxBody {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, resp.ContentLength, g.policy.MaxBody)
	}
	resp.Body = &bounded{body: resp.Body, left: g.policy.MaxBody}
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name work.
func (g *guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

// bounded is a body that ends with an error instead of growing past its bound.
type bounded struct {
	body io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }

// dialer connects to addresses that it has judged, and to no others.
type dialer struct {
	policy Policy
	proxy  string // host:port that Policy.Proxy names, or ""
}

// dial looks the host up once, judges what came back and connects to an
// address, never to the name: what was judged is what is connected to.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.proxy != "" && address == d.proxy {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address to connect to: %w", err)
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) > 8 {
		addrs = addrs[:8]
	}
	// The kernel's view is judged once more, so that no later change of this
	// function can connect to what was not judged.
	control := func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return fmt.Errorf("%w: %q is no address", ErrRefused, resolved)
		}
		return Judge(ap.Addr(), d.policy.Allow)
	}
	// Each address gets its share of the time: one that swallows packets must
	// not keep the next from being tried.
	share := max(d.policy.Timeout/time.Duration(len(addrs)), time.Second)
	nd := &net.Dialer{Timeout: share, ControlContext: control}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = nd.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// lookup returns the addresses of host that may be connected to, or says why
// there is none.
func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, Judge(addr, d.policy.Allow)
	}
	if err := d.policy.checkHost(host); err != nil {
		return nil, err
	}
	found, err := d.policy.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", host, err)
	}
	var good []netip.Addr
	refused := fmt.Errorf("looking up %q: it has no address", host)
	for _, a := range found {
		if err := Judge(a, d.policy.Allow); err != nil {
			refused = fmt.Errorf("connecting to %q: %w", host, err)
			continue
		}
		good = append(good, a.Unmap())
	}
	if len(good) == 0 {
		return nil, refused
	}
	return good, nil
}
