package storetest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testClients(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testClientFields(begin(t, b)) })
	t.Run("Keys", func(t *testing.T) { testClientKeys(begin(t, b)) })
	t.Run("Unreadable", func(t *testing.T) { testUnreadableClients(begin(t, b)) })
	t.Run("Races", func(t *testing.T) { testClientRaces(begin(t, b)) })
}

func program(id, name string) access.APIClient {
	return access.APIClient{ID: id, Name: name, CreatedAt: start, CreatedBy: "client:admin", Version: 1}
}

func programKey(id, client string) sqlstore.APIKey {
	return sqlstore.APIKey{Key: access.Key{ID: id, Client: client, CreatedAt: start, CreatedBy: "person:p1", ExpiresAt: start.Add(time.Hour)}, Hash: [32]byte{1, 0, 3}}
}

var clientWrites = []write{
	{method: "InsertAPIClient", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertAPIClient(w.Context(), program("f-c", "f-name"), ev...) }
	}},
	{method: "UpdateAPIClient", prepare: func(w *world) func(...audit.Event) error {
		c := program("f-c", "f-name")
		c.Disabled, c.Version = true, 2
		return func(ev ...audit.Event) error { return w.UpdateAPIClient(w.Context(), c, start, ev...) }
	}},
	{method: "SetClientSecret", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.SetClientSecret(w.Context(), "f-c", []byte{7}, start, ev...) }
	}},
	{method: "InsertAPIKey", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertAPIKey(w.Context(), programKey("f-k", "f-c"), ev...) }
	}},
	{method: "UsedAPIKey", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.UsedAPIKey(w.Context(), "f-c", "f-k", 9) }
	}},
	{method: "RevokeAPIKey", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.RevokeAPIKey(w.Context(), "f-c", "f-k", start.Add(time.Minute), ev...)
		}
	}},
}

func testClientFields(w *world) {
	ctx := w.Context()
	c := program("c1", "export")
	c.Description, c.Owner, c.Rate, c.JWKS = "every night", "team-data", 600, `{"keys":[]}`
	c.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	w.ok(w.InsertAPIClient(ctx, c, w.event("client.created", "client", "c1")))
	w.refused(func() error {
		return w.InsertAPIClient(ctx, program("c2", "export"), w.event("client.created", "client", "c2"))
	})
	w.refused(func() error { return w.InsertAPIClient(ctx, program("c1", "other")) })
	for _, by := range []string{"c1", "export"} {
		got, err := w.APIClient(ctx, by)
		w.ok(err)
		w.same("the client by "+by, got, sqlstore.APIClient{APIClient: c})
	}
	_, err := w.APIClient(ctx, "c9")
	w.is(err, sqlstore.ErrNotFound)
	w.ok(w.InsertAPIClient(ctx, program("c0", "backup")))
	list, err := w.APIClients(ctx)
	w.ok(err)
	w.same("clients by name", list, []sqlstore.APIClient{{APIClient: program("c0", "backup")}, {APIClient: c}})

	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	c.Networks, c.Disabled, c.Version = nil, true, 2
	w.ok(w.UpdateAPIClient(ctx, c, start, w.event("client.updated", "client", "c1")))
	w.refused(func() error { return w.UpdateAPIClient(ctx, c, start, w.event("client.updated", "client", "c1")) })
	w.ok(w.SetClientSecret(ctx, "c1", []byte("hash"), start.Add(time.Second)))
	w.refused(func() error { return w.SetClientSecret(ctx, "c9", []byte("hash"), start) })
	c.HasSecret, c.Version = true, 3
	got, err := w.APIClient(ctx, "c1")
	w.ok(err)
	w.same("after updates", got, sqlstore.APIClient{APIClient: c, Secret: []byte("hash")})
	c.Version = 3 // made from the version before the secret
	w.refused(func() error { return w.UpdateAPIClient(ctx, c, start) })
	w.ok(w.SetClientSecret(ctx, "c1", nil, start.Add(2*time.Second)))
	got, err = w.APIClient(ctx, "c1")
	w.ok(err)
	w.same("whether it has a secret", got.HasSecret || got.Secret != nil, false)
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("what other nodes are told", changes, []sqlstore.Change{
		{Version: before + 1, Kind: sqlstore.ChangeAccess, Subject: "client/c1", At: start},
		{Version: before + 2, Kind: sqlstore.ChangeAccess, Subject: "client/c1", At: start.Add(time.Second)},
		{Version: before + 3, Kind: sqlstore.ChangeAccess, Subject: "client/c1", At: start.Add(2 * time.Second)}})
}

