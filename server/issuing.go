package server

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// backdate lets devices whose clocks are a little slow use a new certificate.
const backdate = pki.MaxBackdate

// issuance is one certificate to be made.
type issuance struct {
	by         access.Actor
	subject    pki.Subject
	key        pki.CheckedKey
	validity   time.Duration
	credential string
	grant      *enroll.Grant // nil for certificates without a device
}

// issue reserves, signs and commits. Order of durable writes: (1) the
// reservation, with the token's use and a new device; a crash here leaves a
// reservation that abandonStale undoes. (2) The certificate, the device's state
// and what it supersedes; a crash before it means that the certificate was never
// handed out. The caller hands it out only after (2).
func (s *Server) issue(ctx context.Context, i issuance) (leaf *x509.Certificate, chain []*x509.Certificate, err error) {
	is := s.authority.Load().active
	if is == nil {
		return nil, nil, refusal.New(refusal.Unavailable, "no-issuing-key", "tell the operator", "this server has no issuing key")
	}
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t, err := is.sign.Template(serial, i.subject, i.key, s.now(), backdate, i.validity)
	if err != nil {
		return nil, nil, err
	}
	r := i.reservation(is, t, s.now())
	if err := s.store.Reserve(ctx, r, s.reserveEvents(&i, r)...); err != nil {
		return nil, nil, err
	}
	der, err := is.sign.Issue(rand.Reader, t)
	if err != nil {
		s.log.Error("signing with the issuing key", "key", is.row.KeyName, "err", err)
		err = refusal.New(refusal.Unavailable, "signing-failed", "try again later; the server's log says why", "the issuing key cannot be used right now")
	} else {
		err = s.commit(ctx, &i, r, der)
	}
	if err != nil {
		s.abandon(context.WithoutCancel(ctx), sqlstore.Reserved{Serial: serial.String(), Principal: r.Principal, TokenID: r.TokenID, WaitingID: r.WaitingID})
		return nil, nil, err
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, err
	}
	s.metrics.issued.WithLabelValues(r.Profile).Inc()
	return leaf, is.chain(leaf), nil
}

func (i *issuance) reservation(is *issuer, t *pki.Template, now time.Time) sqlstore.Reservation {
	r := sqlstore.Reservation{
		Serial: t.Serial, Principal: enroll.Principal(string(i.subject.Profile), i.subject.ID), Profile: string(i.subject.Profile),
		KeyID: t.KeyID, CA: is.row.ID, NotBefore: t.NotBefore, NotAfter: t.NotAfter, At: now, Credential: i.credential,
	}
	if g := i.grant; g != nil {
		r.TokenID, r.WaitingID, r.Device, r.Create = g.UseToken, g.Finish, &g.Device, g.Create
	}
	return r
}

// reserveEvents is one event for what a reservation changes: a new device, and
// what is about to be signed for it.
func (s *Server) reserveEvents(i *issuance, r sqlstore.Reservation) []audit.Event {
	details := []string{"key", r.KeyID.String(), "credential", r.Credential}
	action := "certificate.reserved"
	if r.Create {
		action = "device.created"
		details = append(details, "type", string(r.Device.Type), "zone", string(r.Device.Zone))
	}
	return []audit.Event{s.certificateEvent(i.by, action, r.Principal, r.Serial.String(), details...)}
}

// certificateEvent is an event about a certificate, recorded under its holder, so
// that the history of a device has its certificates.
func (s *Server) certificateEvent(by access.Actor, action, principal, serial string, details ...string) audit.Event {
	kind, id, _ := cutPrincipal(principal)
	if kind == string(pki.Gateway) {
		kind = "device"
	}
	return s.event(by, action, kind, id, append([]string{"serial", serial}, details...)...)
}

func (s *Server) commit(ctx context.Context, i *issuance, r sqlstore.Reservation, der []byte) error {
	details := []string{"spiffe_id", i.subject.SPIFFE(), "not_after", r.NotAfter.Format(time.RFC3339), "ca", r.CA}
	if i.grant == nil {
		return s.store.Commit(ctx, r.Serial, der, nil, nil, s.now(), s.certificateEvent(i.by, "certificate.issued", r.Principal, r.Serial.String(), details...))
	}
	var revoked []string
	for _, old := range i.grant.Supersede {
		revoked = append(revoked, old.String())
	}
	event := s.certificateEvent(i.by, "certificate.issued", r.Principal, r.Serial.String(), append(details, "supersedes", strings.Join(revoked, " "))...)
	d := i.grant.Device
	d.Version++
	d.UpdatedAt, d.EnrolledAt = s.now(), s.now()
	err := s.store.Commit(ctx, r.Serial, der, &d, i.grant.Supersede, s.now(), event)
	if err == nil && len(i.grant.Supersede) > 0 {
		s.announce()
	}
	return err
}

// abandon gives back what a reservation took. If the commit was stored although
// it was reported failed, there is nothing to give back: the certificate is
// issued, and the device gets it when it asks again.
func (s *Server) abandon(ctx context.Context, r sqlstore.Reserved) {
	err := s.store.Abandon(ctx, r, s.certificateEvent(access.Component("issuing"), "certificate.abandoned", r.Principal, r.Serial))
	if err != nil && !isChanged(err) {
		s.log.Warn("abandoning a reservation: it is tried again later", "serial", r.Serial, "err", err)
	}
}

