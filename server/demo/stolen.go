package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
)

const (
	reaction = 5 * time.Second // in which a revocation must have reached everything
	between  = 20 * time.Millisecond
	maxOCSP  = 64 << 10
	maxCRL   = 16 << 20
)

// stealOne is the story of a stolen device: quarantined at once, revoked when it
// is certain, and locked out everywhere.
func (s *stage) stealOne(ctx context.Context) error {
	t, err := s.thing(stolenID)
	if err != nil || t.cert == nil || s.now().After(t.cert.NotAfter) {
		return err // it never enrolled, or what it has is worthless by now
	}
	row, err := s.api.Certificate(ctx, t.serial())
	if err != nil {
		return fmt.Errorf("looking at the certificate of %s: %w", stolenID, err)
	}
	if !t.cutOff {
		if err := s.quarantine(ctx, t); err != nil {
			return err
		}
	}
	if row.Status != "revoked" {
		if _, err := s.api.ChangeDevice(ctx, t.row.ID, device.Revoke, "stolen: police report 2026-4471"); err != nil {
			return fmt.Errorf("revoking %s: %w", stolenID, err)
		}
		s.tale.line(who, "revoked %s for good", stolenID)
	}
	t.cutOff = true
	return s.lockedOut(ctx, t)
}

func (t *thing) serial() string {
	serial, err := pki.SerialOf(t.cert)
	if err != nil {
		return t.cert.SerialNumber.Text(16)
	}
	return serial.String()
}

// quarantine cuts the device off while it holds a connection open.
func (s *stage) quarantine(ctx context.Context, t *thing) error {
	conn, err := s.connect(ctx, t)
	if err != nil {
		return fmt.Errorf("connecting as %s: %w", stolenID, err)
	}
	defer conn.Close()
	session := s.linkOf(ctx, stolenID)
	asked := s.now()
	if _, err := s.api.ChangeDevice(ctx, t.row.ID, device.Quarantine, "stolen from the river bank"); err != nil {
		return fmt.Errorf("quarantining %s: %w", stolenID, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(reaction)); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); isTimeout(err) {
		return fmt.Errorf("quarantining %s: its connection was still open after %s", stolenID, reaction)
	}
	s.tale.line(who, "%s was stolen: quarantined; its open connection ended %s after the order", stolenID, s.since(asked))
	if session != nil {
		if err := s.sessionEnds(ctx, session, "the thief's MQTT session ends too"); err != nil {
			return err
		}
		s.live.members[stolenID].stop()
	}
	err = s.until(ctx, "the server refuses the renewal of "+stolenID, func() (bool, error) {
		refusal := t.renew(ctx, s)
		if refusal != nil && problemOf(refusal) == nil {
			return false, nil // it closed this connection too
		}
		return true, s.mustRefuse(refusal, stolenID+" asks for a renewal")
	})
	if err != nil {
		return err
	}
	_, err = s.untilOCSP(ctx, t, func(r *ocsp.Response) bool { return r.Status == ocsp.Revoked })
	return err
}

// lockedOut checks what the thief and everybody else sees after the revocation.
func (s *stage) lockedOut(ctx context.Context, t *thing) error {
	asked := s.now()
	var refusal error
	err := s.until(ctx, "TLS refuses "+stolenID, func() (bool, error) {
		t.hangUp()
		c := &est.Client{BaseURL: s.cfg.DeviceAPI, HTTP: t.mutual(s)}
		_, refusal = c.CACerts(ctx) // a read: renewals count against the server's limits
		return refusedByTLS(refusal), nil
	})
	if err != nil {
		return err
	}
	err = s.until(ctx, "TLS refuses the renewal of "+stolenID, func() (bool, error) {
		refusal = t.renew(ctx, s)
		if refusal == nil || problemOf(refusal) != nil {
			return false, s.mustRefuse(refusal, stolenID+" renews after its revocation")
		}
		return refusedByTLS(refusal), nil
	})
	if err != nil {
		return err
	}
	s.tale.line("refused", "%s asks for a renewal: the TLS handshake fails %s later (%v)", stolenID, s.since(asked), inner(refusal))
	answer, err := s.untilOCSP(ctx, t, func(r *ocsp.Response) bool {
		return r.Status == ocsp.Revoked && r.RevocationReason != ocsp.CertificateHold
	})
	if err != nil {
		return err
	}
	s.tale.line("anybody", "OCSP says revoked since %s", answer.RevokedAt.UTC().Format(time.TimeOnly))
	return s.untilCRL(ctx, t)
}

