package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// enrolling is the EST backend (RFC 7030): parse, read the facts, decide,
// commit, answer.
type enrolling struct{ *Server }

// cutPrincipal splits "device/d42".
func cutPrincipal(p string) (profile, id string, ok bool) { return strings.Cut(p, "/") }

// CACerts returns the root first, then the issuing CAs, newest first: what a
// device may trust, through rotations of the issuing CA.
func (e enrolling) CACerts(ctx context.Context, label string) ([]*x509.Certificate, error) {
	a := e.authority.Load()
	certs := append([]*x509.Certificate{}, a.roots...)
	for _, is := range a.issuers {
		if e.now().Before(is.cert.NotAfter) {
			certs = append(certs, is.cert)
		}
	}
	return certs, nil
}

// CSRAttrs asks for the key algorithm of the label's type.
func (e enrolling) CSRAttrs(ctx context.Context, label string) ([]byte, error) {
	if label == "" {
		return pki.CSRAttributes(pki.P256), nil
	}
	t, err := e.store.Type(ctx, device.TypeName(label))
	if err != nil {
		return nil, estProblem(missing(err, "type", label))
	}
	return pki.CSRAttributes(pki.KeyAlg(t.KeyAlgorithm)), nil
}

// Enroll serves simpleenroll, simplereenroll and serverkeygen.
func (e enrolling) Enroll(ctx context.Context, req est.Request) (est.Issued, error) {
	by := access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: addrText(req.Source)}
	if !e.sources.allow(req.Source) {
		e.metrics.enrolments.WithLabelValues("limited").Inc()
		return est.Issued{}, &est.Problem{Status: http.StatusTooManyRequests, Code: "too-many-requests", Title: "Too many requests",
			Detail: "too many enrolment requests come from this address", Fix: "wait, then try again", RetryAfter: e.sources.wait()}
	}
	issued, grant, err := e.enroll(ctx, &req, &by)
	switch {
	case err != nil:
		e.refused(ctx, by, &req, err)
		return est.Issued{}, estProblem(err)
	case grant.Outcome == enroll.Wait:
		e.metrics.enrolments.WithLabelValues("waiting").Inc()
		return est.Issued{}, &est.Pending{RetryAfter: enroll.RetryAfter}
	}
	e.metrics.enrolments.WithLabelValues(string(req.Op)).Inc()
	return issued, nil
}

func (e enrolling) enroll(ctx context.Context, req *est.Request, by *access.Actor) (issued est.Issued, g *enroll.Grant, err error) {
	csr, err := enroll.ParseCSR(req.CSR)
	if err != nil {
		return issued, nil, err
	}
	r := enroll.Request{CSR: csr, ServerKeyGen: req.Op == est.OpServerKeyGen, Label: device.TypeName(req.Label), Source: by.Source}
	if req.Op == est.OpReenroll && len(req.Peer) == 0 {
		return issued, nil, refusal.New(refusal.Unauthenticated, "no-certificate", "present the current certificate in the TLS handshake, or use simpleenroll with a token", "renewal needs the current certificate")
	}
	q, err := e.authenticate(ctx, req, &r)
	if err != nil {
		return issued, nil, err
	}
	q.KeyID = csr.KeyID()
	if r.Current != nil {
		*by = access.Actor{Kind: access.Device, ID: string(q.DeviceID), Source: by.Source}
	}
	for range maxTries {
		if issued, g, err = e.attempt(ctx, req.Op, &r, q, by); !isChanged(err) {
			return issued, g, err
		}
	}
	return issued, nil, refusal.New(refusal.Unavailable, "busy", "try again in a moment", "other requests for this device or token keep winning")
}

