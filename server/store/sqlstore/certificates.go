package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
)

// Certificate is a certificate's row.
type Certificate struct {
	Serial     string
	Principal  string // "device/d42"
	Profile    string
	KeyID      string
	CA         string
	Status     enroll.Status
	Reason     pki.Reason
	NotBefore  time.Time
	NotAfter   time.Time
	ReservedAt time.Time
	RevokedAt  time.Time
	Credential string
	DER        []byte
}

const certificateColumns = `serial, principal, profile, key_id, ca_id, status, reason, not_before, not_after, reserved_at, revoked_at, credential, der`

func scanCertificate(sc scanner) (c Certificate, err error) {
	var before, after, reserved, revoked int64
	err = sc.Scan(&c.Serial, &c.Principal, &c.Profile, &c.KeyID, &c.CA, &c.Status, &c.Reason, &before, &after, &reserved, &revoked, &c.Credential, &c.DER)
	c.NotBefore, c.NotAfter, c.ReservedAt, c.RevokedAt = fromMicros(before), fromMicros(after), fromMicros(reserved), fromMicros(revoked)
	return c, notFound(err)
}

// Certificate returns a certificate's row or ErrNotFound.
func (s *Store) Certificate(ctx context.Context, serial string) (Certificate, error) {
	st, err := s.stmt(ctx, `SELECT `+certificateColumns+` FROM certificate WHERE serial = $1`)
	if err != nil {
		return Certificate{}, err
	}
	return scanCertificate(st.QueryRowContext(ctx, serial))
}

// CertificateFilter selects certificates; empty fields select all.
type CertificateFilter struct {
	Principal     string // "device/d42"
	Profile       string
	Status        string
	KeyID         string
	ExpiresBefore time.Time
	After         string // serial of the last one seen
	Limit         int
}

// Certificates lists certificates, newest first.
func (s *Store) Certificates(ctx context.Context, f CertificateFilter) (list []Certificate, err error) {
	var where []string
	var args []any
	add := func(cond string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	if f.Principal != "" {
		add("principal = $%d", f.Principal)
	}
	if f.Profile != "" {
		add("profile = $%d", f.Profile)
	}
	if f.Status != "" {
		add("status = $%d", f.Status)
	}
	if f.KeyID != "" {
		add("key_id = $%d", f.KeyID)
		add("principal = (SELECT principal FROM public_key WHERE id = $%d)", f.KeyID)
	}
	if !f.ExpiresBefore.IsZero() {
		add("not_after < $%d", micros(f.ExpiresBefore))
	}
	if f.After != "" {
		last, err := s.Certificate(ctx, f.After)
		if err != nil {
			return nil, err
		}
		args = append(args, micros(last.ReservedAt), last.Serial)
		where = append(where, fmt.Sprintf("(reserved_at, serial) < ($%d, $%d)", len(args)-1, len(args)))
	}
	query := `SELECT ` + certificateColumns + ` FROM certificate`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, " AND ")
	}
	args = append(args, f.Limit)
	query += fmt.Sprintf(` ORDER BY reserved_at DESC, serial DESC LIMIT $%d`, len(args))
	err = s.all(ctx, query, args, func(sc scanner) error {
		c, err := scanCertificate(sc)
		list = append(list, c)
		return err
	})
	return list, err
}

// revokeOne marks an issued or held certificate as revoked for good.
func revokeOne(t *tx, serial string, reason pki.Reason, at time.Time) (bool, error) {
	n, err := t.exec(`UPDATE certificate SET status = 'revoked', reason = $1, revoked_at = $2 WHERE serial = $3 AND status IN ('issued', 'held')`,
		reason, micros(at), serial)
	return n == 1, err
}

// RevokeCertificate revokes one certificate and returns the version of the
// control event; ErrChanged if it is neither issued nor held.
func (s *Store) RevokeCertificate(ctx context.Context, serial string, reason pki.Reason, at time.Time, events ...audit.Event) (version int64, err error) {
	err = s.write(ctx, "certificate.revoke", events, func(t *tx) error {
		done, err := revokeOne(t, serial, reason, at)
		if err == nil && !done {
			err = ErrChanged
		}
		if err == nil {
			version, err = bumpChange(t, ChangeRevoked, serial, at)
		}
		return err
	})
	return version, err
}

