package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// authority is the CA hierarchy as one node sees it: immutable, replaced whole
// when the database says that it changed.
type authority struct {
	roots    []*x509.Certificate
	issuers  []*issuer // newest first
	active   *issuer   // the newest with a key here and status active; nil if none
	rootPool *x509.CertPool
	byKey    map[string]*issuer // by subject key id
	byID     map[string]*issuer
}

// issuer is one issuing CA. sign is nil when its key is not on this node.
type issuer struct {
	row    sqlstore.CA
	alone  *x509.CertPool // with cert only
	cert   *x509.Certificate
	hashes pki.Hashes // what OCSP requests name it by
	key    keystore.Key
	sign   *pki.Issuer
}

// caID names a CA by the SHA-256 of its certificate, in hex.
func caID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// urls are what certificates of a CA point to.
func (s *Server) urls(id string) pki.URLs {
	base := s.pkiURL()
	return pki.URLs{OCSP: base + "/ocsp", CAIssuers: base + "/ca/" + id[:16] + ".cer", CRL: base + "/crl/" + id[:16] + ".crl"}
}

func (s *Server) pkiURL() string {
	if s.cfg.PKIURL != "" {
		return s.cfg.PKIURL
	}
	if r := s.endpoints.Load(); r != nil {
		return r.PKI
	}
	return ""
}

// loadAuthority reads the hierarchy and opens the keys that this node has.
func (s *Server) loadAuthority(ctx context.Context) error {
	rows, err := s.store.CAs(ctx)
	if err != nil {
		return fmt.Errorf("loading the CA hierarchy: %w", err)
	}
	a := &authority{rootPool: x509.NewCertPool(), byKey: map[string]*issuer{}, byID: map[string]*issuer{}}
	for _, row := range rows {
		cert, err := x509.ParseCertificate(row.DER)
		if err != nil {
			return fmt.Errorf("loading CA %s: %w", row.ID, err)
		}
		if row.Role == "root" {
			a.roots = append(a.roots, cert)
			a.rootPool.AddCert(cert)
			continue
		}
		is := &issuer{row: row, cert: cert, alone: x509.NewCertPool()}
		is.alone.AddCert(cert)
		if is.hashes, err = pki.IssuerHashes(cert); err != nil {
			return err
		}
		if err := s.openIssuer(ctx, is); err != nil {
			return err
		}
		a.issuers = append(a.issuers, is)
		a.byKey[string(cert.SubjectKeyId)], a.byID[row.ID] = is, is
	}
	for _, is := range a.issuers {
		if err := pki.VerifyChain(is.cert, nil, a.rootPool, is.cert.NotBefore, x509.ExtKeyUsageAny); err != nil {
			return fmt.Errorf("loading CA %s: %w", is.row.ID, err)
		}
		if is.sign != nil && (a.active == nil || is.row.Status == "active" && a.active.row.Status != "active") {
			a.active = is
		}
	}
	s.authority.Store(a)
	return nil
}

// openIssuer finds an issuer's key; a node without it can still verify.
func (s *Server) openIssuer(ctx context.Context, is *issuer) error {
	key, err := s.keys.Open(ctx, is.row.KeyName)
	if errors.Is(err, keystore.ErrNotFound) {
		s.log.Warn("the key of an issuing CA is not on this node", "ca", is.row.ID, "key", is.row.KeyName)
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the issuing key %s: %w", is.row.KeyName, err)
	}
	is.key = key
	if is.sign, err = pki.NewIssuer(is.cert, key, s.urls(is.row.ID)); err != nil {
		return fmt.Errorf("opening the issuing CA %s: %w", is.row.ID, err)
	}
	return nil
}

// issuerOf finds the issuing CA that a certificate claims, or nil.
func (a *authority) issuerOf(cert *x509.Certificate) *issuer {
	return a.byKey[string(cert.AuthorityKeyId)]
}

// verify checks that a client certificate was issued by this hierarchy, at now or
// in the grace time after its end. The issuing CAs were verified against the
// root when they were loaded: one signature is left.
func (a *authority) verify(cert *x509.Certificate, now time.Time, grace time.Duration) error {
	is := a.issuerOf(cert)
	if is == nil {
		return errNotOurs
	}
	return pki.VerifyChain(cert, nil, is.alone, pki.GraceTime(cert, now, grace), x509.ExtKeyUsageClientAuth)
}

// chain is a leaf with the certificates a peer needs beside the root.
func (is *issuer) chain(leaf *x509.Certificate) []*x509.Certificate {
	return []*x509.Certificate{leaf, is.cert}
}
