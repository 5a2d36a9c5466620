package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/device"
)

// Who does what in the story of messages.
const (
	doserID   = "doser-plant-1"
	valveID   = "valve-plant-1"
	liarID    = "level-plant-2" // speaks in the name of victimID
	victimID  = "pump-plant-1"
	flooderID = "level-plant-3"
	snoopID   = "camera-plant-gate" // listens to everything
	leakedID  = "flow-plant-2"      // its old certificate is revoked
	rogueID   = "pump-intake-2"     // commands others when the story is told, again and again
)

const (
	floodSize = 200 // messages at once
	tooMany   = 6   // doses in a row: more than the interlock lets through
)

// linkOf is the connection of a device or app; nil when it has none, because an
// operator cut it off or made another policy.
func (s *stage) linkOf(ctx context.Context, id string) *link {
	m := s.live.members[id]
	if m == nil {
		return nil
	}
	l, err := m.link(ctx, atRest, nil)
	if err != nil {
		return nil
	}
	return l
}

// topicAt is a topic of a device by id.
func (s *stage) topicAt(id, rest string) string {
	t, err := s.thing(id)
	if err != nil {
		return "water/" + id + "/" + rest
	}
	return topicOf(t, rest)
}

// stopped tells of something that was refused: what was tried, the answer, and
// the rule that decided. That it was let through is an error, unless the policy is
// somebody else's.
func (s *stage) stopped(ctx context.Context, l *link, topic, what string, err error) error {
	a := refused(err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case a == nil && err != nil:
		return fmt.Errorf("trying what must be refused: %s: %w", what, err)
	case a == nil && s.ours:
		return fmt.Errorf("trying what must be refused: %s: the server let it through", what)
	case a == nil:
		s.tale.line("allowed", "%s: this policy lets it through", what)
		return nil
	}
	s.tale.line("refused", "%s", what)
	s.tale.detail("answer", "%v", a)
	s.tale.detail("rule", "%s", s.ruleOf(ctx, l.id, topic))
	return nil
}

// ruleOf asks the server which rule refused a client's topic.
func (s *stage) ruleOf(ctx context.Context, clientID, topic string) string {
	v, err := s.api.Session(ctx, clientID)
	if err != nil {
		return "not known: " + err.Error()
	}
	for i := len(v.Refusals) - 1; i >= 0; i-- {
		if r := v.Refusals[i]; r.Topic == topic && r.Rule != "" {
			return r.Rule
		}
	}
	return "none: what no rule allows is refused"
}

// showViews sends one message that two audiences see differently.
func (s *stage) showViews(ctx context.Context) error {
	l := s.linkOf(ctx, snoopID)
	if l == nil || s.scada == nil || s.reader == nil || s.linkOf(ctx, scadaName) == nil || s.linkOf(ctx, readerName) == nil {
		return nil
	}
	topic := s.topicAt(snoopID, "telemetry")
	seen := map[string]<-chan []byte{scadaName: s.scada.expect(topic), readerName: s.reader.expect(topic)}
	sent := mustJSON(map[string]any{"at": s.now().UTC().Format(time.RFC3339), "motion": true, "guard": "Ida",
		"location": map[string]float64{"lat": 48.20849, "lon": 16.37208}})
	if err := l.publish(ctx, topic, sent, false); err != nil {
		return s.unless(err, "sending as "+snoopID)
	}
	s.tale.line("privacy", "%s sends its place and its guard; each reader sees what its audience may", snoopID)
	for _, name := range []string{scadaName, readerName} {
		got, err := awaitPerson(ctx, seen[name])
		if err != nil {
			return s.unless(err, "waiting for what "+name+" sees")
		}
		s.tale.detail(name, "%s", got)
	}
	return nil
}

// rogueEvery is how often the misbehaving device tries.
const rogueEvery = 10 * time.Second

// misbehave lets the rogue command the doser, as if somebody had got into it.
func (s *stage) misbehave(ctx context.Context, l *link) {
	now := s.now()
	if !s.onDuty.Load() || now.Sub(s.rogueTried) < rogueEvery {
		return
	}
	s.rogueTried = now
	err := l.publish(ctx, s.topicAt(doserID, "cmd/dose"), []byte(`{"ml_per_min":48}`), false)
	s.cfg.Log.Debug("the misbehaving device tried again", "device", rogueID, "answer", err)
}

