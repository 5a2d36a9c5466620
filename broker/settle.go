package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

const (
	// askAll is in how many looks one asks about the sessions of servers that live,
	// too: a server may have lost one.
	askAll = 20
	// willGrace is how long a delayed will may be late before another server than
	// the one that has its timer publishes it.
	willGrace = 10 * time.Second
)

// settling looks, once in a while, for what servers that died have left: sessions
// that are connected nowhere, wills, groups that nobody has. It acts on what it
// finds twice.
type settling struct {
	b      *Broker
	looks  int
	unused map[string]time.Time // groups without sessions, since when
}

// row of a session to settle, if it is still the same then.
type suspect struct {
	id  string
	rev uint64
}

func (b *Broker) settleLeft() {
	every := b.opt.SettleEvery
	if b.cfg.Cluster == nil { // nobody else dies: only groups are left
		every = max(every, b.opt.GroupExpiry/4)
	}
	st := &settling{b: b, unused: map[string]time.Time{}}
	for b.pause(every*4/5 + rand.N(every*2/5)) {
		if c := b.cfg.Cluster; c != nil && !c.First() {
			clear(st.unused)
			continue
		}
		suspects, err := st.look(b.life)
		if err != nil && b.life.Err() == nil {
			b.log.Warn("looking for what other servers left", "err", err)
		}
		if len(suspects) == 0 {
			continue
		}
		if !b.pause(every / 3) { // a server that reconnects to the bus is not dead
			return
		}
		for _, x := range suspects {
			if err := b.settleRow(b.life, x.id, x.rev); err != nil && !errors.Is(err, msglog.ErrConflict) && b.life.Err() == nil {
				b.log.Warn("settling a session that a server left", "client", x.id, "err", err)
			}
		}
	}
}

// pause waits; false when the broker closes.
func (b *Broker) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b.life.Done():
		return false
	}
}

// look goes through all rows once.
func (st *settling) look(ctx context.Context) (suspects []suspect, err error) {
	b, now := st.b, st.b.now()
	st.looks++
	var ask []suspect
	used := map[string]bool{}
	err = b.eachRow(ctx, func(id string, r *row, rev uint64) {
		for _, sub := range r.Subs {
			if f, err := mqtt.ParseFilter(sub.Filter); err == nil && f.Share != "" {
				used[sub.Filter] = true
			}
		}
		switch {
		case b.cfg.Cluster == nil:
		case !r.Connected:
			if r.Will != nil && now.Sub(r.Will.Due) > willGrace {
				suspects = append(suspects, suspect{id, rev})
			}
		case !b.cfg.Cluster.Alive(r.Node) || r.Node == b.cfg.Node && b.session(id) == nil || st.looks%askAll == 0:
			ask = append(ask, suspect{id, rev})
		}
	})
	if err != nil {
		return nil, err
	}
	for _, x := range ask {
		if b.session(x.id) == nil && !b.cfg.Cluster.Held(ctx, x.id) {
			suspects = append(suspects, x)
		}
	}
	return suspects, st.groups(ctx, used, now)
}

// groups ends those that no session has had for long enough.
func (st *settling) groups(ctx context.Context, used map[string]bool, now time.Time) error {
	b := st.b
	all, err := b.msgs.Groups(ctx)
	if err != nil {
		return err
	}
	left := map[string]time.Time{}
	for _, g := range all {
		b.mu.Lock()
		here := b.groups[g.Name] != nil
		b.mu.Unlock()
		if here || used[g.Name] || g.Busy {
			continue
		}
		since, known := st.unused[g.Name]
		switch {
		case !known:
			left[g.Name] = now
		case now.Sub(since) < b.opt.GroupExpiry:
			left[g.Name] = since
		default:
			if err := b.msgs.DeleteGroup(ctx, g.Name); err != nil {
				return err
			}
		}
	}
	st.unused = left
	return nil
}
