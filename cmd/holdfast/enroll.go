package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
)

// enrolment is what the flags of enroll say.
type enrolment struct {
	url, id, label, algorithm, out string
	token                          string // file with the enrolment token, "" for none
	renew                          bool
	wait                           time.Duration
}

func (e enrolment) key() string  { return filepath.Join(e.out, "key.pem") }
func (e enrolment) cert() string { return filepath.Join(e.out, "cert.pem") }
func (e enrolment) ca() string   { return filepath.Join(e.out, "ca.pem") }

func enrollCommand(a *app) *cobra.Command {
	var e enrolment
	cmd := &cobra.Command{Use: "enroll", Short: "Be a device: get a certificate over EST, or renew it", Args: cobra.NoArgs,
		Long: `Be a device: make a key, get a certificate for it over EST (RFC 7030), and write
key.pem, cert.pem and ca.pem to a folder. The authorities and the token are given
with --ca and --token-file. When the request waits for an operator's approval, run
the same command again, or let it wait with --wait: it keeps to the same key.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// HOLDFAST_TOKEN_FILE is for the API: its token is not for enrolling.
			e.token = ""
			if cmd.Flags().Changed("token-file") {
				e.token = a.tokenFile
			}
			if e.renew {
				return a.renew(cmd.Context(), e)
			}
			return a.enroll(cmd.Context(), e)
		}}
	f := cmd.Flags()
	f.StringVar(&e.url, "url", "", "https://HOST:PORT of the device listener (default: that of --data)")
	f.StringVar(&e.id, "id", "", "id of the device")
	f.StringVar(&e.label, "type", "", "device type")
	f.StringVar(&e.algorithm, "key-algorithm", "P-256", "of a new key: P-256, P-384 or Ed25519")
	f.StringVar(&e.out, "out", "", "folder for key.pem, cert.pem and ca.pem")
	f.BoolVar(&e.renew, "renew", false, "renew the certificate in --out, with the same key")
	f.DurationVar(&e.wait, "wait", 0, "how long to wait for an operator's approval (default: do not)")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// client makes an EST client; cert is presented when it is not nil.
func (a *app) estClient(e enrolment, cert *tls.Certificate) (*est.Client, error) {
	base, caFile := e.url, a.caFile
	if base == "" {
		ready, err := a.ready()
		if err != nil {
			return nil, err
		}
		base = ready.DeviceAPI
		if caFile == "" {
			caFile = ready.CAFile
		}
	}
	client, err := httpsClient(caFile)
	if err != nil {
		return nil, err
	}
	if cert != nil {
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{*cert}
	}
	client.Timeout = 30 * time.Second
	c := &est.Client{BaseURL: base, Label: e.label, HTTP: client}
	c.OnPending = func(wait time.Duration) {
		fmt.Fprintf(a.err, "waiting for an operator's approval, next try in %s\n", wait)
	}
	return c, nil
}

// enroll makes the key durable before it asks: a request that waits is bound to
// its key, and a crash after the answer costs nothing but another request.
func (a *app) enroll(ctx context.Context, e enrolment) error {
	if e.id == "" {
		return &usageError{"the device's id is missing", "give it with --id"}
	}
	if _, err := os.Lstat(e.cert()); err == nil {
		return fixing("use --renew, or another --out", fmt.Errorf("%s exists already", e.cert()))
	}
	c, err := a.estClient(e, nil)
	if err != nil {
		return err
	}
	if e.token != "" {
		token, err := readSmall(e.token, 4096)
		if err != nil {
			return fmt.Errorf("reading the enrolment token: %w", err)
		}
		c.Credential = est.BearerCredential(string(bytes.TrimSpace(token)))
	}
	if err := durable.MakeFolder(e.out, 0o700); err != nil {
		return err
	}
	key, err := newKeyFile(e.key(), e.algorithm)
	if errors.Is(err, fs.ErrExist) {
		key, err = readKeyFile(e.key())
	}
	if err != nil {
		return err
	}
	csr, err := newRequest(key, e.id)
	if err != nil {
		return err
	}
	return a.finishEnrolment(ctx, e, c, func(ctx context.Context) ([]*x509.Certificate, error) { return c.Enroll(ctx, csr) })
}

// renew asks with the present certificate for another one of the same name.
func (a *app) renew(ctx context.Context, e enrolment) error {
	key, err := readKeyFile(e.key())
	if err != nil {
		return fixing("enrol first, without --renew", err)
	}
	text, err := readSmall(e.cert(), pki.MaxPEM)
	if err != nil {
		return fixing("enrol first, without --renew", fmt.Errorf("reading the certificate: %w", err))
	}
	chain, err := pki.ParseCertificatesPEM(text)
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.cert(), err)
	}
	present := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		present.Certificate = append(present.Certificate, cert.Raw)
	}
	c, err := a.estClient(e, present)
	if err != nil {
		return err
	}
	csr, err := renewalRequest(key, chain[0])
	if err != nil {
		return err
	}
	return a.finishEnrolment(ctx, e, c, func(ctx context.Context) ([]*x509.Certificate, error) { return c.Reenroll(ctx, csr) })
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// renewalRequest carries the subject and the alternative names of cert
// unchanged, as RFC 7030 section 4.2.2 wants.
func renewalRequest(key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	request := &x509.CertificateRequest{RawSubject: cert.RawSubject}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			request.ExtraExtensions = append(request.ExtraExtensions, ext)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	return der, nil
}

// finishEnrolment asks, checks the answer and writes the files. cert.pem is
// written last: where it is, the others are.
func (a *app) finishEnrolment(ctx context.Context, e enrolment, c *est.Client, ask func(context.Context) ([]*x509.Certificate, error)) error {
	certs, err := a.waitFor(ctx, e, c, ask)
	if err != nil {
		return err
	}
	anchors, err := c.CACerts(ctx)
	if err != nil {
		return err
	}
	if err := checkIssued(certs, anchors); err != nil {
		return err
	}
	if err := durable.WriteFile(e.ca(), pemOf(anchors), 0o644); err != nil {
		return err
	}
	if err := durable.WriteFile(e.cert(), pemOf(certs), 0o644); err != nil {
		return err
	}
	serial, err := pki.SerialOf(certs[0])
	name := fmt.Sprintf("%x", certs[0].SerialNumber)
	if err == nil {
		name = serial.String()
	}
	return a.say("serial", name, "certificate %s for %s, valid until %s, in %s", name, certs[0].Subject.CommonName, when(certs[0].NotAfter), e.out)
}

func (a *app) waitFor(ctx context.Context, e enrolment, c *est.Client, ask func(context.Context) ([]*x509.Certificate, error)) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	var err error
	if e.wait <= 0 {
		certs, err = ask(ctx)
	} else {
		ctx, cancel := context.WithTimeout(ctx, e.wait)
		defer cancel()
		certs, err = est.Wait(ctx, c.OnPending, func() ([]*x509.Certificate, error) { return ask(ctx) })
	}
	_, pending := errors.AsType[*est.Pending](err)
	if pending || errors.Is(err, context.DeadlineExceeded) && e.wait > 0 {
		return nil, fixing("approve it with `holdfast waiting approve`, then run the same command again", errors.New("the request waits for an operator's approval"))
	}
	return certs, err
}

// checkIssued verifies that the certificate leads to one of the authorities
// that the server, whose TLS certificate was verified, names as its own.
func checkIssued(certs, anchors []*x509.Certificate) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, cert := range anchors {
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			roots.AddCert(cert)
		} else {
			intermediates.AddCert(cert)
		}
	}
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := certs[0].Verify(opts); err != nil {
		return fmt.Errorf("checking the new certificate: %w", err)
	}
	return nil
}

func pemOf(certs []*x509.Certificate) []byte {
	ders := make([][]byte, len(certs))
	for i, cert := range certs {
		ders[i] = cert.Raw
	}
	return pki.EncodeCertificatesPEM(ders...)
}
