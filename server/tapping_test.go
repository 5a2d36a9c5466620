package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func TestTap(t *testing.T) {
	r := start(t, tempData(t), Options{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const many = 2*maxTapped + 5
	attached, detached := 0, 0
	seen, dropped := 0, int64(0)
	attach := func(put func(adminapi.TapMessage, int)) (func(), error) {
		attached++
		for range many { // all before the reader takes any: those that have no room are counted
			put(adminapi.TapMessage{Topic: "t"}, 0)
		}
		return func() { detached++ }, nil
	}
	err := r.tap(ctx, operator, "water/#", "public", func(s adminapi.Tapped) error {
		if s.Message != nil {
			seen++
		}
		if dropped += s.Dropped; s.Dropped > 0 {
			stop()
		}
		return nil
	}, attach)
	if err != nil || seen != maxTapped || dropped != many-maxTapped || attached != 1 || detached != 1 {
		t.Errorf("got %v, %d seen, %d dropped, %d attached, %d detached", err, seen, dropped, attached, detached)
	}
	full := errors.New("the reader is gone")
	if err := r.tap(t.Context(), operator, "#", "", func(adminapi.Tapped) error { return full }, attach); err != full || detached != 2 {
		t.Errorf("got %v, %d detached", err, detached)
	}
	refused := errors.New("no such audience")
	if err := r.tap(t.Context(), operator, "#", "", nil, func(func(adminapi.TapMessage, int)) (func(), error) { return nil, refused }); err != refused {
		t.Errorf("got %v", err)
	}
	var begun, ended int
	r.sequenced()
	entries, err := r.Entries(t.Context(), adminapi.AuditFilter{Action: "tap.*", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		switch e := entry.Event; e.Action {
		case "tap.begun":
			begun++
		case "tap.ended":
			ended++
			if e.Details["filter"] == "water/#" && (e.Details["messages"] != "1000" || e.Details["dropped"] != "1005" || e.Details["audience"] != "public") {
				t.Errorf("the end says %v", e.Details)
			}
		}
	}
	if begun != 3 || ended != 3 {
		t.Errorf("%d began and %d ended", begun, ended)
	}
}

// TestTapBytes bounds what waits in bytes; one message always has room.
func TestTapBytes(t *testing.T) {
	b := &tapBuffer{wake: make(chan struct{}, 1)}
	big := adminapi.TapMessage{Payload: make([]byte, maxTappedBytes)}
	for range 3 {
		b.put(big, 0)
	}
	if list, dropped := b.take(); len(list) != 1 || dropped != 2 {
		t.Errorf("%d wait and %d were dropped", len(list), dropped)
	}
	if list, dropped := b.take(); len(list) != 0 || dropped != 0 {
		t.Errorf("%d wait and %d were dropped", len(list), dropped)
	}
	b.put(adminapi.TapMessage{Topic: "t"}, 7) // the broker dropped some before it
	if list, dropped := b.take(); len(list) != 1 || dropped != 7 {
		t.Errorf("%d wait and %d were dropped", len(list), dropped)
	}
}

// TestTapCountsWhatWasShown: what its reader may not see, or did not ask for, is not
// counted as seen.
func TestTapCountsWhatWasShown(t *testing.T) {
	r := start(t, tempData(t), Options{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := r.tap(ctx, operator, "water/#", "", func(s adminapi.Tapped) error {
		switch {
		case s.Message == nil:
			return nil
		case s.Message.Topic == "hidden":
			return fmt.Errorf("of another zone: %w", adminapi.ErrNotShown)
		}
		stop()
		return nil
	}, func(put func(adminapi.TapMessage, int)) (func(), error) {
		for _, topic := range []string{"hidden", "hidden", "shown"} {
			put(adminapi.TapMessage{Topic: topic}, 0)
		}
		return func() {}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.sequenced()
	entries, err := r.Entries(t.Context(), adminapi.AuditFilter{Action: "tap.ended", Limit: 10})
	if err != nil || len(entries) != 1 || entries[0].Event.Details["messages"] != "1" {
		t.Errorf("recorded is %+v, %v", entries, err)
	}
}
