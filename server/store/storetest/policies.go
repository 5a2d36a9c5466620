package storetest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testPolicies(t *testing.T, b Backend) {
	t.Run("Versions", func(t *testing.T) { testPolicyVersions(settled(t, b)) })
	t.Run("Race", func(t *testing.T) { testPolicyRace(settled(t, b)) })
	t.Run("AppTokens", func(t *testing.T) { testAppTokens(settled(t, b)) })
	t.Run("Facts", func(t *testing.T) { testFactChanges(settled(t, b)) })
}

func policyVersion(n int64) sqlstore.PolicyVersion {
	files := []byte(fmt.Sprintf("the files of %d, with a zero \x00 byte", n))
	return sqlstore.PolicyVersion{Version: n, CreatedAt: start.Add(time.Duration(n) * time.Minute), CreatedBy: "client:ann", Message: fmt.Sprint("change ", n),
		SHA256: fmt.Sprintf("%064x", n), Size: int64(len(files)), Files: files}
}

func testPolicyVersions(w *world) {
	ctx := w.Context()
	_, err := w.PolicyVersion(ctx, 0)
	w.is(err, sqlstore.ErrNotFound)
	apply := func(n int64) error {
		return w.ApplyPolicy(ctx, policyVersion(n), w.event("policy.applied", "policy", strconv.FormatInt(n, 10)))
	}
	w.refused(func() error { return apply(2) }) // there is no 1 yet
	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	for n := int64(1); n <= 3; n++ {
		w.ok(apply(n))
		w.refused(func() error { return apply(n) })
		w.refused(func() error { return apply(n + 2) })
		active, err := w.PolicyVersion(ctx, 0)
		w.ok(err)
		w.same("the active policy", active, policyVersion(n))
	}
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	for i, c := range changes {
		w.same("the control event", c, sqlstore.Change{Version: before + int64(i) + 1, Kind: sqlstore.ChangePolicy, Subject: strconv.Itoa(i + 1), At: policyVersion(int64(i + 1)).CreatedAt})
	}
	w.same("control events", len(changes), 3)
	old, err := w.PolicyVersion(ctx, 1)
	w.ok(err)
	w.same("the first policy", old, policyVersion(1))
	_, err = w.PolicyVersion(ctx, 4)
	w.is(err, sqlstore.ErrNotFound)

	for _, c := range []struct {
		before int64
		limit  int
		want   []int64
	}{{0, 10, []int64{3, 2, 1}}, {0, 2, []int64{3, 2}}, {3, 1, []int64{2}}, {1, 10, nil}} {
		list, err := w.PolicyVersions(ctx, c.before, c.limit)
		w.ok(err)
		var got []int64
		for _, v := range list {
			want := policyVersion(v.Version)
			want.Files = nil
			w.same("a listed version", v, want)
			got = append(got, v.Version)
		}
		w.same("versions", got, c.want)
	}
}

// testPolicyRace lets operators apply at once on the same version: one of them
// wins each time.
func testPolicyRace(w *world) {
	ctx := w.Context()
	for n := int64(1); n <= 5; n++ {
		errs := all(8, func(i int) error {
			v := policyVersion(n)
			v.CreatedBy = fmt.Sprint("client:", i)
			return w.ApplyPolicy(ctx, v, w.event("policy.applied", "policy", "x"))
		})
		w.same("operators who won", w.won(errs), 1)
		w.same("events", w.events("policy.applied"), int(n))
	}
}

func appToken(id, app string) sqlstore.AppToken {
	return sqlstore.AppToken{ID: id, App: app, Hash: [32]byte{9, 8, 0, 7}, CreatedAt: start, CreatedBy: "client:ann", ExpiresAt: start.Add(time.Hour), Note: "the control room"}
}

