package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/pki"
)

// ChangeKind is what a control event tells every node.
type ChangeKind string

const (
	ChangeRevoked       ChangeKind = "revoked"        // subject: a certificate's serial
	ChangeRevokedDevice ChangeKind = "device-revoked" // subject: a principal
	ChangeQuarantined   ChangeKind = "quarantined"    // subject: a principal
	ChangeReleased      ChangeKind = "released"       // subject: a principal
	ChangeAuthority     ChangeKind = "authority"      // subject: a CA's id
	ChangeDevice        ChangeKind = "device"         // subject: the id of a device that was created or described anew, maintenance included
	ChangeDevices       ChangeKind = "devices"        // many devices were created; no subject
	ChangePolicy        ChangeKind = "policy"         // subject: the version that is active now
	ChangeAppToken      ChangeKind = "app-token"      // subject: the id of a token that was revoked
	ChangeAccess        ChangeKind = "access"         // subject: person/ID, client/ID, role/NAME, sign-in/ID or key/ID: what it may do changed
)

// Change is a control event. Versions grow by one in the order of commits.
type Change struct {
	Version int64      `json:"version"`
	Kind    ChangeKind `json:"kind"`
	Subject string     `json:"subject"`
	At      time.Time  `json:"at"`
}

// bumpChange writes a control event; the row of the counter stays locked until
// the commit, so that versions become visible in order.
func bumpChange(t *tx, kind ChangeKind, subject string, at time.Time) (version int64, err error) {
	if err := t.one(`UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'change_version'`); err != nil {
		return 0, err
	}
	if err := t.row(`SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'change_version'`, nil, &version); err != nil {
		return 0, err
	}
	_, err = t.exec(`INSERT INTO change (version, kind, subject, at) VALUES ($1, $2, $3, $4)`, version, kind, subject, micros(at))
	return version, err
}

// ChangeVersion is the version of the newest control event, 0 if there is none.
func (s *Store) ChangeVersion(ctx context.Context) (version int64, err error) {
	err = s.row(ctx, `SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'change_version'`, nil, &version)
	return version, err
}

// RevocationVersion is the version of the newest control event that a CRL has to
// follow, 0 if there is none.
func (s *Store) RevocationVersion(ctx context.Context) (version int64, err error) {
	err = s.row(ctx, `SELECT version FROM change WHERE kind IN ('revoked', 'device-revoked', 'quarantined', 'released', 'authority')
		ORDER BY version DESC LIMIT 1`, nil, &version)
	if err == ErrNotFound {
		err = nil
	}
	return version, err
}

// Changes lists the control events after a version, in order, at most 1000.
func (s *Store) Changes(ctx context.Context, after int64) (list []Change, err error) {
	err = s.all(ctx, `SELECT version, kind, subject, at FROM change WHERE version > $1 ORDER BY version LIMIT 1000`, []any{after}, func(sc scanner) error {
		var c Change
		var at int64
		err := sc.Scan(&c.Version, &c.Kind, &c.Subject, &at)
		c.At = fromMicros(at)
		list = append(list, c)
		return err
	})
	return list, err
}

// CA is a row of the hierarchy.
type CA struct {
	ID        string // SHA-256 of the certificate, hex
	Role      string // root or issuing
	DER       []byte
	KeyName   string // in the key store; empty for a root
	Status    string // active or retiring
	CreatedAt time.Time
	NotAfter  time.Time
	CRLNumber int64
	CRL       []byte
	CRLUntil  time.Time // nextUpdate
	CRLChange int64     // change version that the CRL includes
}

// CAs lists the hierarchy, newest first.
func (s *Store) CAs(ctx context.Context) (list []CA, err error) {
	err = s.all(ctx, `SELECT id, role, der, key_name, status, created_at, not_after, crl_number, crl, crl_until, crl_change FROM ca ORDER BY created_at DESC, id`, nil, func(sc scanner) error {
		var c CA
		var created, after, until int64
		err := sc.Scan(&c.ID, &c.Role, &c.DER, &c.KeyName, &c.Status, &created, &after, &c.CRLNumber, &c.CRL, &until, &c.CRLChange)
		c.CreatedAt, c.NotAfter, c.CRLUntil = fromMicros(created), fromMicros(after), fromMicros(until)
		list = append(list, c)
		return err
	})
	return list, err
}

// InsertCAs adds CAs. A new active issuing CA retires the others, in the same
// transaction. ErrChanged if one is there already.
func (s *Store) InsertCAs(ctx context.Context, list []CA, at time.Time, events ...audit.Event) (version int64, err error) {
	err = s.write(ctx, "ca.insert", events, func(t *tx) error {
		for _, c := range list {
			if c.Role == "issuing" {
				if _, err := t.exec(`UPDATE ca SET status = 'retiring' WHERE role = 'issuing' AND status = 'active'`); err != nil {
					return err
				}
			}
			if err := t.one(`INSERT INTO ca (id, role, der, key_name, status, created_at, not_after, crl_number, crl_until, crl_change)
				VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0) ON CONFLICT DO NOTHING`,
				c.ID, c.Role, c.DER, c.KeyName, c.Status, micros(c.CreatedAt), micros(c.NotAfter)); err != nil {
				return err
			}
			if version, err = bumpChange(t, ChangeAuthority, c.ID, at); err != nil {
				return err
			}
		}
		return nil
	})
	return version, err
}

// StoreCRL replaces a CA's CRL by the one numbered next; ErrChanged if another
// node was quicker.
func (s *Store) StoreCRL(ctx context.Context, id string, number int64, crl []byte, until time.Time, change int64) error {
	return s.write(ctx, "ca.crl", nil, func(t *tx) error {
		return t.one(`UPDATE ca SET crl_number = $1, crl = $2, crl_until = $3, crl_change = $4 WHERE id = $5 AND crl_number = $6`,
			number, crl, micros(until), change, id, number-1)
	})
}

// Status of a certificate for OCSP: found is false when it was never issued.
func (s *Store) CertificateStatus(ctx context.Context, serial pki.Serial, ca string) (revoked bool, reason pki.Reason, at time.Time, found bool, err error) {
	var status string
	var us int64
	err = s.row(ctx, `SELECT status, reason, revoked_at FROM certificate WHERE serial = $1 AND ca_id = $2`, []any{serial.String(), ca}, &status, &reason, &us)
	if err == ErrNotFound {
		return false, 0, time.Time{}, false, nil
	}
	found = status == "issued" || status == "revoked" || status == "held"
	return status == "revoked" || status == "held", reason, fromMicros(us), found, err
}

// CRL returns the number of a CA's list, and the list unless its number is have.
func (s *Store) CRL(ctx context.Context, id string, have int64) (number int64, der []byte, err error) {
	err = s.row(ctx, `SELECT crl_number, CASE WHEN crl_number = $1 THEN NULL ELSE crl END FROM ca WHERE id = $2`, []any{have, id}, &number, &der)
	return number, der, err
}
