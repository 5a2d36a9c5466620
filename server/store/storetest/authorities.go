package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testAuthorities(t *testing.T, b Backend) {
	w := begin(t, b)
	ctx := w.Context()
	root := sqlstore.CA{ID: "r1", Role: "root", DER: []byte{0, 1}, Status: "active", CreatedAt: start, NotAfter: start.Add(9 * time.Hour)}
	first := sqlstore.CA{ID: "i1", Role: "issuing", DER: []byte{0, 2}, KeyName: "issuing-1", Status: "active", CreatedAt: start, NotAfter: start.Add(time.Hour)}
	version, err := w.InsertCAs(ctx, []sqlstore.CA{root, first}, start, w.event("ca.created", "ca", "r1"))
	w.ok(err)
	w.same("the newest version", version, int64(2))
	w.refused(func() error {
		second := first
		second.ID = "i9"
		_, err := w.InsertCAs(ctx, []sqlstore.CA{second, root}, start, w.event("ca.created", "ca", "i9"))
		return err
	})
	second := first
	second.ID, second.KeyName, second.CreatedAt = "i2", "issuing-2", start.Add(time.Minute)
	_, err = w.InsertCAs(ctx, []sqlstore.CA{second}, start.Add(time.Minute), w.event("ca.rotated", "ca", "i2"))
	w.ok(err)
	first.Status = "retiring"
	list, err := w.CAs(ctx)
	w.ok(err)
	w.same("the hierarchy, newest first", list, []sqlstore.CA{second, first, root})
	changes, err := w.Changes(ctx, 2)
	w.ok(err)
	w.same("the control event", changes, []sqlstore.Change{{Version: 3, Kind: sqlstore.ChangeAuthority, Subject: "i2", At: start.Add(time.Minute)}})

	number, der, err := w.CRL(ctx, "i2", -1)
	w.ok(err)
	w.same("no CRL yet", []any{number, len(der)}, []any{int64(0), 0})
	_, _, err = w.CRL(ctx, "i9", 0)
	w.is(err, sqlstore.ErrNotFound)

	// Of several nodes that make the CRL with the next number, one stores it.
	for n := int64(1); n <= 5; n++ {
		errs := all(6, func(i int) error {
			return w.StoreCRL(ctx, "i2", n, []byte(fmt.Sprintf("crl %d by %d", n, i)), start.Add(time.Hour), n*10)
		})
		w.same("stored CRLs of one number", w.won(errs), 1)
		number, der, err = w.CRL(ctx, "i2", n-1)
		w.ok(err)
		w.same("number", number, n)
		for i, err := range errs {
			if err == nil {
				w.same("the stored CRL", string(der), fmt.Sprintf("crl %d by %d", n, i))
			}
		}
		w.refused(func() error { return w.StoreCRL(ctx, "i2", n, []byte("late"), start, 99) })
		w.refused(func() error { return w.StoreCRL(ctx, "i2", n+2, []byte("early"), start, 99) })
	}
	number, der, err = w.CRL(ctx, "i2", 5)
	w.ok(err)
	w.same("the list that the caller has", []any{number, len(der)}, []any{int64(5), 0})
	list, err = w.CAs(ctx)
	w.ok(err)
	w.same("what the row says of it", []any{list[0].CRLNumber, list[0].CRLUntil, list[0].CRLChange}, []any{int64(5), start.Add(time.Hour), int64(50)})
	w.refused(func() error { return w.StoreCRL(ctx, "i9", 1, nil, start, 0) })
}
