package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/postgres"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	pageTarget = 50 * time.Millisecond
	pageLength = 100
)

// fleet is an inventory made so that an index alone does not help: the first half has one type, zone, owner, state, site
// and tier, the second half the others, and one device in ten thousandths of the fleet has a single property of the
// other half. So each value is common, and two values of different halves are rare together.
type fleet int

func (n fleet) id(i int) device.ID { return device.ID(fmt.Sprintf("dev-%07d", i)) }

func (n fleet) device(i int, now time.Time) device.Device {
	first, odd := i < int(n)/2, i%max(10, int(n)/10) // odd picks about ten devices for each property
	pick := func(swapped int, a, b string) string {
		if first != (odd == swapped) {
			return a
		}
		return b
	}
	d := device.Device{ID: n.id(i), Type: device.TypeName(pick(0, "sensor", "meter")), Zone: device.ZoneName(pick(1, "north", "south")), Owner: pick(2, "team-a", "team-b"),
		Serial: fmt.Sprintf("SN%08d", i), Manufacturer: "Example Works", State: device.State(pick(3, "active", "enrolled")),
		Labels: map[string]string{"site": pick(4, "east", "west"), "tier": pick(5, "gold", "silver")}, CreatedAt: now, UpdatedAt: now, EnrolledAt: now, Version: 1}
	switch {
	case i%5000 == 13:
		d.State = device.Quarantined
	case i%1000 == 7:
		d.Owner = fmt.Sprintf("person-%d", i%70)
		d.Labels["batch"] = fmt.Sprintf("b%05d", i/10_000)
	}
	return d
}

// fill inserts the whole fleet, ten thousand devices in a transaction.
func (n fleet) fill(ctx context.Context, store *sqlstore.Store) (time.Duration, error) {
	const chunk = 10_000
	began := time.Now()
	for start := 0; start < int(n); start += chunk {
		list := make([]device.Device, min(chunk, int(n)-start))
		for i := range list {
			list[i] = n.device(start+i, began)
		}
		if clashes, err := store.InsertDevices(ctx, list, sqlstore.Placed{}, nil); err != nil || len(clashes) > 0 {
			return 0, fmt.Errorf("filling the inventory: %d clashes, %w", len(clashes), err)
		}
	}
	return time.Since(began), nil
}

// listing is one kind of question; after says whether it asks for a page in the middle.
type listing struct {
	what   string
	filter device.Filter
	after  bool
}

func site(name string) map[string]string { return map[string]string{"site": name} }

// listings asks for each field alone, in the middle of the list, and for the combinations that are hardest: values that
// are common alone and rare together, so that no one index leads to the rows.
var listings = []listing{
	{"everything", device.Filter{}, false},
	{"everything, page in the middle", device.Filter{}, true},
	{"type", device.Filter{Type: "sensor"}, false},
	{"type, page in the middle", device.Filter{Type: "meter"}, true},
	{"zone", device.Filter{Zone: "south"}, false},
	{"state, common", device.Filter{State: device.Active}, false},
	{"state, rare", device.Filter{State: device.Quarantined}, false},
	{"owner, common", device.Filter{Owner: "team-b"}, false},
	{"owner, rare", device.Filter{Owner: "person-7"}, false},
	{"serial", device.Filter{Serial: "SN00001234"}, false},
	{"prefix, wide", device.Filter{IDPrefix: "dev-0"}, false},
	{"prefix, narrow", device.Filter{IDPrefix: "dev-00012"}, false},
	{"label, common", device.Filter{Labels: site("west")}, false},
	{"label, common, page in the middle", device.Filter{Labels: site("west")}, true},
	{"label, rare", device.Filter{Labels: map[string]string{"batch": "b00003"}}, false},
	{"type and zone, rare together", device.Filter{Type: "sensor", Zone: "south"}, false},
	{"type and state, rare together", device.Filter{Type: "sensor", State: device.Enrolled}, false},
	{"zone and state, rare together", device.Filter{Zone: "north", State: device.Enrolled}, false},
	{"type, zone and state, rare together", device.Filter{Type: "sensor", Zone: "north", State: device.Enrolled}, false},
	{"type and owner, rare together", device.Filter{Type: "sensor", Owner: "team-b"}, false},
	{"zone and owner, rare together", device.Filter{Zone: "north", Owner: "team-b"}, false},
	{"state and owner, rare together", device.Filter{State: device.Active, Owner: "team-b"}, false},
	{"label and state, rare together", device.Filter{State: device.Active, Labels: site("west")}, false},
	{"label and type, rare together", device.Filter{Type: "sensor", Labels: site("west")}, false},
	{"label and zone, rare together", device.Filter{Zone: "north", Labels: site("west")}, false},
	{"label and owner, rare together", device.Filter{Owner: "team-a", Labels: site("west")}, false},
	{"two labels, rare together", device.Filter{Labels: map[string]string{"site": "east", "tier": "silver"}}, false},
	{"label and rare state", device.Filter{State: device.Quarantined, Labels: site("west")}, false},
	{"owner and rare state", device.Filter{State: device.Quarantined, Owner: "team-b"}, false},
	{"prefix and type, rare together", device.Filter{IDPrefix: "dev-00", Type: "meter"}, false},
	{"prefix and label, rare together", device.Filter{IDPrefix: "dev-00", Labels: site("west")}, false},
	{"prefix, type and owner, rare together", device.Filter{IDPrefix: "dev-0", Type: "sensor", Owner: "team-b"}, false},
}

