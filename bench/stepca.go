package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stepVersion is the peer that the published numbers are about.
const stepVersion = "v0.30.2"

// stepCA is a running smallstep step-ca with a JWK provisioner, configured as `step ca init` does: badger on disk,
// keys in files, P-256 everywhere.
type stepCA struct {
	*process
	address string
	version string
	roots   *x509.CertPool
	key     *ecdsa.PrivateKey // of the provisioner
	kid     string

	enrolled []applicant
	load     *load // whose answers enrolled belongs to
}

// errNoPeer says that there is no step-ca to measure beside.
var errNoPeer = errors.New("there is no step-ca")

// findStepCA returns the binary: the one asked for, one in PATH, or one built once into the user's cache folder, outside
// this module, whose dependencies it must not join.
func (b *bench) findStepCA(ctx context.Context) (string, error) {
	if b.stepCA != "" {
		return b.stepCA, nil
	}
	if path, err := exec.LookPath("step-ca"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "holdfast-bench", "step-ca-"+stepVersion)
	path := filepath.Join(bin, "step-ca")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "bench: building step-ca", stepVersion, "once, which takes some minutes")
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/smallstep/certificates/cmd/step-ca@"+stepVersion)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOBIN="+bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: building it: %v (name a binary with -step-ca)\n%s", errNoPeer, err, tail(out, 1000))
	}
	return path, nil
}

func (b *bench) startStepCA(ctx context.Context) (*stepCA, error) {
	bin, err := b.findStepCA(ctx)
	if err != nil {
		return nil, err
	}
	s := &stepCA{kid: "bench", roots: x509.NewCertPool()}
	dir := filepath.Join(b.dir, "step-ca")
	if err := s.configure(dir); err != nil {
		return nil, fmt.Errorf("configuring step-ca: %w", err)
	}
	said, err := exec.CommandContext(ctx, bin, "version").Output()
	if err != nil {
		return nil, err
	}
	s.version, _, _ = strings.Cut(strings.TrimSpace(string(said)), "\n")
	if info, err := buildinfo.ReadFile(bin); err == nil { // "go install" leaves the program itself without its version
		s.version = "step-ca " + info.Main.Version + " (" + info.GoVersion + "; it calls itself " + s.version + ")"
	}
	if s.process, err = launch(dir+".log", []string{"STEPPATH=" + dir}, bin, filepath.Join(dir, "ca.json")); err != nil {
		return nil, err
	}
	err = s.await(ctx, func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// configure writes root, intermediate and ca.json.
func (s *stepCA) configure(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	rootKey, root, err := stepCert("Bench Root", 1, nil, nil)
	if err != nil {
		return err
	}
	s.roots.AddCert(root)
	key, intermediate, err := stepCert("Bench Intermediate", 0, root, rootKey)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // step-ca takes no port 0
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	l.Close()
	public, err := s.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return err
	}
	config, err := json.MarshalIndent(map[string]any{
		"root": filepath.Join(dir, "root.crt"), "crt": filepath.Join(dir, "ca.crt"), "key": filepath.Join(dir, "ca.key"),
		"address": s.address, "dnsNames": []string{"localhost", "127.0.0.1"}, "logger": map[string]string{"format": "text"},
		"db": map[string]string{"type": "badgerv2", "dataSource": filepath.Join(dir, "db")},
		"authority": map[string]any{"provisioners": []any{map[string]any{"type": "JWK", "name": "bench", "key": map[string]string{
			"use": "sig", "kty": "EC", "kid": s.kid, "crv": "P-256", "alg": "ES256", "x": b64(public[1:33]), "y": b64(public[33:])}}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"root.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}),
		"ca.crt":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: intermediate.Raw}),
		"ca.key":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), "ca.json": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// stepCert makes a CA certificate; a root signs itself.
func stepCert(name string, depth int, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(int64(depth) + 1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, MaxPathLen: depth, MaxPathLenZero: depth == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return key, cert, err
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// oneTime is a provisioner's token for one certificate (JWT, ES256).
func (s *stepCA) oneTime(id string, now time.Time) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "ES256", "kid": s.kid, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{"iss": "bench", "sub": id, "sans": []string{id}, "aud": "https://localhost/1.0/sign", "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix() - 10, "exp": now.Unix() + 300})
	if err != nil {
		return "", err
	}
	text := b64(head) + "." + b64(claims)
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return text + "." + b64(signature), nil
}

// tls is how clients of step-ca connect: HTTP/1.1, as to Holdfast.
func (s *stepCA) tls() *tls.Config { return clientTLS(s.roots) }

func (s *stepCA) pids() []int { return []int{s.pid()} }