// authenticate says what the request proved and which facts that is about.
func (e enrolling) authenticate(ctx context.Context, req *est.Request, r *enroll.Request) (q sqlstore.EnrolQuery, err error) {
	q = sqlstore.EnrolQuery{Type: r.Label, DeviceID: device.ID(r.CSR.CommonName)}
	if len(req.Peer) > 0 && e.authority.Load().issuerOf(req.Peer[0]) != nil {
		return e.currentCertificate(req, r)
	}
	if !req.Credential.IsZero() {
		id, hash, ok := enroll.SplitSecret(enroll.NewSecret(req.Credential.Reveal()))
		if !ok {
			return q, refusal.New(refusal.Unauthenticated, "bad-token", "send the whole token as the password (user name est) or as a Bearer token", "the credential is not an enrolment token")
		}
		r.TokenID, r.TokenHash, q.TokenID = id, hash, id
		if q.Type == "" {
			return e.tokenType(ctx, r, q)
		}
		return q, nil
	}
	if len(req.Peer) > 0 {
		return e.idevid(ctx, req, r, q)
	}
	return q, nil
}

// tokenType lets a request without a label take the type of its token.
func (e enrolling) tokenType(ctx context.Context, r *enroll.Request, q sqlstore.EnrolQuery) (sqlstore.EnrolQuery, error) {
	t, err := e.store.Token(ctx, r.TokenID)
	if errors.Is(err, sqlstore.ErrNotFound) || err == nil && !t.Matches(r.TokenHash) {
		return q, refusal.New(refusal.Unauthenticated, "bad-token", "check that it was copied whole, or ask the operator for a new one", "the enrolment token is not valid")
	}
	q.Type, r.Label = t.Type, t.Type
	return q, err
}

// currentCertificate takes a certificate of ours: good for renewal only. Its
// signature was verified in the handshake (deviceTLS), on which every peer of
// this backend has come; whether it is still accepted is in its record, and
// whether it is too old is judged by the decision.
func (e enrolling) currentCertificate(req *est.Request, r *enroll.Request) (q sqlstore.EnrolQuery, err error) {
	cert := req.Peer[0]
	profile, id, err := pki.Identity(cert, e.cfg.TrustDomain)
	if err != nil || profile != pki.Device && profile != pki.Gateway {
		return q, refusal.New(refusal.Forbidden, "not-a-device", "use a device's certificate", "the client certificate is not a device's")
	}
	if req.Op != est.OpReenroll {
		return q, refusal.New(refusal.Invalid, "use-reenroll", "send the request to simplereenroll", "a request with the current certificate is a renewal")
	}
	r.Current = cert
	return sqlstore.EnrolQuery{DeviceID: device.ID(id)}, nil
}

// idevid takes a manufacturer's certificate that chains to the type's anchors.
func (e enrolling) idevid(ctx context.Context, req *est.Request, r *enroll.Request, q sqlstore.EnrolQuery) (sqlstore.EnrolQuery, error) {
	anchors, err := e.store.Anchors(ctx, r.Label)
	if err != nil {
		return q, err
	}
	pool := x509.NewCertPool()
	for _, a := range anchors {
		cert, err := x509.ParseCertificate(a.DER)
		if err != nil {
			return q, err
		}
		pool.AddCert(cert)
	}
	if r.Label == "" || len(anchors) == 0 {
		return q, refusal.New(refusal.Unauthenticated, "no-anchor", "enrol under the type's label; an operator adds the manufacturer's CA with `holdfast type anchor add`",
			"no manufacturer CA is trusted for device type %q", r.Label)
	}
	id, err := pki.VerifyIDevID(req.Peer, pool, e.now())
	if err != nil {
		return q, refusal.New(refusal.Unauthenticated, "bad-idevid", "present the manufacturer's certificate with its whole chain", "the client certificate does not chain to a manufacturer CA of type %s", r.Label)
	}
	r.IDevID, q.Serial, q.DeviceID = &id, id.SerialNumber, ""
	return q, nil
}

