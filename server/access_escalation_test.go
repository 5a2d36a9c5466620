package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// office is a world whose clock a test can move.
type office struct {
	*accessWorld
	ahead *atomic.Int64 // nanoseconds
}

func enterOffice(t *testing.T) office {
	ahead := &atomic.Int64{}
	return office{enterAccess(t, nil, Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}), ahead}
}

func (o office) pass(d time.Duration) { o.ahead.Add(int64(d)) }

// want checks the status and code of an answer; an empty code is any.
func (w *accessWorld) want(what string, got response, status int, code string) {
	w.t.Helper()
	if got.status != status || code != "" && got.code() != code {
		w.t.Errorf("%s: want %d %s, got %v", what, status, code, got)
	}
}

// asked is the id of the request that waits for a second person.
func (w *accessWorld) asked(what string, got response) string {
	w.t.Helper()
	var p adminapi.Pending
	if got.status != http.StatusAccepted || json.Unmarshal([]byte(got.body), &p) != nil || p.Approval.ID == "" {
		w.t.Fatalf("%s does not wait for a second person: %v", what, got)
	}
	return p.Approval.ID
}

func grant(kind access.SubjectKind, subject, role string) request {
	return request{method: "POST", path: "/grants", body: map[string]any{"kind": kind, "subject": subject, "role": role, "reason": "test"}}
}

func approve(id string) request {
	return request{method: "POST", path: "/approvals/" + id + "/approve", body: map[string]any{"comment": "looked at"}}
}

func (w *accessWorld) stateOf(id string) access.ApprovalState {
	w.t.Helper()
	a, err := w.Approval(w.t.Context(), id)
	w.ok(err)
	return a.State
}

// rolesOf are the names of the roles that somebody has.
func (w *accessWorld) rolesOf(kind access.SubjectKind, subject string) string {
	w.t.Helper()
	grants, err := w.Grants(w.t.Context(), kind, subject)
	w.ok(err)
	var names []string
	for _, g := range grants {
		names = append(names, g.Role)
	}
	return strings.Join(names, " ")
}

// TestMoreThanOneHas tries to come by permissions that nobody gave.
func TestMoreThanOneHas(t *testing.T) {
	w := enterAccess(t, nil, Options{})
	_, err := w.CreateRole(t.Context(), operator, access.Role{Name: "giver", Permissions: []access.Permission{access.RoleRead, access.RoleWrite}})
	w.ok(err)
	w.person("keeper", everything("admin")) // somebody else is an administrator
	for _, kind := range []access.SubjectKind{access.ToPerson, access.ToClient} {
		var giver *caller
		if kind == access.ToPerson {
			giver = w.as(w.person("giver", everything("giver")), 0)
		} else {
			giver = w.client("giver", everything("giver"))
		}
		other := w.person("other-of-" + string(kind))
		before := w.rolesOf(kind, giver.id)
		for name, q := range map[string]request{
			"giving oneself a role": grant(kind, giver.id, "admin"), "giving oneself what one has": grant(kind, giver.id, "giver"), "giving more than one has": grant(access.ToPerson, string(other.ID), "operator"),
			"widening the role one has": {method: "PUT", path: "/roles/giver", reason: "test", body: map[string]any{"version": 1, "permissions": []access.Permission{access.RoleRead, access.RoleWrite, access.DeviceRead}}},
			"making a role of more":     {method: "POST", path: "/roles", reason: "test", body: map[string]any{"name": "more", "permissions": []access.Permission{access.CARotate}}},
		} {
			got := giver.do(q)
			if name == "making a role of more" && got.status < 300 { // it does nothing until it is given
				got = giver.do(grant(access.ToPerson, string(other.ID), "more"))
			}
			if got.status < 300 && got.status != http.StatusAccepted {
				t.Errorf("%s, as a %s: %v", name, kind, got)
			}
		}
		if after := w.rolesOf(kind, giver.id); after != before || w.rolesOf(access.ToPerson, string(other.ID)) != "" {
			t.Errorf("a %s with %q has %q now, and somebody else %q", kind, before, after, w.rolesOf(access.ToPerson, string(other.ID)))
		}
		r, err := w.customRole(t.Context(), "giver")
		if w.ok(err); len(r.Permissions) != 2 {
			t.Errorf("the role has %v now", r.Permissions)
		}
	}
}