// unless is err, if the policy is the one that the story is about.
func (s *stage) unless(err error, doing string) error {
	if !s.ours {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// awaitPerson waits for the message that tells of a person, among the usual ones.
func awaitPerson(ctx context.Context, from <-chan []byte) ([]byte, error) {
	timer := time.NewTimer(reaction)
	defer timer.Stop()
	for {
		select {
		case got := <-from:
			if len(got) > 70 { // the usual readings are shorter
				return got, nil
			}
		case <-timer.C:
			return nil, fmt.Errorf("the message did not come within %s", reaction)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// refuseMessages is the story of devices that misbehave.
func (s *stage) refuseMessages(ctx context.Context) error {
	if l := s.linkOf(ctx, liarID); l != nil {
		topic := s.topicAt(victimID, "telemetry")
		err := l.publish(ctx, topic, []byte(`{"running":true,"speed_pct":100}`), false)
		if err := s.stopped(ctx, l, topic, fmt.Sprintf("%s speaks in the name of %s", liarID, victimID), err); err != nil {
			return err
		}
	}
	if l := s.linkOf(ctx, snoopID); l != nil {
		err := l.subscribe(ctx, "#")
		if err := s.stopped(ctx, l, "#", snoopID+" wants to hear everything (#)", err); err != nil {
			return err
		}
	}
	return s.flood(ctx)
}

// flood lets a device send much more than it may, at once.
func (s *stage) flood(ctx context.Context) error {
	l := s.linkOf(ctx, flooderID)
	t, err := s.thing(flooderID)
	if l == nil || err != nil {
		return err
	}
	topic := topicOf(t, "telemetry")
	reading := s.works.reading(&t.row, s.now())
	var wg sync.WaitGroup
	answers := make([]error, floodSize)
	for i := range answers {
		wg.Go(func() { answers[i] = l.publish(ctx, topic, reading, false) })
	}
	wg.Wait()
	passed, last := 0, error(nil)
	for _, err := range answers {
		if err == nil {
			passed++
		} else if last == nil || refused(err) != nil {
			last = err
		}
	}
	return s.stopped(ctx, l, topic, fmt.Sprintf("%s floods: of %d readings at once %d passed", flooderID, floodSize, passed), last)
}

// command is the story of commands that must not reach their actuators.
func (s *stage) command(ctx context.Context) error {
	l := s.linkOf(ctx, scadaName)
	if l == nil || s.linkOf(ctx, doserID) == nil {
		return nil
	}
	topic := s.topicAt(doserID, "cmd/dose")
	dose := func(ml float64) error {
		return l.publish(ctx, topic, mustJSON(map[string]float64{"ml_per_min": ml}), false)
	}
	if err := s.stopped(ctx, l, topic, scadaName+" tells "+doserID+" to dose 900 ml/min", dose(900)); err != nil {
		return err
	}
	passed, err := 0, error(nil)
	for passed < tooMany && err == nil {
		if err = dose(12 + float64(passed)/2); err == nil {
			passed++
		}
	}
	if passed > 0 {
		s.tale.line(scadaName, "tells %s to dose 12 ml/min: done", doserID)
	}
	if err := s.stopped(ctx, l, topic, fmt.Sprintf("%s sends doses in a hurry: the %s", scadaName, ordinal(passed+1)), err); err != nil {
		return err
	}
	return s.commandInMaintenance(ctx, l)
}

// ordinal is a small number's word.
func ordinal(n int) string {
	words := []string{"first", "second", "third", "fourth", "fifth", "sixth"}
	if n >= 1 && n <= len(words) {
		return words[n-1]
	}
	return fmt.Sprintf("%dth", n)
}

// commandInMaintenance moves a valve that somebody works on.
func (s *stage) commandInMaintenance(ctx context.Context, l *link) (err error) {
	if s.linkOf(ctx, valveID) == nil {
		return nil
	}
	set := func(on bool, reason string) error {
		if _, err := s.api.SetMaintenance(ctx, device.ID(valveID), on, reason); unreachable(err) {
			return fmt.Errorf("changing the maintenance of %s: %w", valveID, err)
		}
		return nil
	}
	if err := set(true, "greasing the spindle"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set(false, "done")) }()
	s.tale.line(who, "%s is in maintenance: a technician works on it", valveID)
	topic := s.topicAt(valveID, "cmd/position")
	var last error
	err = s.until(ctx, "commands to "+valveID+" are refused", func() (bool, error) {
		last = l.publish(ctx, topic, []byte(`{"open_pct":60}`), false)
		a := refused(last)
		return a != nil && strings.Contains(a.text, "maintenance") || last != nil && a == nil || !s.ours, nil
	})
	if err != nil {
		return err
	}
	return s.stopped(ctx, l, topic, scadaName+" moves "+valveID, last)
}
