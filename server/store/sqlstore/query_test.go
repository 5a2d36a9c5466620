package sqlstore

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
)

func TestTuples(t *testing.T) {
	for _, c := range []struct {
		rows, width int
		want        string
	}{{1, 1, "($1)"}, {1, 3, "($1, $2, $3)"}, {2, 2, "($1, $2), ($3, $4)"}, {3, 1, "($1), ($2), ($3)"}} {
		if got := tuples(c.rows, c.width); got != c.want {
			t.Errorf("tuples(%d, %d) = %s, want %s", c.rows, c.width, got, c.want)
		}
	}
	// PostgreSQL allows 65535 parameters, SQLite 32766.
	if n := max(insertChunk*deviceWidth, 3*insertChunk, entryChunk*6); n > 32766 {
		t.Errorf("an INSERT has %d parameters", n)
	}
	if n := strings.Count(deviceColumns, ",") + 1; n != deviceWidth || n != len(deviceArgs(nil, &device.Device{})) {
		t.Errorf("a device has %d columns, %d values and deviceWidth %d", n, len(deviceArgs(nil, &device.Device{})), deviceWidth)
	}
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// TestDeviceQuery makes the query of every combination of fields: parameters
// are numbered in order and no value stands in the text.
func TestDeviceQuery(t *testing.T) {
	const secret = "value-of-a-field"
	texts := map[string]bool{}
	for mask := range 128 {
		for labels := range 5 {
			var f device.Filter
			p := device.Page{Limit: 10}
			for i, set := range []func(){
				func() { f.Type = secret }, func() { f.Zone = secret }, func() { f.State = secret }, func() { f.Owner = secret },
				func() { f.Serial = secret }, func() { f.IDPrefix = secret }, func() { p.After = secret },
			} {
				if mask>>i&1 == 1 {
					set()
				}
			}
			for i := range labels {
				if f.Labels == nil {
					f.Labels = map[string]string{}
				}
				f.Labels[strconv.Itoa(i)+secret] = secret
			}
			l := newListing(f, p)
			query, args := l.page(10)
			edge, edgeArgs := l.edge()
			if strings.Count(edge, "$") != len(edgeArgs) || strings.Contains(edge, secret) {
				t.Fatalf("%d values for %s", len(edgeArgs), edge)
			}
			if strings.Contains(query, secret) {
				t.Fatalf("a value stands in the text: %s", query)
			}
			found := parameter.FindAllStringSubmatch(query, -1)
			if len(found) != len(args) {
				t.Fatalf("%d parameters and %d values: %s", len(found), len(args), query)
			}
			for i, m := range found {
				if m[1] != strconv.Itoa(i+1) {
					t.Fatalf("parameter %d is named %s: %s", i+1, m[0], query)
				}
			}
			if args[len(args)-1] != 10 {
				t.Fatalf("the last value is %v, not the limit", args[len(args)-1])
			}
			texts[query] = true
		}
	}
	if len(texts) != 128*5 {
		t.Errorf("%d combinations of fields make %d texts", 128*5, len(texts))
	}
}

func TestDeviceQueryText(t *testing.T) {
	columns := prefixedBy("d", deviceColumns)
	for _, c := range []struct {
		f    device.Filter
		p    device.Page
		want string
		args []any
	}{
		{device.Filter{}, device.Page{}, `SELECT ` + columns + ` FROM (SELECT ` + deviceColumns + ` FROM device ORDER BY id LIMIT $1) d ORDER BY d.id LIMIT $2`, []any{5, 5}},
		{device.Filter{State: device.Active, Type: "t", Owner: "o", IDPrefix: "a"}, device.Page{After: "a1"},
			`SELECT ` + columns + ` FROM (SELECT ` + deviceColumns + ` FROM device WHERE type = $1 AND state = $2 AND id >= $3 AND id < $4 AND id > $5 ORDER BY id LIMIT $6) d` +
				` WHERE d.owner = $7 AND d.owner <> '' ORDER BY d.id LIMIT $8`,
			[]any{device.TypeName("t"), device.Active, "a", "a~", device.ID("a1"), window, "o", 5}},
		{device.Filter{Labels: map[string]string{"y": "2", "x": "1"}}, device.Page{After: "a1"},
			`SELECT ` + columns + ` FROM (SELECT device_id FROM device_label WHERE name = $1 AND value = $2 AND device_id > $3 ORDER BY device_id LIMIT $4) l CROSS JOIN device d` +
				` WHERE d.id = l.device_id AND EXISTS (SELECT 1 FROM device_label o WHERE o.name = $5 AND o.value = $6 AND o.device_id = d.id) ORDER BY l.device_id LIMIT $7`,
			[]any{"x", "1", device.ID("a1"), window, "y", "2", 5}},
	} {
		query, args := newListing(c.f, c.p).page(5)
		if query != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.f, query, c.want)
		}
		if !reflect.DeepEqual(args, c.args) {
			t.Errorf("%+v: values %v, want %v", c.f, args, c.args)
		}
	}
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("x", 3600))
	if got := fromMicros(micros(at)); !got.Equal(at.Truncate(time.Microsecond)) || got.Location() != time.UTC {
		t.Errorf("%v came back as %v", at, got)
	}
	if !fromMicros(micros(time.Time{})).IsZero() {
		t.Error("no time came back as a time")
	}
}

func TestLabels(t *testing.T) {
	for _, labels := range []map[string]string{nil, {"a": ""}, {"a": "\"\\\n<é>", "b": "2"}} {
		got, err := parseLabels(formatLabels(labels))
		if err != nil || !reflect.DeepEqual(got, labels) {
			t.Errorf("%v came back as %v, %v", labels, got, err)
		}
	}
	if _, err := parseLabels(`{"a":`); err == nil {
		t.Error("broken labels were read")
	}
}
