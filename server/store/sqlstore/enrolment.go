package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
)

// EnrolQuery names what an enrolment request is about.
type EnrolQuery struct {
	Type     device.TypeName // empty: the device's (renewal)
	TokenID  string
	DeviceID device.ID // from the token's binding, the CSR or the certificate
	Serial   string    // the IDevID's serial number; finds the device instead of DeviceID
	KeyID    pki.KeyID
	Profile  string // empty: the type's
}

// EnrolFacts reads what enroll.Decide and enroll.DecideRenewal need, except
// MaxLive. What does not exist stays nil, and without a type nothing else is read
// of where it would stand: there is nothing to decide then.
func (s *Store) EnrolFacts(ctx context.Context, q EnrolQuery) (*enroll.Facts, error) {
	f := &enroll.Facts{}
	if q.TokenID != "" {
		token, err := s.Token(ctx, q.TokenID)
		if err := optional(&f.Token, token, err); err != nil {
			return nil, err
		}
		if f.Token != nil && f.Token.DeviceID != "" {
			q.DeviceID = f.Token.DeviceID
		}
	}
	var d device.Device
	err := ErrNotFound
	if q.Serial != "" {
		d, err = s.DeviceBySerial(ctx, q.Type, q.Serial)
	} else if q.DeviceID != "" {
		d, err = s.Device(ctx, q.DeviceID)
	}
	if err := optional(&f.Device, d, err); err != nil {
		return nil, err
	}
	if q.Type == "" && f.Device != nil {
		q.Type = f.Device.Type
	}
	zone := device.ZoneName("")
	if f.Device != nil {
		zone = f.Device.Zone
	} else if f.Token != nil {
		zone = f.Token.Zone
	}
	if err := s.placeFacts(ctx, f, q.Type, zone, q.KeyID); err != nil {
		return nil, err
	}
	return f, s.deviceFacts(ctx, f)
}

// placeFacts reads type, zone and the key's owner in one query: each costs as
// much as the rest of it.
func (s *Store) placeFacts(ctx context.Context, f *enroll.Facts, name device.TypeName, zone device.ZoneName, key pki.KeyID) error {
	st, err := s.stmt(ctx, `SELECT COALESCE(z.name, ''), COALESCE(z.description, ''), COALESCE(z.production, 0), COALESCE(z.security_level, 0),
		COALESCE(z.created_at, 0), COALESCE(z.updated_at, 0), COALESCE(z.version, 0), COALESCE(k.principal, ''), `+prefixedBy("t", typeColumns)+`
		FROM device_type t LEFT JOIN zone z ON z.name = $1 LEFT JOIN public_key k ON k.id = $2 WHERE t.name = $3`)
	if err != nil {
		return err
	}
	var z device.Zone
	var created, updated int64
	var production int
	t, err := scanType(ahead{st.QueryRowContext(ctx, zone, key.String(), name),
		[]any{&z.Name, &z.Description, &production, &z.SecurityLevel, &created, &updated, &z.Version, &f.KeyOwner}})
	if err := optional(&f.Type, t, err); err != nil || f.Type == nil {
		return err
	}
	if z.Name != "" {
		z.Production, z.CreatedAt, z.UpdatedAt = production != 0, fromMicros(created), fromMicros(updated)
		f.Zone = &z
	}
	return nil
}

// ahead scans further columns before those of an inner scan.
type ahead struct {
	scanner
	first []any
}

func (a ahead) Scan(dest ...any) error { return a.scanner.Scan(append(a.first, dest...)...) }

func optional[T any](to **T, value T, err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	*to = &value
	return err
}

