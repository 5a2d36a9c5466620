package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/pki"
)

// responder answers OCSP (RFC 6960) for every issuing CA whose key is here. It
// signs with a delegated key of its own, which lives in memory only and for a
// week at most, so that a flood of questions never reaches a TPM or an HSM. An
// answer without a nonce is signed once and served until it is half spent or the
// certificate's status changes.
type responder struct {
	s *Server

	mu    sync.RWMutex
	ready map[pki.CertID]answer     // guarded by mu
	keys  map[string]*pki.Responder // by CA id; guarded by mu
	gen   atomic.Uint64             // grows when an answer may have become wrong
}

type answer struct {
	der       []byte
	made, end time.Time
}

const (
	// maxAnswers bounds the memory of signed answers to about 50 MB.
	maxAnswers      = 60_000
	responderLife   = 7 * 24 * time.Hour
	responderRenew  = responderLife / 2
	ocspContentType = "application/ocsp-response"
)

func newResponder(s *Server) *responder {
	return &responder{s: s, ready: map[pki.CertID]answer{}, keys: map[string]*pki.Responder{}}
}

// forget drops the answers about one serial; forgetAll drops all.
func (r *responder) forget(serial string) {
	sn, err := pki.ParseSerial(serial)
	if err != nil {
		r.forgetAll()
		return
	}
	r.gen.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.keys {
		delete(r.ready, key.Hashes().CertID(crypto.SHA1, sn))
		delete(r.ready, key.Hashes().CertID(crypto.SHA256, sn))
	}
}

func (r *responder) forgetAll() {
	r.gen.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ready)
}