// staleAfter is how long a signature may take before its reservation counts as
// left behind by a crash.
const staleAfter = 30 * time.Second

// abandonStale undoes reservations made before a time by servers that died while
// signing.
func (s *Server) abandonStale(ctx context.Context, before time.Time) {
	list, err := s.store.StaleReserved(ctx, before)
	if err != nil {
		s.log.Warn("looking for stale reservations", "err", err)
	}
	for _, r := range list {
		s.abandon(ctx, r)
	}
}

// tidy looks for stale reservations now and then. On an embedded database this
// process is the only one, so all that it finds at its start are stale.
func (s *Server) tidy(ctx context.Context) error {
	if s.cfg.Database.Empty() {
		s.abandonStale(ctx, s.now())
	}
	tick := time.NewTicker(staleAfter / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.abandonStale(ctx, s.now().Add(-staleAfter))
		}
	}
}

// IssueCertificate issues an app's or a server's certificate to an operator.
func (s *Server) IssueCertificate(ctx context.Context, by access.Actor, r adminapi.IssueRequest) (adminapi.Certificate, []string, error) {
	var none adminapi.Certificate
	profile, err := pki.ParseProfile(r.Profile)
	if err != nil || profile != pki.App && profile != pki.Server {
		return none, nil, invalid("bad-profile", "use app or server; devices and gateways enrol over EST", "%.40q is not a profile that operators issue", r.Profile)
	}
	if block, _ := pem.Decode(r.CSR); block != nil {
		r.CSR = block.Bytes
	}
	csr, err := enroll.ParseCSR(r.CSR)
	if err != nil {
		return none, nil, err
	}
	subject := pki.Subject{TrustDomain: s.cfg.TrustDomain, ID: r.ID, Profile: profile, DNSNames: r.DNSNames}
	for _, text := range r.IPs {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return none, nil, invalid("bad-address", "write an IPv4 or IPv6 address", "%.60q is not an IP address", text)
		}
		subject.IPs = append(subject.IPs, ip)
	}
	if err := subject.Validate(); err != nil {
		return none, nil, invalid("bad-subject", "correct the id, the DNS names or the addresses", "%v", err)
	}
	if r.Validity == 0 {
		r.Validity = device.DefaultValidity
	}
	if r.Validity < device.MinValidity || r.Validity > device.MaxValidity {
		return none, nil, invalid("bad-validity", "use 10s to 87840h", "the validity %s is out of range", r.Validity)
	}
	leaf, chain, err := s.issue(ctx, issuance{by: by, subject: subject, key: csr.Key, validity: r.Validity, credential: "operator:" + by.ID})
	if errors.Is(err, sqlstore.ErrChanged) {
		return none, nil, refusal.New(refusal.Forbidden, "key-reused", "make a new key pair", "the CSR's key already belongs to somebody else")
	}
	if err != nil {
		return none, nil, err
	}
	serial, err := pki.SerialOf(leaf)
	if err != nil {
		return none, nil, err
	}
	cert, err := s.Certificate(ctx, serial.String())
	pems := make([]string, len(chain))
	for n, c := range chain {
		pems[n] = string(pki.EncodePEM("CERTIFICATE", c.Raw))
	}
	return cert, pems, err
}

// Certificate shows a certificate's record.
func (s *Server) Certificate(ctx context.Context, serial string) (adminapi.Certificate, error) {
	row, err := s.store.Certificate(ctx, serial)
	if err != nil {
		return adminapi.Certificate{}, missing(err, "certificate", serial)
	}
	return s.certificateView(row), nil
}

// Certificates lists records, newest first.
func (s *Server) Certificates(ctx context.Context, f adminapi.CertificateFilter) ([]adminapi.Certificate, error) {
	q := sqlstore.CertificateFilter{Profile: f.Profile, Status: f.Status, KeyID: f.KeyID, ExpiresBefore: f.ExpiresBefore, After: f.After, Limit: f.Limit}
	profiles := []string{f.Profile}
	if f.Principal != "" && f.Profile == "" {
		profiles = []string{string(pki.Device), string(pki.Gateway), string(pki.App), string(pki.Server)}
	}
	var list []adminapi.Certificate
	for _, p := range profiles {
		if f.Principal != "" {
			q.Principal = enroll.Principal(p, f.Principal)
		}
		rows, err := s.store.Certificates(ctx, q)
		if err != nil {
			return nil, missing(err, "certificate", f.After)
		}
		for _, row := range rows {
			list = append(list, s.certificateView(row))
		}
	}
	return list[:min(len(list), f.Limit)], nil
}

func (s *Server) certificateView(row sqlstore.Certificate) adminapi.Certificate {
	_, name, _ := cutPrincipal(row.Principal)
	c := adminapi.Certificate{
		Serial: row.Serial, Profile: row.Profile, Principal: name, SPIFFEID: fmt.Sprintf("spiffe://%s/%s", s.cfg.TrustDomain, row.Principal),
		KeyID: row.KeyID, Issuer: row.CA, Status: string(row.Status), NotBefore: row.NotBefore, NotAfter: row.NotAfter,
		RevokedAt: row.RevokedAt, Credential: row.Credential,
	}
	if row.Status == enroll.Revoked || row.Status == enroll.Held {
		c.Reason = row.Reason.String()
	}
	if len(row.DER) > 0 {
		c.PEM = string(pki.EncodePEM("CERTIFICATE", row.DER))
	}
	return c
}