// ChangeDevice moves a device from version d.Version-1 to its new state together
// with its certificates: quarantine holds the issued ones, release frees the
// held ones, revoke and retire revoke all. It returns the version of the control
// event, whose subject is the device's principal. Reservations under way are
// stopped by the device's version: their Commit finds it changed.
func (s *Store) ChangeDevice(ctx context.Context, d device.Device, principal string, move device.Move, reason pki.Reason, at time.Time, events ...audit.Event) (version int64, err error) {
	err = s.write(ctx, "device."+string(move), events, func(t *tx) error {
		if err := setState(t, &d); err != nil {
			return err
		}
		var err error
		kind := ChangeRevokedDevice
		switch move {
		case device.Quarantine:
			kind = ChangeQuarantined
			_, err = t.exec(`UPDATE certificate SET status = 'held', reason = $1, revoked_at = $2 WHERE principal = $3 AND status = 'issued'`, pki.CertificateHold, micros(at), principal)
		case device.Release:
			kind = ChangeReleased
			_, err = t.exec(`UPDATE certificate SET status = 'issued', reason = 0, revoked_at = 0 WHERE principal = $1 AND status = 'held'`, principal)
		case device.Revoke, device.Retire:
			_, err = t.exec(`UPDATE certificate SET status = 'revoked', reason = $1, revoked_at = $2 WHERE principal = $3 AND status IN ('issued', 'held')`, reason, micros(at), principal)
			if err == nil {
				_, err = t.exec(`UPDATE waiting SET decision = 'rejected', decided_at = $1, decided_by = 'system:revocation' WHERE device_id = $2 AND decision IN ('undecided', 'approved')`, micros(at), d.ID)
			}
		default:
			err = fmt.Errorf("changing a device: %q is not an operator's move", move)
		}
		if err == nil {
			version, err = bumpChange(t, kind, principal, at)
		}
		return err
	})
	return version, err
}

// LiveCertificates counts a principal's certificates that are issued or held and
// not expired.
func (s *Store) LiveCertificates(ctx context.Context, principal string, now time.Time) (n int, err error) {
	err = s.row(ctx, `SELECT COUNT(*) FROM certificate WHERE principal = $1 AND not_after > $2 AND status IN ('issued', 'held')`, []any{principal, micros(now)}, &n)
	return n, err
}

// RevokedRow is a certificate that must not be accepted.
type RevokedRow struct {
	Serial    string
	Principal string
	CA        string
	Held      bool
	Reason    pki.Reason
	At        time.Time
}

// Revoked hands all revoked and held certificates that expire after a time to
// each, of one CA or, with an empty id, of all.
func (s *Store) Revoked(ctx context.Context, ca string, expireAfter time.Time, each func(RevokedRow) error) error {
	return s.all(ctx, `SELECT serial, principal, ca_id, status, reason, revoked_at FROM certificate
		WHERE status IN ('revoked', 'held') AND not_after > $1 AND (ca_id = $2 OR $2 = '')`, []any{micros(expireAfter), ca}, func(sc scanner) error {
		r, err := scanRevoked(sc)
		if err != nil {
			return err
		}
		return each(r)
	})
}

func scanRevoked(sc scanner) (r RevokedRow, err error) {
	var status string
	var at int64
	err = sc.Scan(&r.Serial, &r.Principal, &r.CA, &status, &r.Reason, &at)
	r.Held, r.At = status == string(enroll.Held), fromMicros(at)
	return r, err
}

// RevokedOf lists the revoked and held certificates of one principal.
func (s *Store) RevokedOf(ctx context.Context, principal string) (list []RevokedRow, err error) {
	err = s.all(ctx, `SELECT serial, principal, ca_id, status, reason, revoked_at FROM certificate WHERE status IN ('revoked', 'held') AND principal = $1`, []any{principal}, func(sc scanner) error {
		r, err := scanRevoked(sc)
		list = append(list, r)
		return err
	})
	return list, err
}
