package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/pki"
)

// rootsPath is where a server shows its roots to whoever does not know them yet.
const rootsPath = "/ca.pem"

// trustOf finds what a new server is trusted by: the file of --ca, the system's
// authorities if they vouch for it (empty), or, after the operator compared its
// fingerprint, the root that the server itself shows.
func (a *app) trustOf(ctx context.Context, server, fingerprint string) (string, error) {
	if a.caFile != "" {
		text, err := readSmall(a.caFile, maxCA)
		if err != nil {
			return "", fmt.Errorf("reading the authorities: %w", err)
		}
		return certificatesOnly(text, a.caFile)
	}
	chain, err := a.chainOf(ctx, server)
	if err != nil {
		return "", err
	}
	name := hostOf(server)
	if fingerprint == "" && verifyChain(chain, name, nil, a.now()) == nil {
		return "", nil
	}
	anchor := a.anchorOf(ctx, server, chain)
	if anchor == nil {
		return "", fixing("give the authorities of the server with --ca, as `holdfast ca bundle` writes them", fmt.Errorf("the server at %s shows no authority that vouches for it", server))
	}
	pool := x509.NewCertPool()
	pool.AddCert(anchor)
	if err := verifyChain(chain, name, pool, a.now()); err != nil {
		return "", fixing("use a name that the server's certificate has, or add this one to hostnames in its configuration", fmt.Errorf("checking the server's certificate: %w", err))
	}
	if err := a.agreeOn(server, anchor, fingerprint); err != nil {
		return "", err
	}
	return string(pki.EncodePEM("CERTIFICATE", anchor.Raw)), nil
}

func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// certificatesOnly keeps the certificates of a PEM file: nothing else of it, such
// as a key, belongs in a profile.
func certificatesOnly(text []byte, name string) (string, error) {
	var b strings.Builder
	for _, c := range rootsOf(string(text)) {
		b.Write(pki.EncodePEM("CERTIFICATE", c.Raw))
	}
	if b.Len() == 0 {
		return "", fixing("give a PEM file, such as `holdfast ca bundle` writes", fmt.Errorf("reading the authorities: %s holds no certificate", name))
	}
	return b.String(), nil
}

// chainOf asks the server for its certificates and believes nothing yet. Not one
// byte of the operator's is sent.
func (a *app) chainOf(ctx context.Context, server string) ([]*x509.Certificate, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, oauthTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: unverified(u.Hostname())}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, &url.Error{Op: "Get", URL: server, Err: err}
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, nil
}

// unverified is for looking at what a server shows, never for talking to it.
func unverified(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: true} //nolint:gosec // the chain is verified afterwards
}

// verifyChain checks the server's certificates for a name; roots nil means the
// system's.
func verifyChain(chain []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the server showed no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now})
	return err
}

// anchorOf is the authority to pin: a root that the server publishes and that
// vouches for its chain, else the highest authority of the chain itself.
func (a *app) anchorOf(ctx context.Context, server string, chain []*x509.Certificate) *x509.Certificate {
	if len(chain) == 0 {
		return nil
	}
	for _, root := range publishedRoots(ctx, server) {
		pool := x509.NewCertPool()
		pool.AddCert(root)
		if root.IsCA && verifyChain(chain, "", pool, a.now()) == nil {
			return root
		}
	}
	if top := chain[len(chain)-1]; top.IsCA {
		return top
	}
	return nil
}

func publishedRoots(ctx context.Context, server string) []*x509.Certificate {
	ctx, cancel := context.WithTimeout(ctx, oauthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+rootsPath, nil)
	if err != nil {
		return nil
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: unverified(hostOf(server)), DisableKeepAlives: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxCA))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	certs := rootsOf(string(text))
	return certs[:min(len(certs), 16)]
}

// agreeOn lets the operator compare the authority with what they were told by
// another way: the one moment at which somebody between could be believed.
func (a *app) agreeOn(server string, anchor *x509.Certificate, fingerprint string) error {
	sum := sha256.Sum256(anchor.Raw)
	shown := hex.EncodeToString(sum[:])
	if fingerprint != "" {
		want, err := hex.DecodeString(strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(fingerprint)))
		if err != nil || len(want) != len(sum) {
			return &usageError{"--fingerprint is not a SHA-256 fingerprint", "give its 64 hexadecimal digits"}
		}
		if subtle.ConstantTimeCompare(want, sum[:]) != 1 {
			return fixing("somebody may be between you and the server: get the fingerprint again, by another way",
				fmt.Errorf("the authority of %s has the fingerprint %s, not the one that you gave", server, shown))
		}
		return nil
	}
	if !isTerminal(a.in) {
		return fixing("compare it with the server's, then give it with --fingerprint, or the authorities with --ca",
			fmt.Errorf("the server at %s is vouched for by an authority that this machine does not know, with the SHA-256 fingerprint %s", server, shown))
	}
	what := "root"
	if anchor.CheckSignatureFrom(anchor) != nil {
		what = "authority"
	}
	fmt.Fprintf(a.err, `The server at %s is vouched for by an authority that this
machine does not know:

  %-9s %s
  valid     until %s
  SHA-256   %s

Compare the fingerprint with the one that "holdfast ca init" printed, or with the
id that "holdfast ca list" shows on the server. Somebody who stands between you
and the server would show another one.
`, plain(server), what, plain(anchor.Subject.String()), when(anchor.NotAfter), a.paint(a.err, bold, shown))
	yes := *a
	yes.yes = false // --yes is for what cannot be undone, not for whom to trust
	return yes.confirm("this machine will trust it for %s", server)
}
