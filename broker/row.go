package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// row is what the log keeps of a session that outlives its connection, or whose
// will must be published even when this server dies.
type row struct {
	Owner     string    `json:"owner"` // kind/id of the only principal that may have the client id
	Node      string    `json:"node"`
	Connected bool      `json:"connected"`
	Expiry    uint32    `json:"expiry"`        // seconds after the connection
	Ends      time.Time `json:"ends,omitzero"` // when not connected
	Subs      []rowSub  `json:"subs,omitempty"`
	Next      uint64    `json:"next"` // everything up to it has been handed to the client, or is in Out
	Out       []rowOut  `json:"out,omitempty"`
	In        receipts  `json:"in,omitzero"`
	Will      *will     `json:"will,omitempty"`
}

type rowSub struct {
	Filter  string   `json:"f"`
	QoS     mqtt.QoS `json:"q"`
	NoLocal bool     `json:"nl,omitempty"`
	RAP     bool     `json:"rap,omitempty"`
	ID      uint32   `json:"id,omitempty"`
	From    uint64   `json:"from,omitempty"`
}

// rowOut is a message under way to the client: ID 0 means that it waits.
type rowOut struct {
	ID       uint16   `json:"id"`
	QoS      mqtt.QoS `json:"q"`
	Seq      uint64   `json:"s"`
	Topic    string   `json:"t,omitempty"` // of a retained message, which has no Seq
	Released bool     `json:"r,omitempty"`
}

// receipts remember the QoS 2 messages that a client sent and has not released.
// The key of a message in the log's de-duplication holds its identifier and the
// generation in which it was first seen. A crash may lose the newest receipts,
// all of them of the generation that was saved last: what is sent again gets the
// same key and is not stored twice; what is new after PUBREL gets another one.
type receipts struct {
	Epoch string            `json:"epoch,omitempty"` // of the session
	Gen   uint64            `json:"gen,omitempty"`   // as last saved
	Own   map[uint16]uint64 `json:"own,omitempty"`   // instead of Gen: of identifiers released since the session went on
	Open  map[uint16]uint64 `json:"open,omitempty"`  // identifier to generation
	Doubt map[uint16]bool   `json:"doubt,omitempty"` // those of Open whose message may not be in the log

	bump     bool            // something was released since the last save began
	restored map[uint16]bool // those of Open that the client has not sent on this connection
	resumed  bool            // the client may still send again what is of an earlier connection
}

func (r *receipts) IsZero() bool { return r.Epoch == "" }

// saver writes the session's row, one write at a time.
type saver struct {
	rev     uint64
	dirty   bool          // something changed that need not be saved at once
	saving  bool          // a write is under way
	again   bool          // another must follow
	waiting []func(error) // to be told after the next write that begins
	lost    bool          // another node has the session: no more writes
	raising chan struct{} // closed when the write under way that raises receipts.Gen has ended; nil: it does not
}

// saveLocked has the row written with what is there now, and then calls done. It
// is for sessions that have a row.
func (s *session) saveLocked(done func(error)) {
	if done != nil {
		s.row.waiting = append(s.row.waiting, done)
	}
	if s.row.saving {
		s.row.again = true
		return
	}
	s.startSave()
}

func (s *session) startSave() {
	told := s.row.waiting
	s.row.waiting, s.row.again, s.row.dirty = nil, false, false
	if s.row.lost {
		go tell(told, msglog.ErrConflict)
		return
	}
	s.row.saving = true
	r := s.rowLocked()
	if s.twice.bump {
		s.twice.bump = false
		r.In.raise()
		s.row.raising = make(chan struct{})
	}
	data, err := json.Marshal(r)
	if err != nil {
		s.row.saving = false
		s.raised()
		go tell(told, err)
		return
	}
	s.b.msgs.SaveSessionAsync(s.id, data, s.row.rev, r.life(s.b.now()), func(rev uint64, err error) { s.saved(r, rev, err, told) })
}

func tell(told []func(error), err error) {
	for _, done := range told {
		done(err)
	}
}

// saved takes the end of a write.
func (s *session) saved(r row, rev uint64, err error, told []func(error)) {
	s.mu.Lock()
	s.row.saving = false
	if err == nil {
		s.row.rev = rev
		if r.In.Gen > s.twice.Gen { // it was raised
			s.twice.Gen, s.twice.Own = r.In.Gen, nil
		}
	} else {
		if errors.Is(err, msglog.ErrConflict) {
			s.row.lost = true
			s.closeLocked(mqtt.SessionTakenOver, "another server has this session")
		} else {
			s.b.log.Error("saving a session", "client", s.id, "err", err)
			s.closeLocked(mqtt.UnspecifiedError, "the session could not be saved")
		}
	}
	s.raised()
	more := s.row.again
	s.mu.Unlock()
	tell(told, err)
	if more {
		s.mu.Lock()
		if !s.row.saving {
			s.startSave()
		}
		s.mu.Unlock()
	}
}