// keyFor returns a CA's responder key, making a new one when half its life is
// over; nil when the CA's key is not on this node.
func (r *responder) keyFor(ctx context.Context, is *issuer) (*pki.Responder, error) {
	now := r.s.now()
	r.mu.RLock()
	key := r.keys[is.row.ID]
	r.mu.RUnlock()
	if key != nil && now.Add(responderRenew).Before(key.NotAfter()) || is.sign == nil {
		return key, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if again := r.keys[is.row.ID]; again != nil && again != key {
		return again, nil
	}
	fresh, err := r.newKey(ctx, is, now)
	if err != nil {
		if key != nil && now.Before(key.NotAfter()) {
			return key, nil
		}
		return nil, err
	}
	r.keys[is.row.ID] = fresh
	return fresh, nil
}

func (r *responder) newKey(ctx context.Context, is *issuer, now time.Time) (*pki.Responder, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := pki.SignResponder(rand.Reader, is.sign, key.Public(), "OCSP "+r.s.node, now, responderLife)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	err = r.s.store.AppendOutbox(ctx, r.s.event(access.Component("ocsp"), "certificate.issued", "ca", is.row.ID, "role", "ocsp-responder", "serial", cert.SerialNumber.Text(16)))
	if err != nil {
		return nil, err
	}
	return pki.NewResponder(rand.Reader, cert, key, is.cert)
}

// answer makes or finds the response to a request of one or more certificates.
func (r *responder) answer(ctx context.Context, req pki.OCSPRequest) (answer, error) {
	single := len(req.Certs) == 1 && req.Nonce == nil
	now := r.s.now()
	if single {
		r.mu.RLock()
		a, ok := r.ready[req.Certs[0]]
		r.mu.RUnlock()
		if ok && now.Before(a.made.Add(a.end.Sub(a.made)/2)) {
			return a, nil
		}
	}
	is := r.issuerOf(req.Certs[0])
	if is == nil {
		return answer{}, errNotOurs
	}
	gen := r.gen.Load()
	key, err := r.keyFor(ctx, is)
	if err != nil || key == nil {
		return answer{}, fmt.Errorf("finding the responder's key: %w", err)
	}
	end := now.Add(r.s.cfg.OCSP.Lifetime)
	if end.After(key.NotAfter()) {
		end = key.NotAfter()
	}
	statuses := make([]pki.SingleStatus, len(req.Certs))
	for i, id := range req.Certs {
		if !key.Hashes().Match(id) {
			return answer{}, errNotOurs
		}
		if statuses[i], err = r.status(ctx, is, id, now, end); err != nil {
			return answer{}, err
		}
	}
	der, err := pki.Respond(rand.Reader, key, statuses, req.Nonce, now)
	a := answer{der: der, made: now, end: end}
	if err == nil && single && statuses[0].Status != pki.StatusUnknown {
		r.keep(req.Certs[0], a, gen)
	}
	return a, err
}

var errNotOurs = errors.New("the certificate's issuer is not ours")

func (r *responder) issuerOf(id pki.CertID) *issuer {
	for _, is := range r.s.authority.Load().issuers {
		if is.hashes.Match(id) {
			return is
		}
	}
	return nil
}

func (r *responder) status(ctx context.Context, is *issuer, id pki.CertID, now, end time.Time) (pki.SingleStatus, error) {
	st := pki.SingleStatus{ID: id, Status: pki.StatusUnknown, ThisUpdate: now, NextUpdate: end}
	revoked, reason, at, found, err := r.s.store.CertificateStatus(ctx, id.Serial, is.row.ID)
	switch {
	case err != nil:
		return st, err
	case revoked:
		st.Status, st.RevokedAt, st.Reason = pki.StatusRevoked, at, reason
	case found:
		st.Status = pki.StatusGood
	}
	return st, nil
}

// keep stores an answer unless a status changed since gen was read.
func (r *responder) keep(id pki.CertID, a answer, gen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen.Load() != gen {
		return
	}
	if len(r.ready) >= maxAnswers {
		n := 0
		for old := range r.ready { // any of them: map order is as good as random
			delete(r.ready, old)
			if n++; n == maxAnswers/100 {
				break
			}
		}
	}
	r.ready[id] = a
}

// staple is the OCSP answer about a certificate of ours, for a TLS handshake.
func (r *responder) staple(ctx context.Context, is *issuer, serial pki.Serial) ([]byte, error) {
	a, err := r.answer(ctx, pki.OCSPRequest{Certs: []pki.CertID{is.hashes.CertID(crypto.SHA1, serial)}})
	return a.der, err
}

// ServeHTTP answers GET and POST under /ocsp.
func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var der []byte
	var err error
	switch req.Method {
	case http.MethodGet:
		der, err = pki.DecodeGET(strings.TrimPrefix(req.URL.EscapedPath(), "/ocsp"))
	case http.MethodPost:
		der, err = io.ReadAll(http.MaxBytesReader(w, req.Body, pki.MaxOCSPRequest))
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "OCSP takes GET and POST (RFC 6960 appendix A)", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", ocspContentType)
	var parsed pki.OCSPRequest
	if err == nil {
		parsed, err = pki.ParseOCSPRequest(der)
	}
	if err != nil {
		r.write(w, pki.OCSPMalformed.Response(), "malformed")
		return
	}
	a, err := r.answer(req.Context(), parsed)
	switch {
	case err == errNotOurs:
		r.write(w, pki.OCSPUnauthorized.Response(), "unauthorized")
	case err != nil:
		r.s.log.Warn("answering OCSP", "err", err)
		r.write(w, pki.OCSPTryLater.Response(), "try-later")
	default:
		if parsed.Nonce == nil {
			left := int(a.end.Sub(r.s.now()).Seconds())
			w.Header().Set("Cache-Control", "public, no-transform, max-age="+strconv.Itoa(min(60, max(0, left))))
		}
		r.write(w, a.der, "answered")
	}
}

func (r *responder) write(w http.ResponseWriter, der []byte, result string) {
	r.s.metrics.ocsp.WithLabelValues(result).Inc()
	w.Header().Set("Content-Length", strconv.Itoa(len(der)))
	w.Write(der)
}
