package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
)

const makerName = "Tidewell Instruments"

// noEnd is the expiry of certificates without one (IEEE 802.1AR section 8.7).
var noEnd = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// maker is the simulated manufacturer: a CA that gave its devices their IDevIDs
// before they left the factory.
type maker struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// openMaker reads the manufacturer's CA, or makes it. The key is written first: a
// crash in between leaves a key that the next run certifies.
func openMaker(dir string, now time.Time) (*maker, error) {
	folder := filepath.Join(dir, "manufacturer")
	if err := durable.MakeFolder(folder, 0o700); err != nil {
		return nil, err
	}
	key, err := openKey(filepath.Join(folder, "key.pem"), pki.P256)
	if err != nil {
		return nil, fmt.Errorf("opening the manufacturer's CA: %w", err)
	}
	m := &maker{}
	var ok bool
	if m.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("opening the manufacturer's CA: the key in %s is not an ECDSA key", folder)
	}
	path := filepath.Join(folder, "cert.pem")
	if chain := readCerts(path); len(chain) == 1 && m.key.PublicKey.Equal(chain[0].PublicKey) {
		m.cert = chain[0]
		return m, nil
	}
	template := &x509.Certificate{Subject: pkix.Name{Organization: []string{makerName}, CommonName: makerName + " device CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: noEnd, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if m.cert, err = m.sign(template, template, m.key.Public()); err != nil {
		return nil, err
	}
	return m, durable.WriteFile(path, m.pem(), 0o644)
}

func (m *maker) sign(template, parent *x509.Certificate, key any) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, m.key)
	if err != nil {
		return nil, fmt.Errorf("making a manufacturer's certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// idevid makes the identity that a device with this serial number has from the
// factory. A device would keep it in hardware; here a run makes it anew.
func (m *maker) idevid(serial string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := m.sign(&x509.Certificate{Subject: pkix.Name{Organization: []string{makerName}, SerialNumber: serial},
		NotBefore: now.Add(-time.Hour), NotAfter: noEnd, KeyUsage: x509.KeyUsageDigitalSignature}, m.cert, key.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

func (m *maker) pem() []byte { return pki.EncodePEM("CERTIFICATE", m.cert.Raw) }

// id is the server's name for the anchor: the SHA-256 of the certificate.
func (m *maker) id() string {
	sum := sha256.Sum256(m.cert.Raw)
	return hex.EncodeToString(sum[:])
}