// raised ends the wait of receipt.
func (s *session) raised() {
	if s.row.raising != nil {
		close(s.row.raising)
		s.row.raising = nil
	}
}

// rowLocked is the session as it is now.
func (s *session) rowLocked() row {
	r := row{Owner: owner(s.principal()), Node: s.b.cfg.Node, Connected: !s.over, Expiry: s.expiry, Next: s.cursor(), Will: s.will}
	if s.over {
		r.Ends = s.b.now().Add(seconds(s.expiry))
	}
	if !s.persist {
		return r // for its will only
	}
	for _, sub := range s.subs {
		r.Subs = append(r.Subs, rowSub{Filter: sub.filter, QoS: sub.qos, NoLocal: sub.noLocal, RAP: sub.rap, ID: sub.ident, From: sub.from})
	}
	for _, f := range s.flight {
		if f.share == nil {
			r.Out = append(r.Out, rowOut{ID: f.id, QoS: f.qos, Seq: f.seq, Topic: f.topic, Released: f.released})
		}
	}
	room := maxWaiting
	for i := range s.logged.n {
		if d := s.logged.at(i); d.retained && d.id == 0 && d.qos > 0 && room > len(d.m.Topic) {
			r.Out = append(r.Out, rowOut{QoS: d.qos, Topic: d.m.Topic})
			room -= len(d.m.Topic)
		}
	}
	r.Out = append(r.Out, s.again...)
	r.In = s.twice.clone()
	return r
}

// maxWaiting bounds the retained messages that wait in a row, in bytes of their
// topics: a client that lost its connection before them subscribes again.
const maxWaiting = 64 << 10

// cursor is the newest message such that everything up to it was handed to the
// client or is in flight.
func (s *session) cursor() uint64 {
	for i := range s.logged.n {
		if d := s.logged.at(i); d.id == 0 && !d.retained && d.share == nil {
			return d.m.Seq - 1
		}
	}
	if s.behind {
		return s.next
	}
	return max(s.b.position.Load(), s.taken)
}

// life is how long the log must keep the row; 0: for ever.
func (r *row) life(now time.Time) time.Duration {
	if r.Connected || r.Expiry == never {
		return 0
	}
	return max(time.Second, r.Ends.Sub(now)+time.Minute) // the sweep ends it in time; this tidies up
}

// never is a session expiry that does not come.
const never = 0xFFFFFFFF

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func (s *session) saveIfDirty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.row.dirty && s.persist && !s.row.saving && !s.over {
		s.startSave()
	}
}

// loadRow reads a client id's row; nil when there is none, or it has ended.
func (b *Broker) loadRow(ctx context.Context, id string) (*row, uint64, error) {
	data, rev, err := b.msgs.Session(ctx, id)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the session of %q: %w", id, err)
	}
	if data == nil {
		return nil, rev, nil
	}
	r := new(row)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, 0, fmt.Errorf("reading the session of %q: %w", id, err)
	}
	return r, rev, nil
}

// ended reports whether a session that is not connected has expired.
func (r *row) ended(now time.Time) bool {
	return !r.Connected && r.Expiry != never && !now.Before(r.Ends)
}

func (r *receipts) clone() receipts {
	c := receipts{Epoch: r.Epoch, Gen: r.Gen}
	c.Open, c.Doubt, c.Own = maps.Clone(r.Open), maps.Clone(r.Doubt), maps.Clone(r.Own)
	return c
}

// writeRow replaces the row of a session that is not connected.
func (b *Broker) writeRow(ctx context.Context, id string, r *row, rev uint64) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = b.msgs.SaveSession(ctx, id, data, rev, r.life(b.now()))
	return err
}

// eachRow visits all rows; those that cannot be read are logged.
func (b *Broker) eachRow(ctx context.Context, visit func(id string, r *row, rev uint64)) error {
	err := b.msgs.Sessions(ctx, func(id string, data []byte, rev uint64) bool {
		r := new(row)
		if err := json.Unmarshal(data, r); err != nil {
			b.log.Error("reading a session", "client", id, "err", err)
			return true
		}
		visit(id, r, rev)
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the sessions: %w", err)
	}
	return nil
}
