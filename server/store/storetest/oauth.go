package storetest

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func tokenKey(id string, at time.Time) sqlstore.TokenKey {
	return sqlstore.TokenKey{ID: id, Sealed: []byte("sealed " + id), CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
}

var oauthWrites = []write{
	{method: "InsertTokenKey", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.InsertTokenKey(w.Context(), tokenKey("f-key", start), "", ev...)
		}
	}},
	{method: "RevokeAccessToken", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.RevokeAccessToken(w.Context(), "f-jti", start.Add(time.Minute), start, ev...)
		}
	}},
	{method: "UseJWT", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.UseJWT(w.Context(), "f-kind", "f-id", start.Add(time.Minute), ev...)
		}
	}},
	{method: "InsertDeviceCode", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			_, err := w.InsertDeviceCode(w.Context(), deviceHash("f"), []byte("one"), start, start.Add(time.Minute), 5)
			return err
		}
	}},
	{method: "UpdateDeviceCode", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.UpdateDeviceCode(w.Context(), deviceHash("f"), []byte("one"), []byte("two"), "p1", ev...)
		}
	}},
	{method: "TakeDeviceCode", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.TakeDeviceCode(w.Context(), deviceHash("f"), []byte("two"), ev...)
		}
	}},
	{method: "SweepOAuth", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.SweepOAuth(w.Context(), start.Add(2*time.Minute)) }
	}},
}

func deviceHash(code string) [32]byte { return sha256.Sum256([]byte(code)) }

func testOAuth(t *testing.T, b Backend) {
	t.Run("Keys", func(t *testing.T) { testTokenKeys(begin(t, b)) })
	t.Run("Revoked", func(t *testing.T) { testRevokedTokens(begin(t, b)) })
	t.Run("Once", func(t *testing.T) { testUsedJWTs(begin(t, b)) })
	t.Run("DeviceCodes", func(t *testing.T) { testDeviceCodes(begin(t, b)) })
	t.Run("Sweep", func(t *testing.T) { testOAuthSweep(begin(t, b)) })
}

// testTokenKeys has many nodes add a key at one moment: one does.
func testTokenKeys(w *world) {
	ctx, later := w.Context(), start.Add(time.Minute)
	n := w.won(all(8, func(i int) error { return w.InsertTokenKey(ctx, tokenKey(fmt.Sprint("k", i), start), "") }))
	w.same("keys added at once", n, 1)
	keys, err := w.TokenKeys(ctx, start)
	w.ok(err)
	w.same("keys", len(keys), 1)
	w.same("the key", keys[0], tokenKey(keys[0].ID, start))
	w.refused(func() error { return w.InsertTokenKey(ctx, tokenKey("late", later), "") })
	w.ok(w.InsertTokenKey(ctx, tokenKey("next", later), keys[0].ID))
	keys, err = w.TokenKeys(ctx, later)
	w.ok(err)
	w.same("the newest", keys[0].ID, "next")
	// Expired keys are neither listed nor in the way of the first after them.
	end := start.Add(2 * time.Hour)
	keys, err = w.TokenKeys(ctx, end)
	w.ok(err)
	w.same("keys at the end", len(keys), 0)
	w.ok(w.InsertTokenKey(ctx, tokenKey("fresh", end), ""))
}

func testRevokedTokens(w *world) {
	ctx, until := w.Context(), start.Add(time.Minute)
	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	w.same("revocations that counted", w.won(all(4, func(int) error { return w.RevokeAccessToken(ctx, "jti", until, start) })), 1)
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("changes", changes, []sqlstore.Change{{Version: before + 1, Kind: sqlstore.ChangeAccessToken, Subject: "jti", At: start}})
	ends, err := w.RevokedAccessTokens(ctx, start)
	w.ok(err)
	w.same("revoked", ends, map[string]time.Time{"jti": until})
	ends, err = w.RevokedAccessTokens(ctx, until)
	w.ok(err)
	w.same("revoked that ended", len(ends), 0)
	v, err := w.RevocationVersion(ctx)
	w.ok(err)
	w.same("what CRLs have to follow", v, int64(0))
}

func testUsedJWTs(w *world) {
	ctx, until := w.Context(), start.Add(time.Minute)
	w.same("uses that counted", w.won(all(8, func(int) error { return w.UseJWT(ctx, "a", "id", until) })), 1)
	w.ok(w.UseJWT(ctx, "b", "id", until))
	w.ok(w.UseJWT(ctx, "a", "id2", until))
}

func testDeviceCodes(w *world) {
	ctx, until := w.Context(), start.Add(time.Minute)
	hash := deviceHash("code")
	insert := func(code string, limit int) (bool, error) {
		return w.InsertDeviceCode(ctx, deviceHash(code), []byte("one"), start, until, limit)
	}
	ok, err := insert("code", 2)
	w.ok(err)
	w.same("added", ok, true)
	_, err = insert("code", 2)
	w.is(err, sqlstore.ErrChanged)
	ok, err = insert("other", 1)
	w.ok(err)
	w.same("added over the limit", ok, false)
	ok, err = w.InsertDeviceCode(ctx, deviceHash("later"), []byte("one"), until, until.Add(time.Minute), 1)
	w.ok(err)
	w.same("added when the other has ended", ok, true)
	w.ok(w.TakeDeviceCode(ctx, deviceHash("later"), []byte("one")))
	_, _, err = w.DeviceCode(ctx, deviceHash("other"))
	w.is(err, sqlstore.ErrNotFound)
	data, end, err := w.DeviceCode(ctx, hash)
	w.ok(err)
	w.same("data", string(data), "one")
	w.same("end", end, until)

	n := w.won(all(8, func(i int) error {
		return w.UpdateDeviceCode(ctx, hash, []byte("one"), fmt.Appendf(nil, "two %d", i), "p1")
	}))
	w.same("decisions that counted", n, 1)
	ok, err = insert("other", 1) // what a person decided on counts no more
	w.ok(err)
	w.same("added after a decision", ok, true)
	data, _, err = w.DeviceCode(ctx, hash)
	w.ok(err)
	w.refused(func() error { return w.TakeDeviceCode(ctx, hash, []byte("one")) })
	w.same("redemptions that counted", w.won(all(8, func(int) error { return w.TakeDeviceCode(ctx, hash, data) })), 1)
	_, _, err = w.DeviceCode(ctx, hash)
	w.is(err, sqlstore.ErrNotFound)
}

func testOAuthSweep(w *world) {
	ctx := w.Context()
	for i, until := range []time.Time{start, start.Add(time.Hour)} {
		name := fmt.Sprint(i)
		key := tokenKey(name, start.Add(time.Duration(i)*time.Second))
		key.ExpiresAt = until.Add(time.Minute)
		newest := ""
		if i > 0 {
			newest = "0"
		}
		w.ok(w.InsertTokenKey(ctx, key, newest))
		w.ok(w.RevokeAccessToken(ctx, name, until, start))
		w.ok(w.UseJWT(ctx, "a", name, until))
		_, err := w.InsertDeviceCode(ctx, deviceHash(name), []byte("x"), start, until, 9)
		w.ok(err)
	}
	w.ok(w.SweepOAuth(ctx, start.Add(30*time.Minute)))
	for _, table := range []string{"token_key", "revoked_access_token", "seen_once", "ceremony"} {
		var n int
		w.ok(w.raw.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n))
		w.same("rows left in "+table, n, 1)
	}
}
