package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// rotationMeta names the key that a rotation under way has made.
const rotationMeta = "rotation_key"

// BeginRotation makes a new issuing key and returns its request for a
// certificate, to be signed with the root key wherever that is kept.
func (s *Server) BeginRotation(ctx context.Context, by access.Actor, algorithm string) (string, error) {
	if algorithm == "" {
		algorithm = s.cfg.CA.Algorithm
	}
	if _, err := pki.ParseKeyAlg(algorithm); err != nil {
		return "", invalid("bad-key-algorithm", "use P-256, P-384 or Ed25519", "%.40q is not a key algorithm", algorithm)
	}
	name, key, err := newIssuingKey(ctx, s.keys, algorithm, s.now())
	if errors.Is(err, keystore.ErrUnsupported) {
		return "", invalid("bad-key-algorithm", "use P-256 or P-384", "the key store does not support %s", algorithm)
	}
	if err != nil {
		return "", err
	}
	der, err := pki.NewIssuingRequest(rand.Reader, key, issuingName(s.cfg, s.now()))
	if err != nil {
		return "", err
	}
	if err := s.store.SetMeta(ctx, rotationMeta, name, s.event(by, "ca.rotation_begun", "ca", name, "algorithm", algorithm)); err != nil {
		return "", err
	}
	return string(pki.EncodePEM("CERTIFICATE REQUEST", der)), nil
}

// FinishRotation takes the signed certificate of the key that BeginRotation made.
// From then on it issues; the one before keeps verifying, and keeps its CRL and
// OCSP answers, until it expires.
func (s *Server) FinishRotation(ctx context.Context, by access.Actor, certificatePEM string) (adminapi.CA, error) {
	var none adminapi.CA
	name, err := s.store.Meta(ctx, rotationMeta)
	if errors.Is(err, sqlstore.ErrNotFound) || name == "" {
		return none, refusal.New(refusal.Conflict, "no-rotation", "begin one with `holdfast ca rotate`", "no rotation of the issuing CA is under way")
	}
	if err != nil {
		return none, err
	}
	certs, err := pki.ParseCertificatesPEM([]byte(certificatePEM))
	if err != nil || len(certs) != 1 {
		return none, invalid("bad-pem", "send one PEM certificate", "the issuing certificate cannot be read")
	}
	cert := certs[0]
	key, err := s.keys.Open(ctx, name)
	if errors.Is(err, keystore.ErrNotFound) {
		return none, refusal.New(refusal.Conflict, "key-elsewhere", "finish the rotation on the server that began it", "the new issuing key is not on this server")
	}
	if err != nil {
		return none, err
	}
	if err := s.checkIssuing(cert, key); err != nil {
		return none, err
	}
	row := sqlstore.CA{ID: caID(cert.Raw), Role: "issuing", DER: cert.Raw, KeyName: name, Status: "active", CreatedAt: s.now(), NotAfter: cert.NotAfter}
	_, err = s.store.InsertCAs(ctx, []sqlstore.CA{row}, s.now(), s.event(by, "ca.rotated", "ca", row.ID, "subject", cert.Subject.String(), "key", name))
	if err != nil {
		return none, exists(err, "ca", row.ID)
	}
	s.announce()
	if err := s.loadAuthority(ctx); err != nil {
		return none, err
	}
	s.crlDue()
	return s.caView(row), nil
}

// checkIssuing refuses a certificate that is not the root's word on this key.
func (s *Server) checkIssuing(cert *x509.Certificate, key keystore.Key) error {
	if !samePublic(cert, key) {
		return invalid("wrong-key", "sign the request that this rotation printed", "the certificate is for another key")
	}
	if !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0 || cert.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return invalid("not-a-ca", "sign it as an issuing CA", "the certificate may not sign certificates and revocation lists")
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: s.authority.Load().rootPool, CurrentTime: s.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return invalid("wrong-root", "sign it with this installation's root key", "the certificate does not verify with the root")
	}
	return nil
}

func samePublic(cert *x509.Certificate, key keystore.Key) bool {
	switch k := key.Public().(type) {
	case *ecdsa.PublicKey:
		return k.Equal(cert.PublicKey)
	case ed25519.PublicKey:
		return k.Equal(cert.PublicKey)
	}
	return false
}

// CAs lists the hierarchy, newest first.
func (s *Server) CAs(ctx context.Context) ([]adminapi.CA, error) {
	rows, err := s.store.CAs(ctx)
	if err != nil {
		return nil, err
	}
	var list []adminapi.CA
	for _, row := range rows {
		list = append(list, s.caView(row))
	}
	return list, nil
}

func (s *Server) caView(row sqlstore.CA) adminapi.CA {
	view := adminapi.CA{ID: row.ID, Role: row.Role, Status: row.Status, Key: "offline, not on this server", NotAfter: row.NotAfter,
		PEM: string(pki.EncodePEM("CERTIFICATE", row.DER))}
	if cert, err := x509.ParseCertificate(row.DER); err == nil {
		view.Subject, view.NotBefore, view.NotAfter = cert.Subject.String(), cert.NotBefore, cert.NotAfter
	}
	if !s.now().Before(view.NotAfter) {
		view.Status = "expired"
	}
	if row.Role == "issuing" {
		view.CRLURL, view.Key = s.urls(row.ID).CRL, row.KeyName+" (not on this node)"
		if is := s.authority.Load().byID[row.ID]; is != nil && is.key != nil {
			view.Key = is.key.Describe()
		}
	}
	return view
}

// Bundle is what clients need to trust: roots first.
func (s *Server) Bundle(ctx context.Context) (string, error) {
	var b strings.Builder
	a := s.authority.Load()
	for _, c := range a.roots {
		b.Write(bytes.TrimSpace(pki.EncodePEM("CERTIFICATE", c.Raw)))
		b.WriteByte('\n')
	}
	for _, is := range a.issuers {
		b.Write(bytes.TrimSpace(pki.EncodePEM("CERTIFICATE", is.cert.Raw)))
		b.WriteByte('\n')
	}
	return b.String(), nil
}
