package demo

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
)

// thing is one simulated device. One goroutine at a time uses it; badge is for any.
type thing struct {
	row  device.Device // as devices.csv says
	kind *typeManifest
	dir  string

	key    crypto.Signer
	cert   *x509.Certificate // nil: it has none that is worth presenting
	issuer *x509.Certificate // of cert
	client *http.Client      // presents cert; nil until used

	badge atomic.Pointer[tls.Certificate] // cert for the goroutine that is connected to MQTT

	state   device.State // what the inventory said at the start; empty: not there
	cutOff  bool         // an operator, or an earlier story, ended its access
	fresh   bool         // it enrolled in this run
	waiting bool         // it was told to wait for an operator
	refused error        // why it has no certificate

	ends []time.Time // of the certificates that it got in this run
	rest time.Time   // it does not renew before
}

// openThing makes a device's key, or reads what an earlier run left.
func (s *stage) openThing(row *device.Device) (*thing, error) {
	t := &thing{row: *row, kind: s.fleet.kind(row), dir: filepath.Join(s.cfg.Dir, string(row.ID))}
	if err := durable.MakeFolder(t.dir, 0o700); err != nil {
		return nil, err
	}
	alg, err := pki.ParseKeyAlg(t.kind.KeyAlgorithm)
	if err != nil {
		return nil, err
	}
	if t.key, err = openKey(t.file("key.pem"), alg); err != nil {
		return nil, fmt.Errorf("opening device %s: %w", row.ID, err)
	}
	t.use(s.stillGood(readCerts(t.file("cert.pem")), t.key))
	return t, nil
}

func (t *thing) file(name string) string { return filepath.Join(t.dir, name) }

// use takes a chain, the device's certificate first; an empty one is none.
func (t *thing) use(chain []*x509.Certificate) {
	t.hangUp()
	t.cert, t.issuer = nil, nil
	if len(chain) >= 2 {
		t.cert, t.issuer = chain[0], chain[1]
		t.badge.Store(t.tlsCert())
	}
}

// stillGood is chain if it belongs to the key and to our CA and can be renewed,
// in its grace time at the latest; otherwise nil.
func (s *stage) stillGood(chain []*x509.Certificate, key crypto.Signer) []*x509.Certificate {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if len(chain) < 2 || !ok || !public.Equal(chain[0].PublicKey) {
		return nil
	}
	at, end := s.now(), chain[0].NotAfter
	if at.After(end) {
		if at.After(end.Add(demoGrace)) {
			return nil
		}
		at = end
	}
	between := x509.NewCertPool()
	between.AddCert(chain[1])
	if pki.VerifyChain(chain[0], between, s.roots, at, x509.ExtKeyUsageClientAuth) != nil {
		return nil
	}
	return chain
}

// demoGrace is less than the grace of the example's types, so that a device does
// not start to renew when it is too late.
const demoGrace = 160 * time.Hour

// mustEnrol tells whether the device needs a first certificate.
func (t *thing) mustEnrol() bool { return t.cert == nil && !t.cutOff }

// liveAt counts the certificates of this run that are valid at now.
func (t *thing) liveAt(now time.Time) int {
	t.ends = slices.DeleteFunc(t.ends, func(end time.Time) bool { return now.After(end) })
	return len(t.ends)
}

// mutual is the client that presents the device's certificate.
func (t *thing) mutual(s *stage) *http.Client {
	if t.client == nil {
		t.client = s.client(t.tlsCert())
	}
	return t.client
}

// hangUp closes the device's connection.
func (t *thing) hangUp() {
	if t.client != nil {
		t.client.CloseIdleConnections()
		t.client = nil
	}
}

// enrol asks for a first certificate (RFC 7030 section 4.2.1): with the
// manufacturer's certificate in the handshake, or with a token.
func (t *thing) enrol(ctx context.Context, s *stage) error {
	var idevid *tls.Certificate
	var token est.Credential
	if t.kind.Enrolment == byIDevID {
		var err error
		if idevid, err = s.maker.idevid(t.row.Serial, s.now()); err != nil {
			return err
		}
	} else if made := s.tokenOf(t); made != nil {
		token = est.BearerCredential(made.secret.Reveal())
	}
	chain, err := s.ask(ctx, t.row.Type, string(t.row.ID), t.key, idevid, token)
	if err != nil {
		return err
	}
	t.fresh = true
	return t.keep(s, chain)
}

