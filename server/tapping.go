package server

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// What waits for the reader of a tap at most, in messages and in payload bytes.
const (
	maxTapped      = 1000
	maxTappedBytes = 4 << 20
)

// tapBuffer holds messages between the broker, which never waits, and the reader
// of a tap.
type tapBuffer struct {
	mu      sync.Mutex
	list    []adminapi.TapMessage // guarded by mu
	bytes   int                   // guarded by mu
	dropped int64                 // since the last take; guarded by mu
	wake    chan struct{}
}

// put never blocks. lost is how many messages before this one were dropped already.
func (b *tapBuffer) put(m adminapi.TapMessage, lost int) {
	size := len(m.Payload) + len(m.Topic)
	b.mu.Lock()
	b.dropped += int64(lost)
	if len(b.list) == maxTapped || b.bytes+size > maxTappedBytes && len(b.list) > 0 {
		b.dropped++
	} else {
		b.list, b.bytes = append(b.list, m), b.bytes+size
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *tapBuffer) take() (list []adminapi.TapMessage, dropped int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, dropped = b.list, b.dropped
	b.list, b.bytes, b.dropped = nil, 0, 0
	return list, dropped
}

// tap runs one tap: attach starts the flow of messages into put, which never
// blocks, and returns how to end it. It is recorded before the first message can
// pass that somebody watches, and at the end how much was seen.
func (s *Server) tap(ctx context.Context, by access.Actor, filter, audience string, yield func(adminapi.Tapped) error,
	attach func(put func(m adminapi.TapMessage, lost int)) (detach func(), err error)) (err error) {
	b := &tapBuffer{wake: make(chan struct{}, 1)}
	id := newID()
	if err := s.store.AppendOutbox(ctx, s.event(by, "tap.begun", "tap", id, "filter", filter, "audience", audience)); err != nil {
		return err
	}
	began, seen, dropped := s.now(), int64(0), int64(0)
	defer func() {
		end := s.event(by, "tap.ended", "tap", id, "filter", filter, "audience", audience, "messages", strconv.FormatInt(seen, 10),
			"dropped", strconv.FormatInt(dropped, 10), "lasted", s.now().Sub(began).Round(time.Millisecond).String())
		if aerr := s.store.AppendOutbox(context.WithoutCancel(ctx), end); aerr != nil {
			s.log.Error("recording the end of a tap", "tap", id, "messages", seen, "err", aerr)
		}
	}()
	detach, err := attach(b.put)
	if err != nil {
		return err
	}
	defer detach()
	if err := yield(adminapi.Tapped{Begun: true}); err != nil {
		return err
	}
	for {
		list, lost := b.take()
		for i := range list {
			switch err := yield(adminapi.Tapped{Message: &list[i]}); {
			case err == nil:
				seen++
			case !errors.Is(err, adminapi.ErrNotShown):
				return err
			}
		}
		if lost > 0 { // they came behind those that were kept
			dropped += lost
			if err := yield(adminapi.Tapped{Dropped: lost}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		}
	}
}

// Tap implements adminapi.Tap.
func (s *Server) Tap(ctx context.Context, by access.Actor, filter, audience string, yield func(adminapi.Tapped) error) error {
	if audience == "" {
		audience = policy.Operator
	}
	if err := mqtt.ValidFilter(filter); err != nil {
		return invalid("bad-filter", "write a topic filter such as water/+/pump-1/#", "the topic filter is not valid: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.taps, cancel) // they end when the server drains
	defer stop()
	return s.tap(ctx, by, filter, audience, yield, func(put func(adminapi.TapMessage, int)) (func(), error) {
		t, err := s.broker.Tap(filter, audience)
		if err != nil {
			return nil, err
		}
		watching, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { t.Run(watching, func(m broker.Tapped) { put(tapView(m), m.Dropped) }) })
		return func() { stop(); wg.Wait() }, nil
	})
}

func tapView(m broker.Tapped) adminapi.TapMessage {
	v := adminapi.TapMessage{Time: m.Time, Topic: m.Topic, QoS: int(m.QoS), Retain: m.Retain, Payload: m.Payload, Properties: []adminapi.Property{}, Hidden: m.Hidden, MoreMarks: m.More,
		From: adminapi.TapFrom{Kind: m.From.Kind, ID: m.From.ID, Type: m.From.Type}}
	for _, mark := range m.Marks {
		v.Marks = append(v.Marks, adminapi.TapMark{Path: mark.Path, Do: string(mark.Do)})
	}
	if m.Props != nil {
		for _, u := range m.Props.User {
			v.Properties = append(v.Properties, adminapi.Property{Name: string(u.Key), Value: string(u.Value)})
		}
	}
	return v
}