// inventory measures how long a page of a large inventory takes.
func (b *bench) inventory(ctx context.Context) (string, error) {
	lite, notes := make([]pageTimes, len(listings)), ""
	if b.sqlite {
		store, err := sqlite.Open(ctx, filepath.Join(b.dir, "devices.db"), sqlstore.Faults{})
		if err != nil {
			return "", err
		}
		defer store.Close()
		if lite, notes, err = b.pages(ctx, store, "SQLite", func() error { return nil }); err != nil {
			return "", err
		}
	}
	pg := make([]pageTimes, len(listings))
	if b.postgres {
		p, err := startPostgres()
		if err != nil {
			return "", err
		}
		defer p.close()
		store, err := postgres.Open(ctx, p.database(), sqlstore.Faults{})
		if err != nil {
			return "", err
		}
		defer store.Close()
		more := ""
		// What autovacuum does within minutes after a large import.
		if pg, more, err = b.pages(ctx, store, "PostgreSQL", func() error { return p.exec(ctx, "VACUUM ANALYZE") }); err != nil {
			return "", err
		}
		notes += more
	}
	rows := [][]string{{"page of devices by", "rows", "SQLite p50 ms", "p99 ms", "PostgreSQL p50 ms", "p99 ms", fmt.Sprintf("p99 under %s", pageTarget)}}
	for i, l := range listings {
		found := fmt.Sprint(max(lite[i].rows, pg[i].rows))
		if lite[i].more || pg[i].more {
			found += ", more"
		}
		row := []string{l.what, found, "", "", "", "", verdict(max(lite[i].p99, pg[i].p99) < pageTarget)}
		if b.sqlite {
			row[2], row[3] = ms(lite[i].p50), ms(lite[i].p99)
		}
		if b.postgres {
			row[4], row[5] = ms(pg[i].p50), ms(pg[i].p99)
		}
		rows = append(rows, row)
	}
	return table(rows) + fmt.Sprintf("\n%s devices with two labels each, pages of %d, through the store's own query, one at a time. A listing looks at 2,500 rows of one index at most: a page of rare devices may be short and say where to go on. %s\n", thousands(float64(b.devices)), pageLength, notes), nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }

type pageTimes struct {
	rows     int
	more     bool // there is a next page
	p50, p99 time.Duration
}

// pages fills a database and asks every listing up to 200 times, for at most a second.
func (b *bench) pages(ctx context.Context, store *sqlstore.Store, name string, settle func() error) ([]pageTimes, string, error) {
	n := fleet(b.devices)
	took, err := n.fill(ctx, store)
	if err == nil {
		err = settle()
	}
	if err != nil {
		return nil, "", err
	}
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]pageTimes, len(listings))
	for i, l := range listings {
		var times []time.Duration
		for began := time.Now(); len(times) < 200 && (len(times) < 5 || time.Since(began) < time.Second); {
			p := device.Page{Limit: pageLength}
			if l.after {
				p.After = n.id(random.IntN(b.devices))
			}
			asked := time.Now()
			found, next, err := store.Devices(ctx, l.filter, p)
			if err != nil {
				return nil, "", fmt.Errorf("listing by %s on %s: %w", l.what, name, err)
			}
			times = append(times, time.Since(asked))
			list[i].rows, list[i].more = len(found), next != ""
		}
		list[i].p50, list[i].p99 = percentile(times, 50), percentile(times, 99)
	}
	return list, fmt.Sprintf("%s took %s to fill (%s devices/s).", name, took.Round(time.Second), thousands(float64(b.devices)/took.Seconds())) + " ", nil
}