// deviceFacts adds the certificates and waiting requests of a known device.
func (s *Store) deviceFacts(ctx context.Context, f *enroll.Facts) error {
	if f.Type == nil {
		return nil
	}
	if f.Type.Approval == device.Manual || f.Token != nil && f.Token.Approval == device.Manual {
		if err := s.row(ctx, `SELECT COUNT(*) FROM waiting WHERE decision = 'undecided'`, nil, &f.WaitingCount); err != nil {
			return err
		}
	}
	if f.Device == nil {
		return nil
	}
	err := s.all(ctx, `SELECT serial, key_id, status, not_after, token_id, der FROM certificate
		WHERE principal = $1 AND not_after > $2 AND status IN ('issued', 'held') ORDER BY not_after DESC LIMIT 64`,
		[]any{enroll.Principal(f.Type.Profile, string(f.Device.ID)), int64(0)}, func(sc scanner) error {
			var r enroll.Record
			var serial, key string
			var notAfter int64
			err := sc.Scan(&serial, &key, &r.Status, &notAfter, &r.TokenID, &r.DER)
			if err == nil {
				r.NotAfter = fromMicros(notAfter)
				r.Serial, err = pki.ParseSerial(serial)
			}
			if err == nil {
				r.KeyID, err = pki.ParseKeyID(key)
			}
			f.Certificates = append(f.Certificates, r)
			return err
		})
	if err != nil {
		return err
	}
	st, err := s.stmt(ctx, `SELECT `+waitingColumns+` FROM waiting WHERE device_id = $1 AND decision IN ('undecided', 'approved')`)
	if err != nil {
		return err
	}
	w, err := scanWaiting(st.QueryRowContext(ctx, f.Device.ID))
	return optional(&f.Waiting, w, err)
}

// Reservation is a certificate about to be signed.
type Reservation struct {
	Serial     pki.Serial
	Principal  string // "device/d42"
	Profile    string
	KeyID      pki.KeyID
	CA         string
	NotBefore  time.Time
	NotAfter   time.Time
	At         time.Time
	Credential string
	TokenID    string // token whose use is counted
	WaitingID  string // approved request that this completes
	Device     *device.Device
	Create     bool // Device is new
}

// Reserve writes what is about to be signed: the certificate's row, the use of
// the token, the key's owner and, for a new device, its row in the inventory in
// state registered. A crash after it leaves a row that AbandonReserved undoes.
// ErrChanged if the token's quota, the key, the approval or the device are no
// longer as decided on.
func (s *Store) Reserve(ctx context.Context, r Reservation, events ...audit.Event) error {
	return s.write(ctx, "enrol.reserve", events, func(t *tx) error {
		if r.TokenID != "" {
			if err := t.one(`UPDATE token SET used = used + 1 WHERE id = $1 AND used < quota AND revoked_at = 0`, r.TokenID); err != nil {
				return err
			}
		}
		if r.WaitingID != "" {
			if err := t.one(`UPDATE waiting SET decision = 'done' WHERE id = $1 AND decision = 'approved'`, r.WaitingID); err != nil {
				return err
			}
		}
		if r.Create {
			d := *r.Device
			d.State = device.Registered
			if err := createDevice(t, d); err != nil {
				return err
			}
		}
		if err := claimKey(t, r.KeyID, r.Principal); err != nil {
			return err
		}
		return t.one(`INSERT INTO certificate (serial, principal, profile, key_id, ca_id, status, reason, not_before, not_after, reserved_at, revoked_at, token_id, waiting_id, credential)
			VALUES ($1, $2, $3, $4, $5, 'reserved', 0, $6, $7, $8, 0, $9, $10, $11)`,
			r.Serial.String(), r.Principal, r.Profile, r.KeyID.String(), r.CA, micros(r.NotBefore), micros(r.NotAfter), micros(r.At), r.TokenID, r.WaitingID, r.Credential)
	})
}

