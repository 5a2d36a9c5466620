package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testLife(t *testing.T, b Backend) {
	t.Run("Reopen", func(t *testing.T) { testReopen(settled(t, b)) })
	if b.Shared {
		t.Run("OpenTogether", func(t *testing.T) { testOpenTogether(t, b) })
	}
	t.Run("Closed", func(t *testing.T) { testClosed(rough(t, b)) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(rough(t, b)) })
}

// testReopen writes with every method, closes, opens and finds all of it.
func testReopen(w *world) {
	for _, c := range writes {
		do := c.prepare(w)
		if c.silent {
			w.ok(do())
		} else {
			w.ok(do(w.event("test.write", "method", c.method)))
		}
	}
	before := w.dump()
	w.ok(w.Close())
	again := enter(w.T, w.b, w.where, sqlstore.Faults{})
	if after := again.dump(); !bytes.Equal(before, after) {
		w.Fatalf("after closing and opening:\n%s", difference(before, after))
	}
	again.ok(again.Ping(w.Context()))
	again.add(thing("after"))
}

// testOpenTogether opens an empty database several times at once, as servers
// that start together do.
func testOpenTogether(t *testing.T, b Backend) {
	where := b.place(t, true)
	for _, err := range all(4, func(i int) error {
		s, err := b.Open(t.Context(), where, sqlstore.Faults{})
		if err != nil {
			return err
		}
		defer s.Close()
		return s.InsertZone(t.Context(), zone(device.ZoneName(fmt.Sprint("z", i))))
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	w := enter(t, b, where, sqlstore.Faults{})
	list, err := w.Zones(t.Context())
	w.ok(err)
	w.same("zones", len(list), 4)
}

// testClosed uses a store while it is closed and after: errors, no hanging, and
// what was acknowledged is there.
func testClosed(w *world) {
	ctx := w.Context()
	reached, closed := make(chan struct{}, 100), make(chan error)
	go func() {
		for range 10 {
			<-reached
		}
		closed <- w.Close()
	}()
	errs := all(40, func(i int) error {
		_, err := w.InsertDevices(ctx, []device.Device{thing(device.ID(fmt.Sprint("d", i)))}, placed(), nil)
		reached <- struct{}{}
		return err
	})
	w.ok(<-closed)
	if w.AppendOutbox(ctx, w.event("a.b", "device", "d")) == nil || w.Ping(ctx) == nil {
		w.Fatal("a closed store answers")
	}
	if _, err := w.Zones(ctx); err == nil {
		w.Fatal("a closed store answers")
	}
	again := enter(w.T, w.b, w.where, sqlstore.Faults{})
	for i, err := range errs {
		if err == nil {
			again.device(device.ID(fmt.Sprint("d", i)))
		}
	}
}

// testCancelled cancels contexts before and during writes and reads.
func testCancelled(w *world) {
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	w.unchanged(func() {
		_, err := w.InsertDevices(ctx, []device.Device{thing("never")}, placed(), nil, w.event("device.created", "device", "never"))
		w.is(err, context.Canceled)
	})
	_, _, err := w.Devices(ctx, device.Filter{}, device.Page{Limit: 1})
	w.is(err, context.Canceled)

	ctx, cancel = context.WithCancel(w.Context())
	defer cancel()
	errs := all(40, func(i int) error {
		if i == 20 {
			cancel()
		}
		d := thing(device.ID(fmt.Sprint("d", i)))
		_, err := w.InsertDevices(ctx, []device.Device{d}, placed(), nil, w.event("device.created", "device", string(d.ID)))
		return err
	})
	for i, err := range errs {
		if err == nil {
			w.device(device.ID(fmt.Sprint("d", i)))
		} else if !errors.Is(err, context.Canceled) {
			w.Fatalf("the error is %v, want %v", err, context.Canceled)
		}
	}
	// A write that the cancellation overtook may still be under way: one that
	// has to wait for the same rows comes after it.
	z := zone("lab")
	z.Version, z.UpdatedAt = 2, start.Add(time.Second)
	w.ok(w.UpdateZone(w.Context(), z))
	w.same("events of the devices", int64(w.events("device.created")), w.total())
}
