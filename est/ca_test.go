package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCA is a small but real CA behind the handler: it signs, verifies peers, and remembers the last request.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time

	mu      sync.Mutex
	attrs   []byte
	pending []time.Duration // answers 202 with these waits before it issues
	fail    error           // returned by everything when set
	last    Request
	lastKey PrivateKey // what was handed to the handler, to see that it was erased
	serial  int64
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newCA(now time.Time) *testCA {
	ca := &testCA{key: newKey(), now: now, serial: 1}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	ca.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, ca.key.Public(), ca.key))))
	return ca
}

func (ca *testCA) sign(subject pkix.Name, pub crypto.PublicKey, dns ...string) *x509.Certificate {
	ca.serial++
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(ca.serial), Subject: subject, DNSNames: dns,
		NotBefore: ca.now.Add(-time.Minute), NotAfter: ca.now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tmpl, ca.cert, pub, ca.key))))
}

func (ca *testCA) CACerts(_ context.Context, label string) ([]*x509.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if label != "" && label != "meter" {
		return nil, &Problem{Status: 404, Code: "unknown-label", Title: "No such device type", Detail: "No type " + label + ".", Fix: "List the types."}
	}
	return []*x509.Certificate{ca.cert}, ca.fail
}

func (ca *testCA) CSRAttrs(context.Context, string) ([]byte, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.attrs, ca.fail
}

func (ca *testCA) Enroll(_ context.Context, req Request) (Issued, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.last = req
	if ca.fail != nil {
		return Issued{}, ca.fail
	}
	if len(ca.pending) > 0 {
		wait := ca.pending[0]
		ca.pending = ca.pending[1:]
		return Issued{}, &Pending{RetryAfter: wait}
	}
	csr, err := x509.ParseCertificateRequest(req.CSR)
	if err != nil || csr.CheckSignature() != nil {
		return Issued{}, &Problem{Status: 400, Code: "bad-csr", Title: "Bad CSR", Detail: "The CSR is malformed.", Fix: "Make a new one."}
	}
	if req.Credential.Reveal() != "token" && !ca.knows(req.Peer) {
		return Issued{}, Unauthorized("The token is not known.")
	}
	if req.Op != OpServerKeyGen {
		return Issued{Chain: []*x509.Certificate{ca.sign(csr.Subject, csr.PublicKey), ca.cert, ca.cert}}, nil
	}
	key := newKey()
	ca.lastKey = must(x509.MarshalPKCS8PrivateKey(key))
	return Issued{Chain: []*x509.Certificate{ca.sign(csr.Subject, key.Public()), ca.cert}, PrivateKey: ca.lastKey}, nil
}

func (ca *testCA) knows(peer []*x509.Certificate) bool {
	if len(peer) == 0 {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err := peer[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: ca.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

func (ca *testCA) request() Request {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.last
}

func newCSR(name string) (*ecdsa.PrivateKey, []byte) {
	key := newKey()
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	return key, must(x509.CreateCertificateRequest(rand.Reader, tmpl, key))
}

// errorLog collects what the handler reports to the program.
type errorLog struct {
	mu   sync.Mutex
	errs []error
}

func (l *errorLog) add(_ *http.Request, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *errorLog) has(target error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Is(errors.Join(l.errs...), target)
}

// serve starts a TLS server that asks for client certificates, and returns a client that trusts it.
func serve(t *testing.T, ca *testCA, cfg Config) (*httptest.Server, *Client) {
	t.Helper()
	return serveHandler(t, Handler(ca, cfg))
}

func serveHandler(t *testing.T, h http.Handler) (*httptest.Server, *Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, &Client{BaseURL: srv.URL, HTTP: srv.Client(), Credential: BasicCredential("device", "token")}
}

// present makes the client show a certificate from now on.
func present(c *Client, cert *x509.Certificate, key crypto.PrivateKey) {
	tr := c.HTTP.Transport.(*http.Transport)
	tr.CloseIdleConnections()
	tr.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