// attempt reads the facts, decides and commits once.
func (e enrolling) attempt(ctx context.Context, op est.Op, r *enroll.Request, q sqlstore.EnrolQuery, by *access.Actor) (issued est.Issued, g *enroll.Grant, err error) {
	facts, err := e.store.EnrolFacts(ctx, q)
	if err != nil {
		return issued, nil, err
	}
	facts.MaxLive = e.cfg.Enrolment.MaxCertificates
	if op == est.OpServerKeyGen && facts.Type != nil && !facts.Type.ServerKeyGen {
		return issued, nil, refusal.New(refusal.Forbidden, "no-server-keygen", "make the key on the device, or let an operator allow it for the type", "device type %s does not have keys made by the server", facts.Type.Name)
	}
	decide := enroll.Decide
	if r.Current != nil {
		decide = enroll.DecideRenewal
	}
	if g, err = decide(r, facts, e.now()); err != nil {
		return issued, nil, err
	}
	*by = access.Actor{Kind: access.Device, ID: string(g.Device.ID), Source: r.Source}
	switch g.Outcome {
	case enroll.Replay:
		issued.Chain, err = e.replay(g.Replay)
	case enroll.Wait:
		err = e.wait(ctx, *by, r, g)
	default:
		issued, err = e.sign(ctx, *by, r, facts, g)
	}
	return issued, g, err
}

// replay hands out the same certificate again.
func (e enrolling) replay(rec enroll.Record) ([]*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(rec.DER)
	if err != nil {
		return nil, err
	}
	if is := e.authority.Load().issuerOf(leaf); is != nil {
		return is.chain(leaf), nil
	}
	return []*x509.Certificate{leaf}, nil
}

func (e enrolling) wait(ctx context.Context, by access.Actor, r *enroll.Request, g *enroll.Grant) error {
	if !g.NewWaiting {
		return nil
	}
	w := enroll.Waiting{ID: newID(), DeviceID: g.Device.ID, Type: g.Device.Type, Zone: g.Device.Zone, KeyID: r.CSR.KeyID().String(),
		Credential: g.Credential, Source: by.Source, RequestedAt: e.now(), Decision: enroll.Undecided}
	d := g.Device
	if !g.Create {
		d.Version++
		d.UpdatedAt = e.now()
	}
	events := append(e.waitEvents(by, g), e.event(by, "enrolment.waiting", "device", string(d.ID), "key", w.KeyID, "credential", w.Credential, "request", w.ID))
	return e.store.Wait(ctx, w, &d, g.Create, g.UseToken, events...)
}

func (e enrolling) sign(ctx context.Context, by access.Actor, r *enroll.Request, facts *enroll.Facts, g *enroll.Grant) (issued est.Issued, err error) {
	i := issuance{by: by, key: r.CSR.Key, validity: g.Validity, credential: g.Credential, grant: g,
		subject: pki.Subject{TrustDomain: e.cfg.TrustDomain, ID: string(g.Device.ID), Profile: pki.Profile(facts.Type.Profile)}}
	if r.ServerKeyGen {
		key, err := pki.KeyAlg(facts.Type.KeyAlgorithm).GenerateKey(rand.Reader)
		if err != nil {
			return issued, err
		}
		if i.key, err = pki.CheckKey(key.Public()); err != nil {
			return issued, err
		}
		if issued.PrivateKey, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return issued, err
		}
	}
	_, issued.Chain, err = e.issue(ctx, i)
	return issued, err
}

// refused counts a refusal and, within a budget that outsiders cannot exceed,
// records it.
func (e enrolling) refused(ctx context.Context, by access.Actor, req *est.Request, err error) {
	r := refusal.As(err)
	if r == nil {
		e.metrics.enrolments.WithLabelValues("failed").Inc()
		return
	}
	e.metrics.enrolments.WithLabelValues("refused").Inc()
	e.metrics.refusals.WithLabelValues(r.Code).Inc()
	e.recordRefusal(ctx, e.event(by, "enrolment.refused", "type", req.Label, "code", r.Code, "operation", string(req.Op)), r.Detail)
}

// waitEvents is the event of a device that a request for approval created.
func (e enrolling) waitEvents(by access.Actor, g *enroll.Grant) []audit.Event {
	if !g.Create {
		return nil
	}
	return []audit.Event{e.event(by, "device.created", "device", string(g.Device.ID),
		"type", string(g.Device.Type), "zone", string(g.Device.Zone), "credential", g.Credential)}
}