func testClientKeys(w *world) {
	ctx := w.Context()
	w.ok(w.InsertAPIClient(ctx, program("c1", "export")))
	w.ok(w.InsertAPIClient(ctx, program("c2", "backup")))
	full, none, young := programKey("k1", "c1"), programKey("k2", "c1"), programKey("k3", "c1")
	full.Permissions, full.Note = []access.Permission{access.DeviceRead}, "north"
	none.Permissions = []access.Permission{} // no permission is not the same as all of the client's
	young.CreatedAt = start.Add(time.Second)
	for _, k := range []sqlstore.APIKey{full, none, young} {
		w.ok(w.InsertAPIKey(ctx, k, w.event("client.key_created", "client", "c1")))
		got, err := w.APIKey(ctx, k.ID)
		w.ok(err)
		w.same("the key "+k.ID, got, k)
	}
	if w.InsertAPIKey(ctx, full) == nil {
		w.Fatal("a key's id was used twice")
	}
	if w.InsertAPIKey(ctx, programKey("k9", "c9")) == nil {
		w.Fatal("a client that is not there got a key")
	}
	_, err := w.APIKey(ctx, "k9")
	w.is(err, sqlstore.ErrNotFound)
	list, err := w.APIKeys(ctx, "c1")
	w.ok(err)
	w.same("keys, newest first", list, []sqlstore.APIKey{young, full, none})
	list, err = w.APIKeys(ctx, "c2")
	w.ok(err)
	w.same("keys of another client", len(list), 0)

	for _, day := range []int64{20_000, 19_000} { // an earlier day changes nothing
		w.ok(w.UsedAPIKey(ctx, "c1", "k1", day))
	}
	w.ok(w.UsedAPIKey(ctx, "c2", "", 20_001))
	got, err := w.APIKey(ctx, "k1")
	w.ok(err)
	w.same("the day of use", got.UsedOn, int64(20_000))
	w.same("the day of use as text", got.UsedDay, "2024-10-04")
	for id, want := range map[string]string{"c1": "2024-10-04", "c2": "2024-10-05"} {
		c, err := w.APIClient(ctx, id)
		w.ok(err)
		w.same("the day of use of "+id, c.UsedDay, want)
	}

	at, before := start.Add(time.Minute), int64(0)
	before, err = w.ChangeVersion(ctx)
	w.ok(err)
	w.refused(func() error {
		return w.RevokeAPIKey(ctx, "c2", "k1", at, w.event("client.key_revoked", "client", "c2"))
	})
	w.same("revocations that counted", w.won(all(4, func(int) error { return w.RevokeAPIKey(ctx, "c1", "k1", at) })), 1)
	got, err = w.APIKey(ctx, "k1")
	w.ok(err)
	w.same("revoked at", got.RevokedAt, at)
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("what other nodes are told", changes, []sqlstore.Change{{Version: before + 1, Kind: sqlstore.ChangeAccess, Subject: "key/k1", At: at}})
}

// testUnreadableClients spoils what bounds a client and a key: reading fails, and
// neither becomes unbounded.
func testUnreadableClients(w *world) {
	ctx := w.Context()
	c, k := program("c1", "export"), programKey("k1", "c1")
	c.Networks, k.Permissions = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []access.Permission{access.DeviceRead}
	w.ok(w.InsertAPIClient(ctx, c))
	w.ok(w.InsertAPIKey(ctx, k))
	w.exec(`UPDATE api_client SET networks = '["192.0.2.0/'`)
	w.exec(`UPDATE api_key SET permissions = ''`)
	if got, err := w.APIClient(ctx, "c1"); err == nil {
		w.Fatalf("networks that are cut off were read: %v", got.Networks)
	}
	if got, err := w.APIKey(ctx, "k1"); err == nil {
		w.Fatalf("permissions that are cut off were read: %v", got.Permissions)
	}
}

func testClientRaces(w *world) {
	ctx := w.Context()
	errs := all(8, func(i int) error {
		return w.InsertAPIClient(ctx, program(fmt.Sprint("c", i), "export"), w.event("client.created", "client", "c"))
	})
	w.same("clients of one name", w.won(errs), 1)
	c, err := w.APIClient(ctx, "export")
	w.ok(err)
	errs = all(8, func(i int) error {
		d := c.APIClient
		d.Disabled, d.Version = i%2 == 0, 2
		return w.UpdateAPIClient(ctx, d, start, w.event("client.updated", "client", d.ID))
	})
	w.same("updates of one version", w.won(errs), 1)
	w.same("events", w.events("client.created")+w.events("client.updated"), 2)
}