// ask sends one enrolment request under a name, signed with key.
func (s *stage) ask(ctx context.Context, kind device.TypeName, name string, key crypto.Signer, cert *tls.Certificate, token est.Credential) ([]*x509.Certificate, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("making a CSR: %w", err)
	}
	client := s.client(cert)
	defer client.CloseIdleConnections()
	c := &est.Client{BaseURL: s.cfg.DeviceAPI, Label: string(kind), HTTP: client, Credential: token}
	return patiently(ctx, func() ([]*x509.Certificate, error) { return c.Enroll(ctx, csr) })
}

// renew asks for another certificate for the same key (RFC 7030 section 4.2.2),
// so that a crash leaves key and certificate as a pair.
func (t *thing) renew(ctx context.Context, s *stage) error {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: t.cert.RawSubject}, t.key)
	if err != nil {
		return fmt.Errorf("making a CSR: %w", err)
	}
	t.hangUp() // a POST on a connection that the server has just closed would be lost
	c := &est.Client{BaseURL: s.cfg.DeviceAPI, Label: string(t.row.Type), HTTP: t.mutual(s)}
	chain, err := patiently(ctx, func() ([]*x509.Certificate, error) { return c.Reenroll(ctx, csr) })
	if err != nil {
		return err
	}
	return t.keep(s, chain)
}

// keep writes a new certificate. Order of durable writes: the issuer first, which
// alone means nothing; then the certificate, which the next start believes.
func (t *thing) keep(s *stage, chain []*x509.Certificate) error {
	if chain = s.stillGood(chain, t.key); chain == nil {
		return fmt.Errorf("checking the certificate of device %s: it does not chain to the CA file", t.row.ID)
	}
	if err := durable.WriteFile(t.file("issuer.pem"), encodeCerts(chain[1:2]), 0o644); err != nil {
		return err
	}
	if err := durable.WriteFile(t.file("cert.pem"), encodeCerts(chain[:2]), 0o644); err != nil {
		return err
	}
	t.use(chain)
	t.ends = append(t.ends, chain[0].NotAfter)
	return nil
}

// checkIn uses the certificate for the first time, which makes the device active,
// and keeps the roots that the server says it may trust.
func (t *thing) checkIn(ctx context.Context, s *stage) error {
	certs, err := (&est.Client{BaseURL: s.cfg.DeviceAPI, HTTP: t.mutual(s)}).CACerts(ctx)
	if err != nil {
		return err
	}
	roots := slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) != nil })
	return durable.WriteFile(t.file("ca.pem"), encodeCerts(roots), 0o644)
}

// maxPatience bounds how often one request is sent again.
const maxPatience = 20

// patiently sends a request again when the server's limits, not its rules, turned
// it away: after as long as it says.
func patiently[T any](ctx context.Context, call func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := call()
		p := problemOf(err)
		if p == nil || p.Code != "too-many-requests" && p.Code != "busy" || try == maxPatience {
			return v, err
		}
		if err := sleep(ctx, max(p.RetryAfter, time.Second)); err != nil {
			return v, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func problemOf(err error) *est.Problem {
	p, _ := errors.AsType[*est.Problem](err)
	return p
}

// openKey reads a private key (PKCS#8), or makes and writes it.
func openKey(path string, alg pki.KeyAlg) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path, alg)
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, fmt.Errorf("reading %s: it is not a private key in PKCS#8 PEM: delete it to have a new one made", path)
}

func makeKey(path string, alg pki.KeyAlg) (crypto.Signer, error) {
	key, err := alg.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return key, durable.WriteFile(path, pki.EncodePEM("PRIVATE KEY", der), 0o600)
}

// readCerts reads a file of certificates; what cannot be read counts as none.
func readCerts(path string) []*x509.Certificate {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	certs, _ := pki.ParseCertificatesPEM(text)
	return certs
}

func encodeCerts(certs []*x509.Certificate) []byte {
	var ders [][]byte
	for _, c := range certs {
		ders = append(ders, c.Raw)
	}
	return pki.EncodeCertificatesPEM(ders...)
}
