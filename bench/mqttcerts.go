package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/gob"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// identity is a client of a broker: its id, which is its client id and its common name, and what it proves it with.
type identity struct {
	ID    string
	Chain [][]byte // DER, its own first
	Key   []byte   // PKCS #8
}

func newIdentity(id string, key *ecdsa.PrivateKey, chain [][]byte) (identity, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return identity{ID: id, Chain: chain, Key: der}, err
}

func (i *identity) certificate() (tls.Certificate, error) {
	key, err := x509.ParsePKCS8PrivateKey(i.Key)
	return tls.Certificate{Certificate: i.Chain, PrivateKey: key}, err
}

// writeIdentities keeps identities for the load, which is a process of its own.
func writeIdentities(path string, list []identity) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return gob.NewEncoder(f).Encode(list)
}

func readIdentities(path string) (list []identity, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return list, gob.NewDecoder(f).Decode(&list)
}

// authority is the CA of brokers that have none, with P-256 keys throughout.
type authority struct {
	dir  string // ca.crt, server.crt, server.key, identities
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority writes a CA, a certificate of a server at localhost and those of its clients into a folder.
func newAuthority(dir string, ids []string) (*authority, error) {
	a := &authority{dir: dir}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		a.key, a.cert, err = stepCert("Bench Root", 0, nil, nil)
	}
	if err == nil {
		err = a.server()
	}
	if err != nil {
		return nil, err
	}
	list := make([]identity, len(ids))
	errs := make([]error, runtime.NumCPU())
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(ids) && errs[w] == nil; i += len(errs) {
				list[i], errs[w] = a.client(ids[i], int64(i)+10)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return a, writeIdentities(a.identities(), list)
}

func (a *authority) roots() string      { return filepath.Join(a.dir, "ca.crt") }
func (a *authority) identities() string { return filepath.Join(a.dir, "identities") }

func (a *authority) leaf(name string, serial int64, usage x509.ExtKeyUsage) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	if usage == x509.ExtKeyUsageServerAuth {
		t.DNSNames, t.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	return key, der, err
}

func (a *authority) client(id string, serial int64) (identity, error) {
	key, der, err := a.leaf(id, serial, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return identity{}, fmt.Errorf("issuing the certificate of %s: %w", id, err)
	}
	return newIdentity(id, key, [][]byte{der})
}

func (a *authority) server() error {
	key, der, err := a.leaf("localhost", 2, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]pem.Block{
		"ca.crt": {Type: "CERTIFICATE", Bytes: a.cert.Raw}, "server.crt": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