// claimKey makes principal the owner of a key, or finds that it is already.
func claimKey(t *tx, key pki.KeyID, principal string) error {
	n, err := t.exec(`INSERT INTO public_key (id, principal) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key.String(), principal)
	if err != nil || n == 1 {
		return err
	}
	var owner string
	if err := t.row(`SELECT principal FROM public_key WHERE id = $1`, []any{key.String()}, &owner); err != nil {
		return err
	}
	if owner != principal {
		return ErrChanged
	}
	return nil
}

// Commit makes a reserved certificate an issued one, moves its device (may be
// nil) from version d.Version-1 to its new state, and revokes what it
// supersedes. ErrChanged if the reservation was abandoned or the device moved on
// (quarantined, retired) since: then nothing is issued.
func (s *Store) Commit(ctx context.Context, serial pki.Serial, der []byte, d *device.Device, supersede []pki.Serial, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "enrol.commit", events, func(t *tx) error {
		// The device's row first, as in ChangeDevice: two transactions that lock
		// rows in different orders end in a deadlock.
		if d != nil {
			if err := setState(t, d); err != nil {
				return err
			}
		}
		if err := t.one(`UPDATE certificate SET status = 'issued', der = $1 WHERE serial = $2 AND status = 'reserved'`, der, serial.String()); err != nil {
			return err
		}
		for _, old := range supersede {
			if _, err := revokeOne(t, old.String(), pki.Superseded, at); err != nil {
				return err
			}
			if _, err := bumpChange(t, ChangeRevoked, old.String(), at); err != nil {
				return err
			}
		}
		return nil
	})
}

// Wait puts a request into the waiting room, with its new device if Create, and
// counts the token's use. ErrChanged if the device already waits.
func (s *Store) Wait(ctx context.Context, w enroll.Waiting, d *device.Device, create bool, tokenID string, events ...audit.Event) error {
	return s.write(ctx, "enrol.wait", events, func(t *tx) error {
		if tokenID != "" {
			if err := t.one(`UPDATE token SET used = used + 1 WHERE id = $1 AND used < quota AND revoked_at = 0`, tokenID); err != nil {
				return err
			}
		}
		if create {
			if err := createDevice(t, *d); err != nil {
				return err
			}
		} else if err := setState(t, d); err != nil {
			return err
		}
		return t.one(`INSERT INTO waiting (`+waitingColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
			w.ID, w.DeviceID, w.Type, w.Zone, w.KeyID, w.Credential, w.Source, micros(w.RequestedAt), w.Decision, micros(w.DecidedAt), w.DecidedBy, w.Reason)
	})
}

// Reserved is a reservation that was never completed.
type Reserved struct {
	Serial    string
	Principal string
	TokenID   string
	WaitingID string
}

// StaleReserved lists reservations made before a time, at most 1000.
func (s *Store) StaleReserved(ctx context.Context, before time.Time) (list []Reserved, err error) {
	err = s.all(ctx, `SELECT serial, principal, token_id, waiting_id FROM certificate WHERE status = 'reserved' AND reserved_at < $1 ORDER BY reserved_at LIMIT 1000`,
		[]any{micros(before)}, func(sc scanner) error {
			var r Reserved
			err := sc.Scan(&r.Serial, &r.Principal, &r.TokenID, &r.WaitingID)
			list = append(list, r)
			return err
		})
	return list, err
}

// Abandon ends a reservation whose certificate was never handed out: the token's
// use and the approval are given back. ErrChanged if it was completed meanwhile.
func (s *Store) Abandon(ctx context.Context, r Reserved, events ...audit.Event) error {
	return s.write(ctx, "enrol.abandon", events, func(t *tx) error {
		if err := t.one(`UPDATE certificate SET status = 'abandoned' WHERE serial = $1 AND status = 'reserved'`, r.Serial); err != nil {
			return err
		}
		if r.TokenID != "" {
			if _, err := t.exec(`UPDATE token SET used = used - 1 WHERE id = $1 AND used > 0`, r.TokenID); err != nil {
				return err
			}
		}
		if r.WaitingID != "" {
			_, err := t.exec(`UPDATE waiting SET decision = 'approved' WHERE id = $1 AND decision = 'done'
				AND NOT EXISTS (SELECT 1 FROM waiting o WHERE o.device_id = waiting.device_id AND o.decision IN ('undecided', 'approved'))`, r.WaitingID)
			return err
		}
		return nil
	})
}