func testAppTokens(w *world) {
	ctx := w.Context()
	one, two, other := appToken("t1", "scada"), appToken("t2", "scada"), appToken("t3", "historian")
	two.CreatedAt, other.CreatedAt = start.Add(time.Second), start.Add(2*time.Second)
	for _, t := range []sqlstore.AppToken{one, two, other} {
		w.ok(w.InsertAppToken(ctx, t, w.event("app.token_created", "app", t.App)))
	}
	if w.InsertAppToken(ctx, one) == nil {
		w.Fatal("a token's id was used twice")
	}
	_, err := w.AppToken(ctx, "t9")
	w.is(err, sqlstore.ErrNotFound)
	got, err := w.AppToken(ctx, "t1")
	w.ok(err)
	w.same("the token", got, one)
	list, err := w.AppTokens(ctx, "scada")
	w.ok(err)
	w.same("an app's tokens, newest first", list, []sqlstore.AppToken{two, one})
	list, err = w.AppTokens(ctx, "")
	w.ok(err)
	w.same("all tokens", list, []sqlstore.AppToken{other, two, one})

	w.ok(w.UsedAppToken(ctx, "t1", 20_000))
	w.unchanged(func() { w.ok(w.UsedAppToken(ctx, "t1", 19_999)) })
	at := start.Add(time.Minute)
	revoke := func(app, id string) error {
		return w.RevokeAppToken(ctx, app, id, at, w.event("app.token_revoked", "app", app))
	}
	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	w.refused(func() error { return revoke("historian", "t1") })
	w.refused(func() error { return revoke("scada", "t9") })
	w.ok(revoke("scada", "t1"))
	w.refused(func() error { return revoke("scada", "t1") })
	one.UsedDay, one.RevokedAt = 20_000, at
	got, err = w.AppToken(ctx, "t1")
	w.ok(err)
	w.same("the token after use and revocation", got, one)
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("the control event", changes, []sqlstore.Change{{Version: before + 1, Kind: sqlstore.ChangeAppToken, Subject: "t1", At: at}})
}

// testFactChanges checks that what policy decides on is told to all nodes when it
// changes: once for each device, and once for an import of many.
func testFactChanges(w *world) {
	ctx := w.Context()
	seen, err := w.ChangeVersion(ctx)
	w.ok(err)
	next := func(kind sqlstore.ChangeKind, subject string) {
		w.Helper()
		changes, err := w.Changes(ctx, seen)
		w.ok(err)
		if len(changes) != 1 || changes[0].Kind != kind || changes[0].Subject != subject {
			w.Fatalf("the control events are %+v, want one %s of %q", changes, kind, subject)
		}
		seen = changes[0].Version
	}
	w.add(thing("d1"))
	next(sqlstore.ChangeDevice, "d1")
	w.add(thing("d2"), thing("d3"), thing("d4"))
	next(sqlstore.ChangeDevices, "")
	w.unchanged(func() {
		clashes, err := w.InsertDevices(ctx, []device.Device{thing("d5"), thing("d1")}, placed(), nil)
		w.ok(err)
		w.same("clashes", len(clashes), 1)
	})

	d := w.moved(w.device("d1"), device.Registered)
	d.Labels = map[string]string{"line": "2"}
	w.ok(w.UpdateDevice(ctx, d, placed(), w.event("device.updated", "device", "d1")))
	next(sqlstore.ChangeDevice, "d1")
	for _, on := range []bool{true, false, true} {
		stale := d
		stale.Version += 2
		w.refused(func() error {
			return w.SetMaintenance(ctx, stale, w.event("device.maintenance_begun", "device", "d1"))
		})
		d = w.moved(d, device.Registered)
		d.Maintenance = on
		w.ok(w.SetMaintenance(ctx, d, w.event("device.maintenance_begun", "device", "d1")))
		next(sqlstore.ChangeDevice, "d1")
		w.same("the device", w.device("d1"), d)
	}
	d = w.moved(d, device.Registered)
	d.Maintenance = false // which an update does not touch
	w.ok(w.UpdateDevice(ctx, d, placed(), w.event("device.updated", "device", "d1")))
	w.same("maintenance after an update", w.device("d1").Maintenance, true)
}
