package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/device"
)

// FleetCount is how many devices of a type stand in a zone in a state.
type FleetCount struct {
	Zone    device.ZoneName
	Type    device.TypeName
	Profile string // of the type: device or gateway
	State   device.State
	Count   int64
}

// FleetCounts counts all devices by zone, type and state. It reads the whole
// inventory: remember the answer for a while.
func (s *Store) FleetCounts(ctx context.Context) (list []FleetCount, err error) {
	err = s.all(ctx, `SELECT c.zone, c.type, t.profile, c.state, c.n
		FROM (SELECT zone, type, state, COUNT(*) AS n FROM device GROUP BY zone, type, state) c JOIN device_type t ON t.name = c.type
		ORDER BY c.zone, c.type, c.state`, nil, func(sc scanner) error {
		var c FleetCount
		err := sc.Scan(&c.Zone, &c.Type, &c.Profile, &c.State, &c.Count)
		list = append(list, c)
		return err
	})
	return list, err
}

// Ending is a certificate that ends soon and that no longer one of its principal
// follows, with where its device stands.
type Ending struct {
	Serial    string
	Principal string // "device/d42"
	Profile   string
	NotBefore time.Time
	NotAfter  time.Time
	Zone      device.ZoneName // of devices and gateways in the inventory, as the next two
	Type      device.TypeName
	Labels    map[string]string
}

// ending selects certificates: those that servers renew for their own listeners,
// that have a successor, or whose device is retired, concern nobody.
const ending = ` FROM certificate c LEFT JOIN device d ON c.profile IN ('device', 'gateway') AND d.id = SUBSTR(c.principal, LENGTH(c.profile) + 2)
	WHERE c.not_after >= $1 AND c.not_after < $2 AND c.status = 'issued' AND c.credential <> 'system:listener' AND COALESCE(d.state, '') <> 'retired'
	AND NOT EXISTS (SELECT 1 FROM certificate n WHERE n.principal = c.principal AND n.not_after > c.not_after AND n.status = 'issued')`

// due is a certificate that should have been renewed: five sixths of its life are
// over. A certificate that is short on purpose is not due because it is short.
const due = `(c.not_after - $1) * 6 < c.not_after - c.not_before`

// Endings lists the certificates that end within a time; those that are due, counted
// from the begin of that time, are before the others, and the first to end before
// those that end later.
func (s *Store) Endings(ctx context.Context, from, before time.Time, limit int) (list []Ending, err error) {
	err = s.all(ctx, `SELECT c.serial, c.principal, c.profile, c.not_before, c.not_after, COALESCE(d.zone, ''), COALESCE(d.type, ''), COALESCE(d.labels, '')`+
		ending+` ORDER BY CASE WHEN `+due+` THEN 0 ELSE 1 END, c.not_after, c.serial LIMIT $3`, []any{micros(from), micros(before), limit}, func(sc scanner) error {
		var e Ending
		var begin, end int64
		var labels string
		if err := sc.Scan(&e.Serial, &e.Principal, &e.Profile, &begin, &end, &e.Zone, &e.Type, &labels); err != nil {
			return err
		}
		e.NotBefore, e.NotAfter = fromMicros(begin), fromMicros(end)
		var err error
		e.Labels, err = parseLabels(labels)
		list = append(list, e)
		return err
	})
	return list, err
}

// EndingCount is how many certificates end within a time.
type EndingCount struct {
	Zone  device.ZoneName // empty: not of a device in the inventory
	Type  device.TypeName
	Count int64
	Due   int64 // of them: they should have been renewed
}

// CountEndings counts what Endings lists, by zone and type.
func (s *Store) CountEndings(ctx context.Context, from, before time.Time) (list []EndingCount, err error) {
	err = s.all(ctx, `SELECT COALESCE(d.zone, ''), COALESCE(d.type, ''), COUNT(*), SUM(CASE WHEN `+due+` THEN 1 ELSE 0 END)`+ending+` GROUP BY COALESCE(d.zone, ''), COALESCE(d.type, '')`,
		[]any{micros(from), micros(before)}, func(sc scanner) error {
			var c EndingCount
			err := sc.Scan(&c.Zone, &c.Type, &c.Count, &c.Due)
			list = append(list, c)
			return err
		})
	return list, err
}
