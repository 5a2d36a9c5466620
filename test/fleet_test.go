package test

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
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/internal/pgtest"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// onBoth runs a test on SQLite and on PostgreSQL; env is the server's.
func onBoth(t *testing.T, test func(t *testing.T, env []string)) {
	for _, db := range []string{"sqlite", "postgres"} {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			env := os.Environ()
			if db == "postgres" {
				env = append(env, "HOLDFAST_DATABASE="+pgtest.Database(t))
			}
			test(t, env)
		})
	}
}

// mustUp starts a server that ends with the test.
func mustUp(t *testing.T, data string, env []string, flags ...string) *process {
	t.Helper()
	p, err := up(data, env, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(data), p.log)
		}
	})
	return p
}

// roots reads the server's authorities.
func (p *process) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("ca.pem has no certificate")
	}
	return pool, nil
}

// operator is a client of the server's API. tokenFile is the one of the node
// that made the installation.
func (p *process) operator(tokenFile string) (*adminapi.Client, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, err
	}
	pool, err := p.roots()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}}
	return &adminapi.Client{BaseURL: p.API, Token: adminapi.NewBearer(strings.TrimSpace(string(token))), HTTP: client}, nil
}

func mustOperate(t *testing.T, p *process) *adminapi.Client {
	t.Helper()
	c, err := p.operator(p.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prepare makes a zone, a type and a group token.
func prepare(t *testing.T, api *adminapi.Client) (tokenID, secret string) {
	t.Helper()
	_, err := api.CreateZone(t.Context(), "plant", adminapi.ZoneInput{})
	if err == nil {
		_, err = api.CreateType(t.Context(), "sensor", "", adminapi.TypeInput{})
	}
	if err != nil {
		t.Fatal(err)
	}
	token, text, err := api.CreateToken(t.Context(), adminapi.TokenInput{Kind: "group", Type: "sensor", Zone: "plant", Quota: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	return token.ID, text.Reveal()
}

// thing is a device: an id, a key and what it got for it.
type thing struct {
	id      string
	key     *ecdsa.PrivateKey
	csr     []byte
	tokenID string
	secret  string
	cert    *x509.Certificate
	issuer  *x509.Certificate
}

func newThing(id, tokenID, secret string) (*thing, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id}}, key)
	return &thing{id: id, key: key, csr: csr, tokenID: tokenID, secret: secret}, err
}

// tlsConfig presents the thing's certificate, if it has one.
func (d *thing) tlsConfig(pool *x509.CertPool) *tls.Config {
	c := &tls.Config{RootCAs: pool}
	if d.cert != nil {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{d.cert.Raw, d.issuer.Raw}, PrivateKey: d.key}}
	}
	return c
}

// client speaks EST for the thing; every request has a connection of its own.
func (d *thing) client(p *process) (*est.Client, error) {
	pool, err := p.roots()
	if err != nil {
		return nil, err
	}
	return &est.Client{BaseURL: p.DeviceAPI, Credential: est.BasicCredential("est", d.secret),
		HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: d.tlsConfig(pool), DisableKeepAlives: true}}}, nil
}

// enrol asks for a certificate with the token and keeps it.
func (d *thing) enrol(ctx context.Context, p *process) error {
	c, err := d.client(p)
	if err != nil {
		return err
	}
	c.Label = "sensor"
	chain, err := c.Enroll(ctx, d.csr)
	if err != nil {
		return err
	}
	if len(chain) != 2 {
		return final{fmt.Errorf("the answer has %d certificates", len(chain))}
	}
	d.cert, d.issuer = chain[0], chain[1]
	return d.cert.CheckSignatureFrom(d.issuer)
}

// renew asks for another certificate with the one it has, and drops it.
func (d *thing) renew(ctx context.Context, p *process) error {
	c, err := d.client(p)
	if err != nil {
		return err
	}
	c.Credential = est.Credential{}
	_, err = c.Reenroll(ctx, d.csr)
	return err
}

func (d *thing) serial() (string, error) {
	serial, err := pki.SerialOf(d.cert)
	return serial.String(), err
}

// askOCSP returns the status that a server gives, after checking its signature.
func askOCSP(ctx context.Context, p *process, d *thing) (int, error) {
	body, err := ocsp.CreateRequest(d.cert, d.issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.PKI+"/ocsp", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	der, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	answer, err := ocsp.ParseResponseForCert(der, d.cert, d.issuer)
	if err != nil {
		return 0, err
	}
	return answer.Status, nil
}

// verifiedLog exports the audit log, verifies it as an outsider does and
// returns it.
func verifiedLog(ctx context.Context, api *adminapi.Client, p *process) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.data, "audit-log.pub"))
	if err != nil {
		return "", err
	}
	key, err := audit.ParsePublicKey(strings.TrimSpace(string(text)))
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := api.ExportAudit(ctx, "log", &b); err != nil {
		return "", err
	}
	export := b.String()
	if _, err := audit.Verify(&b, audit.VerifyOptions{Key: key}); err != nil {
		return "", final{fmt.Errorf("verifying the audit log: %w", err)}
	}
	return export, nil
}

// certificates lists every certificate of devices.
func certificates(ctx context.Context, api *adminapi.Client, status string) (all []adminapi.Certificate, err error) {
	f := adminapi.CertificateFilter{Profile: "device", Status: status, Limit: 1000}
	for {
		page, err := api.Certificates(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		f.After = page.Next
	}
}
