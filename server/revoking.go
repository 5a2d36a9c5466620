package server

import (
	"context"
	"errors"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// maxTries bounds how often a decision is made again after a lost race.
const maxTries = 5

// ChangeDevice quarantines, releases, revokes or retires a device: state,
// certificates, audit event and control event in one transaction.
func (s *Server) ChangeDevice(ctx context.Context, by access.Actor, id device.ID, move adminapi.DeviceMove, reason string) (device.Device, error) {
	switch move {
	case device.Quarantine, device.Release, device.Revoke, device.Retire:
	default:
		return device.Device{}, invalid("bad-move", "use quarantine, release, revoke or retire", "%q is not something an operator does to a device", move)
	}
	for range maxTries {
		d, err := s.changeDevice(ctx, by, id, move, reason)
		if !isChanged(err) {
			return d, err
		}
	}
	return device.Device{}, refusal.New(refusal.Conflict, "changed-meanwhile", "try again", "device %s changes too often right now", id)
}

func (s *Server) changeDevice(ctx context.Context, by access.Actor, id device.ID, move device.Move, reason string) (device.Device, error) {
	d, err := s.store.Device(ctx, id)
	if err != nil {
		return d, missing(err, "device", string(id))
	}
	if err := adminapi.Covers(ctx, d); err != nil {
		return device.Device{}, err
	}
	t, err := s.store.Type(ctx, d.Type)
	if err != nil {
		return d, err
	}
	principal := enroll.Principal(t.Profile, string(id))
	live, err := s.store.LiveCertificates(ctx, principal, s.now())
	if err != nil {
		return d, err
	}
	from := d.State
	if d.State, err = device.Next(d.State, move, live > 0); err != nil {
		return d, err
	}
	why := pki.Unspecified
	if move == device.Retire {
		why = pki.CessationOfOperation
	}
	d.UpdatedAt, d.Version = s.now(), d.Version+1
	_, err = s.store.ChangeDevice(ctx, d, principal, move, why, s.now(),
		s.event(by, "device."+pastTense[move], "device", string(id), "from", string(from), "to", string(d.State), "reason", reason))
	if err != nil {
		return d, err
	}
	s.announce()
	return d, nil
}

// pastTense names the event of each move.
var pastTense = map[device.Move]string{
	device.Quarantine: "quarantined", device.Release: "released", device.Revoke: "revoked", device.Retire: "retired",
}

// RevokeCertificate revokes one certificate; its device keeps its others.
func (s *Server) RevokeCertificate(ctx context.Context, by access.Actor, serial, reason string) (adminapi.Certificate, error) {
	if reason == "" {
		reason = pki.Unspecified.String()
	}
	why, err := pki.ParseReason(reason)
	if err != nil || why == pki.CertificateHold {
		return adminapi.Certificate{}, invalid("bad-reason", "use unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn; to hold certificates, quarantine the device",
			"%.40q is not a reason to revoke", reason)
	}
	row, err := s.store.Certificate(ctx, serial)
	if err != nil {
		return adminapi.Certificate{}, missing(err, "certificate", serial)
	}
	_, err = s.store.RevokeCertificate(ctx, serial, why, s.now(),
		s.certificateEvent(by, "certificate.revoked", row.Principal, serial, "reason", why.String()))
	if errors.Is(err, sqlstore.ErrChanged) {
		return adminapi.Certificate{}, refusal.New(refusal.Conflict, "not-revocable", "nothing to do", "certificate %s is %s", serial, row.Status)
	}
	if err != nil {
		return adminapi.Certificate{}, err
	}
	s.announce()
	return s.Certificate(ctx, serial)
}
