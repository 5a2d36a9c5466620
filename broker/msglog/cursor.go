package msglog

import (
	"context"
	"errors"
	"io"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// From says what a cursor reads: messages that match a filter, after a sequence
// number.
type From struct {
	Filter string
	After  uint64
}

// What a source reads ahead; with many filters each gets less.
const (
	readMessages = 256
	readBytes    = 256 << 10
	cursorBytes  = 2 << 20 // of all sources of a cursor together, about
)

// Cursor reads the log. It is not for use by several goroutines at once.
type Cursor struct {
	l       *Log
	sources []source
	lost    uint64
	checked bool
	end     uint64 // what the current round reads up to; 0: no round
	batch   int
	bytes   int
}

// source is one NATS subject of a filter.
type source struct {
	filter, subject string
	next            uint64 // what to ask for
	ahead           []stored
	through         uint64 // everything up to here has been read
}

// Cursor returns a cursor over what matches any of several filters, each from its
// own start: in ascending Seq and without duplicates.
func (l *Log) Cursor(filters []From) *Cursor {
	c := &Cursor{l: l}
	for _, f := range filters {
		for _, subject := range filterSubjects(inPrefix, f.Filter) {
			c.sources = append(c.sources, source{filter: f.Filter, subject: subject, next: f.After + 1, through: f.After})
		}
	}
	n := max(1, len(c.sources))
	c.batch = max(4, min(readMessages, 4*readMessages/n))
	c.bytes = max(4<<10, min(readBytes, cursorBytes/n))
	return c
}

// Lost returns how many sequence numbers after the earliest start had been
// removed by retention when the cursor first read: an upper bound of the messages
// that its reader will never see.
func (c *Cursor) Lost() uint64 { return c.lost }

// Next returns the next message. io.EOF: there is none now; what is stored later a
// later call finds. After other errors Next may be called again. A message that
// cannot be read (of another version) is skipped and logged.
func (c *Cursor) Next(ctx context.Context) (*Message, error) {
	for {
		if c.end == 0 {
			if err := c.begin(ctx); err != nil {
				return nil, err
			}
		}
		s, filter, err := c.pick(ctx)
		if err != nil {
			return nil, err
		}
		if s == nil {
			c.end = 0
			return nil, io.EOF
		}
		m, err := s.message()
		if err != nil {
			c.l.log.Error("reading a stored message", "seq", s.seq, "err", err)
			continue
		}
		if !mqtt.Match(filter, m.Topic) { // $SYS/… and +/…
			continue
		}
		return m, nil
	}
}

// begin fixes how far a round reads, so that sources which are asked at different
// times yield one ascending order.
func (c *Cursor) begin(ctx context.Context) error {
	if len(c.sources) == 0 {
		return io.EOF
	}
	end := c.l.known.Load()
	if c.l.config.Clustered || !c.checked {
		state, err := c.l.state(ctx)
		if err != nil {
			return err
		}
		if end = max(end, state.LastSeq); !c.checked {
			c.checked = true
			start := c.sources[0].next
			for i := range c.sources {
				start = min(start, c.sources[i].next)
			}
			if state.FirstSeq > start {
				c.lost = state.FirstSeq - start
			}
		}
	}
	if end == 0 {
		return io.EOF
	}
	c.end = end
	return nil
}

// pick returns the lowest message of all sources that is not beyond the round;
// nil when there is none. Another filter that matches the same message moves on
// too.
func (c *Cursor) pick(ctx context.Context) (*stored, string, error) {
	best := -1
	for i := range c.sources {
		if err := c.fill(ctx, &c.sources[i]); err != nil {
			return nil, "", err
		}
		if s := &c.sources[i]; len(s.ahead) > 0 && s.ahead[0].seq <= c.end && (best < 0 || s.ahead[0].seq < c.sources[best].ahead[0].seq) {
			best = i
		}
	}
	if best < 0 {
		return nil, "", nil
	}
	m, filter := c.sources[best].ahead[0], c.sources[best].filter
	for i := range c.sources {
		s := &c.sources[i]
		if len(s.ahead) == 0 || s.ahead[0].seq != m.seq {
			continue
		}
		s.ahead[0] = stored{}
		s.ahead = s.ahead[1:]
		if filter[0] == '+' || filter[0] == '#' {
			filter = s.filter // the one that matches topics with $ too, if any
		}
	}
	return &m, filter, nil
}

// fill reads ahead until a source knows its next message, or that it has none in
// this round.
func (c *Cursor) fill(ctx context.Context, s *source) error {
	for len(s.ahead) == 0 && s.through < c.end {
		ahead, more, err := c.l.getBatch(ctx, logStream, s.next, s.subject, c.batch, c.bytes)
		if err != nil {
			return err
		}
		switch {
		case len(ahead) > 0:
			s.ahead = ahead
			s.next = ahead[len(ahead)-1].seq + 1
			s.through = s.next - 1
			if !more && !c.l.config.Clustered {
				s.through = max(s.through, c.end)
			}
		case !c.l.config.Clustered:
			s.through = c.end
		default: // a replica that is behind would say the same: the leader decides
			one, err := c.l.leaderNext(ctx, s.next, s.subject)
			if errors.Is(err, ErrNotFound) {
				s.through = c.end
				continue
			}
			if err != nil {
				return err
			}
			s.ahead, s.next, s.through = []stored{one}, one.seq+1, one.seq
		}
	}
	return nil
}

func (l *Log) leaderNext(ctx context.Context, seq uint64, subject string) (stored, error) {
	l.live.leader <- struct{}{} // few at a time: the leader's queue of requests is for everyone
	defer func() { <-l.live.leader }()
	return l.getOne(ctx, logStream, getRequest{Seq: seq, Next: subject})
}
