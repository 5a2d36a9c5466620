package server

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
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

// CreateToken makes an enrolment token; its secret is returned once and never
// stored.
func (s *Server) CreateToken(ctx context.Context, by access.Actor, t enroll.Token) (enroll.Token, enroll.Secret, error) {
	if t.Kind == enroll.OneTime && t.Quota == 0 {
		t.Quota = 1
	}
	t.CreatedAt, t.CreatedBy, t.Used, t.RevokedAt = s.now(), by.String(), 0, time.Time{}
	if err := t.Validate(s.now()); err != nil {
		return t, enroll.Secret{}, err
	}
	if err := s.places().check(ctx, &device.Device{Type: t.Type, Zone: t.Zone}); err != nil {
		return t, enroll.Secret{}, err
	}
	t, secret, err := enroll.NewToken(rand.Reader, t)
	if err != nil {
		return t, enroll.Secret{}, err
	}
	err = s.store.InsertToken(ctx, t, s.event(by, "token.created", "token", t.ID, "kind", string(t.Kind), "type", string(t.Type), "zone", string(t.Zone),
		"device", string(t.DeviceID), "quota", strconv.Itoa(t.Quota), "expires_at", t.ExpiresAt.UTC().Format(time.RFC3339), "note", t.Note))
	if err != nil {
		return t, enroll.Secret{}, err
	}
	return t, secret, nil
}

// Tokens lists tokens, newest first.
func (s *Server) Tokens(ctx context.Context) ([]enroll.Token, error) { return s.store.Tokens(ctx) }

// RevokeToken ends a token; devices that it enrolled stay.
func (s *Server) RevokeToken(ctx context.Context, by access.Actor, id string) error {
	t, err := s.store.Token(ctx, id)
	if err != nil {
		return missing(err, "token", id)
	}
	if !t.RevokedAt.IsZero() {
		return refusal.New(refusal.Conflict, "token-revoked", "nothing to do", "token %s is revoked already", id)
	}
	return stale(s.store.RevokeToken(ctx, id, s.now(), s.event(by, "token.revoked", "token", id)), "token", id)
}

// AddAnchor trusts manufacturer CAs for a type's IDevIDs.
func (s *Server) AddAnchor(ctx context.Context, by access.Actor, name device.TypeName, pem []byte) ([]adminapi.Anchor, error) {
	if _, err := s.store.Type(ctx, name); err != nil {
		return nil, missing(err, "type", string(name))
	}
	certs, err := pki.ParseCertificatesPEM(pem)
	if err != nil {
		return nil, invalid("bad-pem", "send the manufacturer's CA certificates as PEM", "%v", err)
	}
	var rows []sqlstore.Anchor
	var list []adminapi.Anchor
	for _, c := range certs {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, invalid("not-a-ca", "send the CA's certificate, not a device's", "the certificate %q is not a CA's", c.Subject)
		}
		rows = append(rows, sqlstore.Anchor{Type: name, ID: caID(c.Raw), DER: c.Raw, AddedAt: s.now()})
		list = append(list, anchorView(name, c.Subject.String(), c.NotAfter, rows[len(rows)-1]))
	}
	err = s.store.InsertAnchors(ctx, rows, s.event(by, "type.anchor_added", "type", string(name), "anchor", rows[0].ID, "subject", list[0].Subject))
	return list, err
}

func anchorView(name device.TypeName, subject string, until time.Time, a sqlstore.Anchor) adminapi.Anchor {
	return adminapi.Anchor{ID: a.ID, Type: name, Subject: subject, NotAfter: until, AddedAt: a.AddedAt}
}

// Anchors lists a type's manufacturer CAs.
func (s *Server) Anchors(ctx context.Context, name device.TypeName) ([]adminapi.Anchor, error) {
	if _, err := s.store.Type(ctx, name); err != nil {
		return nil, missing(err, "type", string(name))
	}
	rows, err := s.store.Anchors(ctx, name)
	if err != nil {
		return nil, err
	}
	var list []adminapi.Anchor
	for _, a := range rows {
		certs, err := pki.ParseCertificatesPEM(pki.EncodePEM("CERTIFICATE", a.DER))
		if err != nil {
			return nil, err
		}
		list = append(list, anchorView(name, certs[0].Subject.String(), certs[0].NotAfter, a))
	}
	return list, nil
}

// RemoveAnchor stops trusting a manufacturer CA; enrolled devices stay.
func (s *Server) RemoveAnchor(ctx context.Context, by access.Actor, name device.TypeName, id string) error {
	err := s.store.DeleteAnchor(ctx, name, id, s.event(by, "type.anchor_removed", "type", string(name), "anchor", id))
	if isChanged(err) {
		return refusal.New(refusal.NotFound, "no-such-anchor", "list them with `holdfast type anchor list`", "type %s has no anchor %.64q", name, id)
	}
	return err
}

// Waiting lists the waiting room, oldest first.
func (s *Server) Waiting(ctx context.Context) ([]enroll.Waiting, error) { return s.store.Waiting(ctx) }

// DecideWaiting approves or rejects a waiting enrolment. Approval is of the key
// that was shown: the device gets its certificate when it asks again with it.
func (s *Server) DecideWaiting(ctx context.Context, by access.Actor, id string, approve bool, reason string) (enroll.Waiting, error) {
	w, err := s.store.WaitingByID(ctx, id)
	if err != nil {
		return w, missing(err, "waiting", id)
	}
	if w.Decision != enroll.Undecided {
		return w, refusal.New(refusal.Conflict, "already-decided", "nothing to do", "the request %s is %s", id, w.Decision)
	}
	w.Decision, w.DecidedAt, w.DecidedBy, w.Reason = enroll.Approved, s.now(), by.String(), audit.Text(reason, 1024)
	action := "enrolment.approved"
	var moved *device.Device
	if !approve {
		w.Decision, action = enroll.Rejected, "enrolment.rejected"
		d, err := s.store.Device(ctx, w.DeviceID)
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return w, err
		}
		if err == nil && d.State == device.Pending {
			if d.State, err = device.Next(d.State, device.Reject, false); err != nil {
				return w, err
			}
			d.UpdatedAt, d.Version = s.now(), d.Version+1
			moved = &d
		}
	}
	err = s.store.DecideWaiting(ctx, w, moved, s.event(by, action, "device", string(w.DeviceID), "request", w.ID, "key", w.KeyID, "reason", reason))
	return w, stale(err, "waiting request", id)
}
