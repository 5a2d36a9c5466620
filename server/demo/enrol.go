package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// atOnce is how many devices talk to the server at the same moment.
const atOnce = 8

// together runs do for each thing that fits, atOnce at a time. It returns the
// first error that is not a refusal; refusals are kept with their things.
func (s *stage) together(fits func(*thing) bool, do func(*thing) error) error {
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	failed := make([]error, len(s.things))
	for i, t := range s.things {
		if !fits(t) {
			continue
		}
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			err := do(t)
			switch _, pending := errors.AsType[*est.Pending](err); {
			case err == nil:
				t.refused = nil
			case pending:
				t.waiting = true
			case problemOf(err) != nil:
				t.refused = err
			default:
				failed[i] = fmt.Errorf("device %s: %w", t.row.ID, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// lookAtStates asks the inventory what became of the fleet since an earlier run.
// A device that was cut off stays so; a certificate that the server does not know
// any more, after its data was lost, is forgotten.
func (s *stage) lookAtStates(ctx context.Context) error {
	return s.together(func(*thing) bool { return true }, func(t *thing) error {
		d, err := s.api.Device(ctx, t.row.ID)
		if p, ok := errors.AsType[*adminapi.Problem](err); ok && p.Status == http.StatusNotFound {
			t.use(nil)
			return nil
		}
		if err != nil {
			return err
		}
		t.state, t.row.Zone = d.State, d.Zone
		switch d.State {
		case device.Quarantined, device.Retired:
			t.cutOff = true
		case device.Registered:
			t.cutOff = t.cert != nil // an operator revoked it
		}
		return nil
	})
}

// tokenOf is the token that a device of this run got; nil if none.
func (s *stage) tokenOf(t *thing) *madeToken {
	if made := s.tokens[tokenUse{device: t.row.ID}]; made != nil {
		return made
	}
	return s.tokens[tokenUse{zone: t.row.Zone}]
}

// enrolAll lets all devices enrol at the same time.
func (s *stage) enrolAll(ctx context.Context) error {
	started := s.now()
	if err := s.together((*thing).mustEnrol, func(t *thing) error { return t.enrol(ctx, s) }); err != nil {
		return fmt.Errorf("enrolling: %w", err)
	}
	if err := s.enrolAgain(ctx); err != nil {
		return fmt.Errorf("enrolling: %w", err)
	}
	if n := s.number(func(t *thing) bool { return t.fresh || t.waiting }); n > 0 {
		s.tale.line("devices", "%s enrol at the same time over EST: answered in %s", count(n, "device"), s.now().Sub(started).Round(time.Millisecond))
	}
	return nil
}

// enrolAgain helps devices whose files were lost while the server still knows
// their old certificates: a group token does not replace those, a token made for
// the device does.
func (s *stage) enrolAgain(ctx context.Context) error {
	lost := func(t *thing) bool { p := problemOf(t.refused); return p != nil && p.Code == "already-enrolled" }
	for _, t := range s.things {
		if lost(t) {
			if err := s.oneTimeToken(ctx, t); err != nil {
				return err
			}
		}
	}
	return s.together(lost, func(t *thing) error { return t.enrol(ctx, s) })
}

func (s *stage) number(of func(*thing) bool) (n int) {
	for _, t := range s.things {
		if of(t) {
			n++
		}
	}
	return n
}

// approveWaiting compares keys and approves; then the devices ask again. They do
// not wait as long as they were told, because the story would.
func (s *stage) approveWaiting(ctx context.Context) error {
	room, err := s.api.Waiting(ctx)
	if err != nil {
		return fmt.Errorf("looking into the waiting room: %w", err)
	}
	for _, t := range s.things {
		if p := problemOf(t.refused); p != nil && p.Code == "other-key-waiting" {
			if err := s.rejectOld(ctx, t, room); err != nil {
				return err
			}
		}
	}
	if room, err = s.api.Waiting(ctx); err != nil {
		return fmt.Errorf("looking into the waiting room: %w", err)
	}
	var names []string
	for _, t := range s.things {
		for _, w := range room {
			if !t.waiting || w.DeviceID != t.row.ID || w.Decision != enroll.Undecided || w.KeyID != t.keyID() {
				continue
			}
			if _, err := s.api.DecideWaiting(ctx, w.ID, true, "compared the key with the device's label"); unreachable(err) {
				return fmt.Errorf("approving device %s: %w", t.row.ID, err)
			}
			names = append(names, fmt.Sprintf("%s (key %s…)", t.row.ID, w.KeyID[:8]))
		}
	}
	if len(names) == 0 {
		return nil
	}
	s.tale.line("devices", "%s told to wait for an operator", count(len(names), "camera"))
	s.tale.line(who, "compared the keys and approved %s", strings.Join(names, ", "))
	return s.together(func(t *thing) bool { return t.waiting }, func(t *thing) error { return t.enrol(ctx, s) })
}

// rejectOld ends a request with a key that was lost, and asks with the present one.
func (s *stage) rejectOld(ctx context.Context, t *thing, room []enroll.Waiting) error {
	for _, w := range room {
		if w.DeviceID == t.row.ID && w.Decision == enroll.Undecided && w.KeyID != t.keyID() {
			if _, err := s.api.DecideWaiting(ctx, w.ID, false, "the device has another key now"); unreachable(err) {
				return fmt.Errorf("rejecting an old request of device %s: %w", t.row.ID, err)
			}
		}
	}
	return s.together(func(x *thing) bool { return x == t }, func(t *thing) error { return t.enrol(ctx, s) })
}

// keyID is what the waiting room shows of the device's key.
func (t *thing) keyID() string {
	id, err := pki.KeyIDOf(t.key.Public())
	if err != nil {
		return ""
	}
	return id.String()
}

// report says how the devices came in, a line for each way.
func (s *stage) report(context.Context) error {
	for _, w := range ways {
		var names []string
		for _, t := range s.things {
			if t.fresh && t.kind.Enrolment == w.way {
				names = append(names, string(t.row.ID))
			}
		}
		if len(names) > 0 {
			s.tale.line("devices", "%d enrolled %s: %s", len(names), w.with, strings.Join(names, ", "))
		}
	}
	if n := s.number(func(t *thing) bool { return t.cert != nil && !t.fresh && !t.cutOff }); n > 0 {
		s.tale.line("devices", "%s still have their certificates from an earlier run", count(n, "device"))
	}
	for _, t := range s.things {
		if t.cutOff {
			s.tale.line("devices", "%s is %s: it stays cut off", t.row.ID, t.state)
		} else if t.refused != nil {
			s.tale.line("devices", "%s was refused: %v", t.row.ID, t.refused)
		}
	}
	return nil
}

// checkIn lets new devices use their certificates; then they are active.
func (s *stage) checkIn(ctx context.Context) error {
	fresh := func(t *thing) bool { return t.fresh && t.cert != nil }
	n := s.number(fresh)
	if n == 0 {
		return nil
	}
	if err := s.together(fresh, func(t *thing) error { return t.checkIn(ctx, s) }); err != nil {
		return fmt.Errorf("using the new certificates: %w", err)
	}
	s.tale.line("devices", "%s used their certificates over mutual TLS: they are active now", count(n, "device"))
	return nil
}

// renewOne renews one device, and those whose certificates ended while nothing
// ran: they are in their grace time.
func (s *stage) renewOne(ctx context.Context) error {
	now := s.now()
	late := func(t *thing) bool { return t.cert != nil && !t.cutOff && now.After(t.cert.NotAfter) }
	n := s.number(late)
	if err := s.together(late, func(t *thing) error { return t.renew(ctx, s) }); err != nil {
		return fmt.Errorf("renewing late: %w", err)
	}
	if n > 0 {
		s.tale.line("devices", "%s renewed late, in their grace time", count(n, "device"))
	}
	for _, t := range s.things {
		if t.cert == nil || t.cutOff || string(t.row.ID) == stolenID {
			continue
		}
		old := t.cert.SerialNumber
		err := t.renew(ctx, s)
		if problemOf(err) != nil {
			continue // it has many certificates, or an operator stopped it: another one
		}
		if err != nil {
			return fmt.Errorf("renewing device %s: %w", t.row.ID, err)
		}
		s.tale.line("devices", "%s renewed with its certificate: serial %s after %s", t.row.ID, short(t.cert.SerialNumber), short(old))
		s.current = t.cert
		return nil
	}
	return nil
}