// connect opens a connection as the device and uses it once, so that the server
// knows whose it is.
func (s *stage) connect(ctx context.Context, t *thing) (net.Conn, error) {
	u, err := url.Parse(s.cfg.DeviceAPI)
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: s.tls(t.tlsCert())}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	err = conn.SetDeadline(time.Now().Add(callTimeout))
	if err == nil {
		_, err = fmt.Fprintf(conn, "GET %scacerts HTTP/1.1\r\nHost: %s\r\n\r\n", est.Path, u.Host)
	}
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(bufio.NewReader(conn), nil)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, est.MaxResponse))
		res.Body.Close()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return err == nil || ok && n.Timeout()
}

// refusedByTLS tells an alert of the server's TLS from other failures.
func refusedByTLS(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// inner is the alert without the address of the request.
func inner(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	return err
}

func (s *stage) since(t time.Time) time.Duration { return s.now().Sub(t).Round(time.Millisecond) }

// until repeats check for as long as the server may take to react.
func (s *stage) until(ctx context.Context, what string, check func() (bool, error)) error {
	end := s.now().Add(reaction)
	for {
		done, err := check()
		if done || err != nil {
			return err
		}
		if s.now().After(end) {
			return fmt.Errorf("waiting until %s: it did not happen within %s", what, reaction)
		}
		if err := sleep(ctx, between); err != nil {
			return err
		}
	}
}

// addressed is the certificate whose addresses for OCSP and CRL to use: those in
// an older one may be of an earlier start, on other ports.
func (s *stage) addressed(t *thing) *x509.Certificate {
	if s.current != nil && bytes.Equal(s.current.AuthorityKeyId, t.cert.AuthorityKeyId) {
		return s.current
	}
	return t.cert
}

// untilOCSP asks the responder about a device's certificate (RFC 6960) until the
// answer is as wanted.
func (s *stage) untilOCSP(ctx context.Context, t *thing, wanted func(*ocsp.Response) bool) (r *ocsp.Response, err error) {
	from := s.addressed(t).OCSPServer
	if len(from) == 0 {
		return nil, errors.New("asking OCSP: the certificate names no responder")
	}
	question, err := ocsp.CreateRequest(t.cert, t.issuer, nil)
	if err != nil {
		return nil, fmt.Errorf("asking OCSP: %w", err)
	}
	err = s.until(ctx, "OCSP says that "+string(t.row.ID)+" is revoked", func() (bool, error) {
		body, err := fetch(ctx, http.MethodPost, from[0], "application/ocsp-request", question, maxOCSP)
		if err == nil {
			r, err = ocsp.ParseResponseForCert(body, t.cert, t.issuer)
		}
		if err != nil {
			return false, fmt.Errorf("asking OCSP: %w", err)
		}
		return wanted(r), nil
	})
	return r, err
}

// untilCRL reads the revocation list (RFC 5280 section 5) until it has the device.
func (s *stage) untilCRL(ctx context.Context, t *thing) error {
	from := s.addressed(t).CRLDistributionPoints
	if len(from) == 0 {
		return errors.New("reading the CRL: the certificate names none")
	}
	return s.until(ctx, "the CRL lists "+string(t.row.ID), func() (bool, error) {
		body, err := fetch(ctx, http.MethodGet, from[0], "", nil, maxCRL)
		if err != nil {
			return false, fmt.Errorf("reading the CRL: %w", err)
		}
		list, err := x509.ParseRevocationList(body)
		if err == nil {
			err = list.CheckSignatureFrom(t.issuer)
		}
		if err != nil {
			return false, fmt.Errorf("reading the CRL: %w", err)
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(t.cert.SerialNumber) == 0 && e.ReasonCode != ocsp.CertificateHold {
				s.tale.line("anybody", "CRL number %s, signed by the issuing CA, lists serial %s", list.Number, short(e.SerialNumber))
				return true, nil
			}
		}
		return false, nil
	})
}

// fetch makes one plain HTTP request; what comes back is signed.
func fetch(ctx context.Context, method, from, contentType string, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, from, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Close = true
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(answer)) > limit {
		err = fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return answer, err
}