// TestKeysOfPrograms checks that a key does no more than its client may, from where
// and as long as it may.
func TestKeysOfPrograms(t *testing.T) {
	o := enterOffice(t)
	ctx := t.Context()
	zones, zone := request{method: "GET", path: "/zones"}, request{method: "POST", path: "/zones", body: map[string]any{"name": "new-zone"}}
	admin := o.client("writer", everything("admin"))
	narrow := o.key("narrow", admin.id, adminapi.KeyInput{Permissions: []access.Permission{access.ZoneRead}, ValidFor: adminapi.Duration(2 * time.Hour)})
	o.want("reading with a narrow key", narrow.do(zones), 200, "")
	o.want("writing with a narrow key", narrow.do(zone), 403, "not-permitted")
	reader := o.client("reader", everything("viewer"))
	wide := o.key("wide", reader.id, adminapi.KeyInput{Permissions: []access.Permission{access.ZoneRead, access.ZoneWrite}, ValidFor: adminapi.Duration(2 * time.Hour)})
	o.want("writing with a key that names more than its client may", wide.do(zone), 403, "not-permitted")

	far, err := o.CreateClient(ctx, operator, access.APIClient{Name: "far", Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	o.ok(err)
	o.give(access.ToClient, far.ID, everything("viewer"))
	if got := o.key("far", far.ID, adminapi.KeyInput{ValidFor: adminapi.Duration(time.Hour)}).do(zones); got.status != 401 && got.status != 403 {
		t.Errorf("from a network that is not the client's: %v", got)
	}

	_, keys, err := o.Server.Client(ctx, reader.id)
	o.ok(err)
	o.want("before", reader.do(zones), 200, "")
	for _, k := range keys {
		o.ok(o.RevokeKey(ctx, operator, reader.id, k.ID))
	}
	o.want("with a revoked key", reader.do(zones), 401, "")
	o.want("with another revoked key", wide.do(zones), 401, "")
	_, err = o.SetClientDisabled(ctx, operator, admin.id, true, "test")
	o.ok(err)
	o.want("of a disabled client", narrow.do(zones), 401, "")
	_, err = o.SetClientDisabled(ctx, operator, admin.id, false, "test")
	o.ok(err)
	o.want("of an enabled client", narrow.do(zones), 200, "")
	o.pass(2 * time.Hour)
	o.want("with a key that has expired", narrow.do(zones), 401, "")
}

// TestSecondPerson checks who can be one, and when.
func TestSecondPerson(t *testing.T) {
	o := enterOffice(t)
	ctx := t.Context()
	ada, bob, carol := o.person("ada", everything("admin")), o.person("bob", everything("admin")), o.person("carol")
	ask := func() string {
		t.Helper()
		return o.asked("giving a role", o.as(ada, 0).do(grant(access.ToPerson, string(carol.ID), "viewer")))
	}
	id := ask()
	o.want("oneself", o.as(ada, 0).do(approve(id)), 403, "own-request")
	o.want("a program", o.client("robot", everything("admin")).do(approve(id)), 403, "not-a-person")
	o.want("the admin token", o.root.do(approve(id)), 403, "not-a-person")
	o.want("who shows no fresh factor", o.as(bob, time.Hour).do(approve(id)), 403, "step-up-needed")
	o.want("who may not decide", o.as(o.person("viv", everything("viewer")), 0).do(approve(id)), 403, "not-permitted")
	if o.rolesOf(access.ToPerson, string(carol.ID)) != "" || o.stateOf(id) != access.ApprovalWaiting {
		t.Fatalf("it is %s, and she has %q", o.stateOf(id), o.rolesOf(access.ToPerson, string(carol.ID)))
	}
	o.want("a second person", o.as(bob, 0).do(approve(id)), 200, "")
	if o.rolesOf(access.ToPerson, string(carol.ID)) != "viewer" || o.stateOf(id) != access.ApprovalDone {
		t.Errorf("it is %s, and she has %q", o.stateOf(id), o.rolesOf(access.ToPerson, string(carol.ID)))
	}
	o.want("twice", o.as(bob, 0).do(approve(id)), 409, "already-decided")

	dave := o.person("dave")
	late := o.asked("giving a role", o.as(ada, 0).do(grant(access.ToPerson, string(dave.ID), "viewer")))
	o.pass(o.cfg.Access.ApprovalLife)
	o.want("too late", o.as(bob, 0).do(approve(late)), 409, "approval-expired")
	lost := o.asked("giving a role", o.as(ada, 0).do(grant(access.ToPerson, string(dave.ID), "viewer")))
	grants, err := o.Grants(ctx, access.ToPerson, string(ada.ID))
	o.ok(err)
	o.ok(o.RevokeGrant(ctx, operator, grants[0].ID, "test"))
	o.as(bob, 0).do(approve(lost))
	if o.rolesOf(access.ToPerson, string(dave.ID)) != "" || o.stateOf(lost) != access.ApprovalFailed {
		t.Errorf("what somebody asked for who may not any more is %s, and he has %q", o.stateOf(lost), o.rolesOf(access.ToPerson, string(dave.ID)))
	}
}

// TestManyInARow checks that many devices changed one by one are many too.
func TestManyInARow(t *testing.T) {
	o := enterOffice(t)
	ada, bob := o.person("ada", everything("admin")), o.person("bob", everything("admin"))
	_, err := o.CreateZone(t.Context(), operator, device.Zone{Name: "plant"})
	o.ok(err)
	_, err = o.CreateType(t.Context(), operator, device.Type{Name: "pump"})
	o.ok(err)
	o.want("a device", o.root.do(request{method: "POST", path: "/devices", body: map[string]any{"id": "pump-9", "type": "pump", "zone": "plant"}}), 201, "")
	move := func(move string) request {
		return request{method: "POST", path: "/devices/pump-9/" + move, body: map[string]any{"reason": "leak in hall 4"}}
	}
	held := func() bool {
		t.Helper()
		d, err := o.Server.Device(t.Context(), "pump-9")
		o.ok(err)
		return d.State == device.Quarantined
	}
	for i := range access.ManyDevices / 2 {
		o.want(fmt.Sprint("quarantine ", i), o.as(ada, 0).do(move("quarantine")), 200, "")
		o.want(fmt.Sprint("release ", i), o.as(ada, 0).do(move("release")), 200, "")
	}
	id := o.asked("one more", o.as(ada, 0).do(move("quarantine")))
	if held() {
		t.Fatal("it happened without a second person")
	}
	o.asked("two at once, after the many", o.as(ada, 0).do(request{method: "POST", path: "/devices/quarantine", body: map[string]any{"ids": []string{"pump-9", "pump-8"}, "reason": "leak"}}))
	o.asked("another way to do it", o.as(ada, 0).do(move("revoke")))
	o.asked("yet another", o.as(ada, 0).do(request{method: "POST", path: "/certificates/00ff/revoke", body: map[string]any{"reason": "superseded"}}))
	o.want("no reason", o.as(ada, 0).do(request{method: "POST", path: "/devices/pump-9/quarantine", body: map[string]any{"reason": " "}}), 422, "no-reason")
	o.want("a second person", o.as(bob, 0).do(approve(id)), 200, "")
	if !held() {
		t.Error("it was approved and has not happened")
	}
	o.want("somebody else has their own ten", o.as(bob, 0).do(move("release")), 200, "")
	for range access.ManyDevices {
		o.want("the admin token", o.root.do(move("quarantine")), 200, "")
		o.want("the admin token", o.root.do(move("release")), 200, "")
	}
	o.pass(access.ManyWindow)
	o.want("an hour after the first", o.as(ada, 0).do(move("quarantine")), 200, "")
}

// TestMovedMeanwhile moves a device to another zone at every reading of the clock
// of a request by somebody who may act in the first zone only: whenever the move
// comes before the change, there is no change.
func TestMovedMeanwhile(t *testing.T) {
	var hook atomic.Pointer[func()]
	w := enterAccess(t, nil, Options{Now: func() time.Time {
		if f := hook.Load(); f != nil {
			(*f)()
		}
		return time.Now()
	}})
	ctx := t.Context()
	for _, zone := range []device.ZoneName{"near", "far"} {
		_, err := w.CreateZone(ctx, operator, device.Zone{Name: zone})
		w.ok(err)
	}
	_, err := w.CreateType(ctx, operator, device.Type{Name: "pump"})
	w.ok(err)
	near := w.client("near", given{role: "operator", scope: access.Scope{Zones: []device.ZoneName{"near"}}})
	refused := map[string]int{}
	for k := range 60 {
		move, change := []string{"quarantine", "maintenance"}[k%2], map[string]any{"reason": "test", "on": true}
		if move == "quarantine" {
			delete(change, "on")
		}
		id := fmt.Sprint("pump-", k)
		d, err := w.CreateDevice(ctx, operator, device.Device{ID: device.ID(id), Type: "pump", Zone: "near"})
		w.ok(err)
		left, moved := atomic.Int32{}, make(chan device.Device, 1)
		left.Store(int32(k / 2))
		at := func() {
			if left.Add(-1) != -1 {
				return
			}
			gone := make(chan struct{})
			go func() { // not here: who reads the clock may hold what this needs
				defer close(gone)
				d, err := w.Server.Device(ctx, d.ID)
				if err == nil {
					d.Zone = "far"
					d, err = w.UpdateDevice(ctx, operator, d)
				}
				if err == nil {
					moved <- d
				}
			}()
			select {
			case <-gone:
			case <-time.After(50 * time.Millisecond):
			}
		}
		hook.Store(&at)
		got := near.do(request{method: "POST", path: "/devices/" + id + "/" + move, body: change})
		hook.Store(nil)
		after, err := w.Server.Device(ctx, d.ID)
		w.ok(err)
		changed := func(d device.Device) bool { return d.State == device.Quarantined || d.Maintenance }
		select {
		case then := <-moved:
			if !changed(then) && changed(after) {
				t.Errorf("moved at reading %d of the clock, it was changed afterwards: %s, %v", k/2, move, got)
			}
			if !changed(then) {
				refused[move]++
				w.want(fmt.Sprint(move, " of a device that has left"), got, 404, "no-such-device")
			}
		default: // the request read the clock less often
		}
	}
	if refused["quarantine"] == 0 || refused["maintenance"] == 0 {
		t.Errorf("nothing moved in time: %v", refused)
	}
}

// TestLastAdministrator checks that one is left, whatever two of them do at once.
func TestLastAdministrator(t *testing.T) {
	w := enterAccess(t, nil, Options{})
	var ids []string
	for _, name := range []string{"ada", "bob"} {
		grants, err := w.Grants(t.Context(), access.ToPerson, string(w.person(name, everything("admin")).ID))
		w.ok(err)
		ids = append(ids, grants[0].ID)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(ids))
	for i, id := range ids {
		wg.Go(func() { errs[i] = w.RevokeGrant(t.Context(), operator, id, "test") })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("of two administrators whose role is taken at once: %v, %v", errs[0], errs[1])
	}
	for _, err := range errs {
		if err != nil && refusal.As(err).Code != "last-admin" {
			t.Error(err)
		}
	}
}

// TestRateOfOne checks that a program that asks too often is told so, and how long
// to wait, and that others are not.
func TestRateOfOne(t *testing.T) {
	w := enterAccess(t, nil, Options{})
	c, err := w.CreateClient(t.Context(), operator, access.APIClient{Name: "busy", Rate: 3})
	w.ok(err)
	w.give(access.ToClient, c.ID, everything("viewer"))
	busy, other := w.key("busy", c.ID, adminapi.KeyInput{ValidFor: adminapi.Duration(time.Hour)}), w.client("other", everything("viewer"))
	zones := request{method: "GET", path: "/zones"}
	for range 20 {
		got := busy.do(zones)
		if got.header.Get("RateLimit") == "" || got.header.Get("RateLimit-Policy") == "" {
			t.Fatalf("no word of the rate: %v", got.header)
		}
		if got.status == http.StatusTooManyRequests {
			if got.header.Get("Retry-After") == "" {
				t.Error("it is not told how long to wait")
			}
			w.want("somebody else", other.do(zones), 200, "")
			return
		}
	}
	t.Error("20 requests pass where 3 a minute may")
}
