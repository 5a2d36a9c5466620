package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	ocspCertificates = 10_000
	ocspTarget       = 10_000 // answers a second, of answers made before
)

// ocsp measures status answers per second over plain HTTP from a running server with 10,000 issued certificates.
func (b *bench) ocsp(ctx context.Context) (string, error) {
	dir := filepath.Join(b.dir, "ocsp")
	issuer, serials, err := b.certificates(ctx, dir)
	if err != nil {
		return "", err
	}
	h, err := b.up(ctx, dir, "")
	if err != nil {
		return "", err
	}
	defer h.stop()
	plain, nonced, err := ocspRequests(issuer, serials)
	if err != nil {
		return "", err
	}
	address := strings.TrimPrefix(h.ready.PKI, "http://")
	first, err := b.ocspRow(ctx, h, address, plain, ocspPost, len(plain)) // also makes the answers of the next rows
	if err != nil {
		return "", err
	}
	rows := [][]string{{"question", "per second", "p50 ms", "p99 ms", "server CPU µs each", "load CPU µs each", "target"}, append(append([]string{"POST, first about each certificate (signed now)"}, first.cells...), "")}
	for _, r := range []struct {
		what    string
		der     [][]byte
		request func([]byte) []byte
		target  bool
	}{
		{"GET, signed before", plain, ocspGet, true}, {"POST, signed before", plain, ocspPost, true},
		{"GET, with nonce (signed for it)", nonced, ocspGet, false}, {"POST, with nonce (signed for it)", nonced, ocspPost, false},
	} {
		got, err := b.ocspRow(ctx, h, address, r.der, r.request, 0)
		if err != nil {
			return "", fmt.Errorf("%s: %w", r.what, err)
		}
		goal := ""
		if r.target {
			goal = "at least " + thousands(ocspTarget) + "/s: " + verdict(got.rate >= ocspTarget)
		}
		rows = append(rows, append(append([]string{r.what}, got.cells...), goal))
	}
	return table(rows) + fmt.Sprintf("\n%s certificates, questions about them in turn over %d standing connections, one answer awaited before the next\n"+
		"question; the load shares the cores with the server. Each row's first answer is verified.\n", thousands(ocspCertificates), b.conns), nil
}

// certificates makes an installation and writes issued certificates into its database, as enrolment would.
func (b *bench) certificates(ctx context.Context, dir string) (*x509.Certificate, []pki.Serial, error) {
	h, err := b.up(ctx, dir, "")
	if err != nil {
		return nil, nil, err
	}
	h.stop()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "holdfast.db"), sqlstore.Faults{})
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	cas, err := store.CAs(ctx)
	if err != nil {
		return nil, nil, err
	}
	var issuer *x509.Certificate
	for _, ca := range cas {
		if ca.Role == "issuing" {
			if issuer, err = x509.ParseCertificate(ca.DER); err != nil {
				return nil, nil, err
			}
			serials, err := issueRows(ctx, store, ca)
			return issuer, serials, err
		}
	}
	return nil, nil, errors.New("the installation has no issuing CA")
}

// issueRows writes certificates' rows; the status of a certificate does not depend on its bytes.
func issueRows(ctx context.Context, store *sqlstore.Store, ca sqlstore.CA) ([]pki.Serial, error) {
	serials := make([]pki.Serial, ocspCertificates)
	errs := make(chan error, 64)
	var wg sync.WaitGroup
	for w := range cap(errs) {
		wg.Go(func() {
			for i := w; i < len(serials); i += cap(errs) {
				var err error
				if serials[i], err = issueRow(ctx, store, ca, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return serials, <-errs
}

func issueRow(ctx context.Context, store *sqlstore.Store, ca sqlstore.CA, i int) (serial pki.Serial, err error) {
	if serial, err = pki.NewSerial(rand.Reader); err != nil {
		return serial, err
	}
	now := time.Now()
	r := sqlstore.Reservation{Serial: serial, Principal: fmt.Sprintf("app/bench-%d", i), Profile: "app", CA: ca.ID, NotBefore: now, NotAfter: now.AddDate(0, 3, 0), At: now}
	if _, err = rand.Read(r.KeyID[:]); err != nil {
		return serial, err
	}
	if err = store.Reserve(ctx, r); err == nil {
		err = store.Commit(ctx, serial, ca.DER, nil, nil, now)
	}
	return serial, err
}

// ocspRequests makes a question about each certificate, without and with a nonce (RFC 9654).
func ocspRequests(issuer *x509.Certificate, serials []pki.Serial) (plain, nonced [][]byte, err error) {
	for _, serial := range serials {
		n := serial.BigInt()
		der, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: n}, issuer, nil)
		if err != nil {
			return nil, nil, err
		}
		withNonce, err := addNonce(der)
		if err != nil {
			return nil, nil, err
		}
		plain, nonced = append(plain, der), append(nonced, withNonce)
	}
	return plain, nonced, nil
}

// ocspQuestion is OCSPRequest of RFC 6960 section 4.1.1, as far as it is used here.
type ocspQuestion struct {
	TBS struct {
		List       []asn1.RawValue
		Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
	}
}

func addNonce(der []byte) ([]byte, error) {
	var q ocspQuestion
	if _, err := asn1.Unmarshal(der, &q); err != nil {
		return nil, err
	}
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	value, err := asn1.Marshal(nonce)
	if err != nil {
		return nil, err
	}
	q.TBS.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}, Value: value}}
	return asn1.Marshal(q)
}

func ocspPost(der []byte) []byte {
	return post("/ocsp", "Content-Type: application/ocsp-request\r\n", der)
}

func ocspGet(der []byte) []byte {
	return fmt.Appendf(nil, "GET /ocsp/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", url.PathEscape(base64.StdEncoding.EncodeToString(der)))
}

type ocspResult struct {
	rate  float64
	cells []string
}

// ocspRow asks for a while, or limit questions if that is not 0.
func (b *bench) ocspRow(ctx context.Context, h *instance, address string, questions [][]byte, request func([]byte) []byte, limit int) (ocspResult, error) {
	prepared := make([][]byte, len(questions))
	for i, der := range questions {
		prepared[i] = request(der)
	}
	l := &load{address: address, conns: b.conns, want: http.StatusOK, requests: prepared, again: limit == 0, bodies: make([][]byte, 1)}
	o, server, own, err := l.measured(ctx, b.seconds, nil, func() []int { return []int{h.pid()} })
	if err != nil {
		return ocspResult{}, err
	}
	if _, err := ocsp.ParseResponse(l.bodies[0], nil); err != nil {
		return ocspResult{}, fmt.Errorf("reading the first answer: %w", err)
	}
	n := time.Duration(o.done)
	return ocspResult{o.rate(), []string{thousands(o.rate()), fmt.Sprintf("%.2f", percentile(o.times, 50).Seconds()*1e3), fmt.Sprintf("%.2f", percentile(o.times, 99).Seconds()*1e3),
		fmt.Sprint((server / n).Microseconds()), fmt.Sprint((own / n).Microseconds())}}, nil
}
