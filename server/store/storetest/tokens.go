package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testTokens(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testTokenFields(settled(t, b)) })
	t.Run("Quota", func(t *testing.T) { testQuota(settled(t, b)) })
}

// token is a group token for meters in the lab.
func token(id string, quota int) enroll.Token {
	return enroll.Token{ID: id, Hash: [32]byte{1, 2, 0, 3}, Kind: enroll.Group, Type: "meter", Zone: "lab", Quota: quota,
		ExpiresAt: start.Add(time.Hour), CreatedAt: start, CreatedBy: "client:ann"}
}

func testTokenFields(w *world) {
	ctx := w.Context()
	tok := token("t1", 5)
	tok.DeviceID, tok.IDPrefix, tok.Labels, tok.Approval, tok.Used, tok.Note = "d1", "d", map[string]string{"a": "b"}, device.Manual, 2, "for the north site"
	w.ok(w.InsertToken(ctx, tok, w.event("token.created", "token", "t1")))
	got, err := w.Token(ctx, "t1")
	w.ok(err)
	w.same("the token", got, tok)
	_, err = w.Token(ctx, "t2")
	w.is(err, sqlstore.ErrNotFound)
	if w.InsertToken(ctx, tok) == nil {
		w.Fatal("a token's id was used twice")
	}
	later := token("t0", 1)
	later.CreatedAt = start.Add(time.Second)
	w.ok(w.InsertToken(ctx, later))
	list, err := w.Tokens(ctx)
	w.ok(err)
	w.same("tokens, newest first", list, []enroll.Token{later, tok})
	at := start.Add(time.Minute)
	w.ok(w.RevokeToken(ctx, "t1", at, w.event("token.revoked", "token", "t1")))
	w.refused(func() error { return w.RevokeToken(ctx, "t1", at, w.event("token.revoked", "token", "t1")) })
	w.refused(func() error { return w.RevokeToken(ctx, "t9", at, w.event("token.revoked", "token", "t9")) })
	got, err = w.Token(ctx, "t1")
	w.ok(err)
	w.same("revoked at", got.RevokedAt, at)

	d := thing("d9")
	r := w.reservation(&d)
	r.Create, r.TokenID = true, "t1"
	w.refused(func() error { return w.Reserve(ctx, r, w.event("certificate.reserved", "certificate", "x")) })
	w.refused(func() error {
		return w.Wait(ctx, request(w, "d9"), &d, true, "t1", w.event("enrolment.waiting", "device", "d9"))
	})
}

// testQuota lets 50 requests use a token at once, by Reserve and by Wait: as
// many succeed as it allows, and each success is a device with its event.
func testQuota(w *world) {
	ctx := w.Context()
	const quota = 7
	w.ok(w.InsertToken(ctx, token("t1", quota)))
	errs := all(50, func(i int) error {
		d := thing(device.ID(fmt.Sprint("d", i)))
		event := w.event("device.created", "device", string(d.ID))
		if i%2 == 0 {
			return w.Wait(ctx, request(w, d.ID), &d, true, "t1", event)
		}
		r := w.reservation(&d)
		r.Create, r.TokenID = true, "t1"
		return w.Reserve(ctx, r, event)
	})
	w.same("requests that got through", w.won(errs), quota)
	tok, err := w.Token(ctx, "t1")
	w.ok(err)
	w.same("uses", tok.Used, quota)
	w.same("devices", w.total(), int64(quota))
	w.same("events", w.events("device.created"), quota)
}

// total counts the devices of all states.
func (w *world) total() (n int64) {
	w.Helper()
	counts, err := w.CountByState(w.Context())
	w.ok(err)
	for _, c := range counts {
		n += c
	}
	return n
}
