package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Connect returns a client of the server at an address such as https://holdfast.example.com:8443, without /api/v1. Nothing is
// sent yet.
//
// transport carries the requests: nil is the default one, with the system's authorities; [Transport] trusts the server's own.
// With an access token that is fetched and renewed by OAuth, give the transport of the client that
// golang.org/x/oauth2/clientcredentials makes. An API key goes into [WithToken].
func Connect(server string, transport http.RoundTripper, options ...ClientOption) (*ClientWithResponses, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("connecting to the server: its address is not of the form https://HOST:PORT")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("connecting to the server: tokens are sent over https only")
	}
	hc := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return NewClientWithResponses(server, append([]ClientOption{WithHTTPClient(caller{hc})}, options...)...)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Transport trusts the authorities in a PEM file alone, such as the ca.pem of a data folder or the answer of
// /api/v1/ca/bundle.pem, if that was fetched in a way that can be trusted.
func Transport(authorities []byte) (*http.Transport, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("reading the authorities: there is no certificate in PEM")
	}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second}, nil
}

// WithToken sends an API key or an access token with every request.
func WithToken(token string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
}

// Because says why, for the second person who is asked about a request whose body has no reason. It is given to one call.
func Because(reason string) RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Holdfast-Reason", url.PathEscape(reason))
		return nil
	}
}

// caller makes an error of every answer that is not a success.
type caller struct{ *http.Client }

// Do implements HttpRequestDoer.
func (c caller) Do(r *http.Request) (*http.Response, error) {
	res, err := c.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("calling the server: %w", err)
	}
	if res.StatusCode/100 == 2 && res.StatusCode != http.StatusAccepted {
		return res, nil
	}
	defer res.Body.Close()
	return nil, refusal(res)
}
