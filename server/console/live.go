package console

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

const (
	streamsEach  = 12               // of one person: that many tabs are live
	commentEvery = 15 * time.Second // so that proxies keep the stream open
	streamLife   = 15 * time.Minute // then the browser comes again: rights are read anew anyway, memory is not kept
	fragmentTime = 10 * time.Second
)

// checkEvery is how often it is seen whether the sign-in still counts.
var checkEvery = 10 * time.Second

// streams counts live streams, so that nobody can hold all of them.
type streams struct {
	mu     sync.Mutex
	limit  int
	all    int                     // guarded by mu
	people map[access.PersonID]int // guarded by mu
}

func newStreams(limit int) *streams { return &streams{limit: limit, people: map[access.PersonID]int{}} }

// take counts one more stream of a person; done counts it off.
func (s *streams) take(id access.PersonID) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.limit || s.people[id] >= streamsEach {
		return nil, false
	}
	s.all++
	s.people[id]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.people[id]--; s.people[id] == 0 {
			delete(s.people, id)
		}
	}), true
}

// shown is a fragment that a page asked for.
type shown struct {
	ref  ui.LiveRef
	part ui.LiveFragment
	last []byte
	due  time.Time
}

// serveLive sends fragments again: as a stream, or once for who asks again by
// themselves. It does not count as activity: a page left open ends like any
// other.
func (c *console) serveLive(w http.ResponseWriter, r *http.Request) {
	in, err := c.keeper.Watched(r)
	if err != nil || in.Stage != people.StageFull {
		c.liveRefused(w, err)
		return
	}
	list, err := c.shownBy(r)
	if err != nil {
		http.Error(w, "There is no such live fragment.", http.StatusNotFound)
		return
	}
	if !isStream(r) {
		c.once(w, r, in, list)
		return
	}
	done, ok := c.live.take(in.Person.ID)
	if !ok {
		w.Header().Set("Retry-After", "15")
		http.Error(w, "Too many live pages are open.", http.StatusTooManyRequests)
		return
	}
	defer done()
	c.stream(w, r, in, list)
}

func (c *console) liveRefused(w http.ResponseWriter, err error) {
	if ref := refusal.As(err); err == nil || ref != nil && ref.Kind == refusal.Unauthenticated {
		http.Error(w, "You are signed out.", http.StatusUnauthorized)
		return
	}
	c.cfg.Log.Error("opening a live stream", "err", err)
	http.Error(w, "Live updates are not available right now.", http.StatusServiceUnavailable)
}

func (c *console) shownBy(r *http.Request) ([]*shown, error) {
	names := r.URL.Query()["f"]
	if len(names) == 0 || len(names) > ui.MaxLive {
		return nil, errors.New("reading what is shown live: none, or too many")
	}
	var list []*shown
	for _, name := range names {
		ref, err := ui.ParseLiveRef(name)
		if err != nil {
			return nil, err
		}
		part, ok := c.pages.Fragment(ref.Name)
		if !ok {
			return nil, errors.New("reading what is shown live: there is no such fragment")
		}
		list = append(list, &shown{ref: ref, part: part})
	}
	return list, nil
}

// render makes a fragment for the person as they are now; nil when it is the
// same as last time, or may not be seen.
func (c *console) render(w http.ResponseWriter, r *http.Request, in people.SignIn, s *shown) []byte {
	ctx, cancel := context.WithTimeout(r.Context(), fragmentTime)
	defer cancel()
	req, err := c.request(w, r.WithContext(ctx), in)
	if err != nil || !req.CanAny(s.part.Needs) {
		return nil
	}
	body, err := s.part.Render(req, s.ref.Args)
	if err != nil {
		if ctx.Err() == nil {
			c.cfg.Log.Warn("making a live fragment", "fragment", s.ref.Name, "err", err)
		}
		return nil
	}
	var b bytes.Buffer
	if err := ui.Partial(s.ref, body).Render(req.Context(), &b); err != nil {
		c.cfg.Log.Warn("writing a live fragment", "fragment", s.ref.Name, "err", err)
		return nil
	}
	if bytes.Equal(b.Bytes(), s.last) {
		return nil
	}
	s.last = b.Bytes()
	return s.last
}

func (c *console) once(w http.ResponseWriter, r *http.Request, in people.SignIn, list []*shown) {
	var out bytes.Buffer
	for _, s := range list {
		out.Write(c.render(w, r, in, s))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(out.Bytes())
}

// stream runs until the browser leaves, the sign-in ends, the server stops, or
// its time is over.
func (c *console) stream(w http.ResponseWriter, r *http.Request, in people.SignIn, list []*shown) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	// Each write gets its own time, so that a browser that stopped reading is let go.
	send := func(event []byte) bool {
		rc.SetWriteDeadline(time.Now().Add(20 * time.Second))
		_, err := w.Write(event)
		return err == nil && rc.Flush() == nil
	}
	if !send([]byte(": live\n\n")) {
		return
	}
	begun := time.Now()
	checked, wrote := begun, begun
	for i, s := range list {
		// The page has just shown them: the first update comes after their interval.
		s.due = begun.Add(s.part.Every + time.Duration(i)*20*time.Millisecond)
	}
	for {
		next := slices.MinFunc(list, func(a, b *shown) int { return a.due.Compare(b.due) }).due
		for _, t := range []time.Time{checked.Add(checkEvery), wrote.Add(commentEvery)} {
			if t.Before(next) {
				next = t
			}
		}
		if !c.wait(r.Context(), time.Until(next)) || time.Since(begun) > streamLife {
			return
		}
		now := time.Now()
		if now.Sub(checked) >= checkEvery {
			fresh, err := c.keeper.Watched(r)
			if err != nil || fresh.Stage != people.StageFull {
				send([]byte("event: bye\ndata: signed out\n\n"))
				return
			}
			in, checked = fresh, now
		}
		for _, s := range list {
			if now.Before(s.due) {
				continue
			}
			s.due = now.Add(s.part.Every)
			if out := c.render(w, r, in, s); out != nil {
				wrote = now
				if !send(event(out)) {
					return
				}
			}
		}
		if now.Sub(wrote) >= commentEvery {
			wrote = now
			if !send([]byte("event: still\ndata: " + strconv.FormatInt(now.Unix(), 10) + "\n\n")) {
				return
			}
		}
	}
}

// wait is false when the stream is to end.
func (c *console) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-c.cfg.Closing:
	}
	return false
}

// event frames HTML as one server-sent event. A carriage return ends a line of
// the stream too, so that a value with one could begin an event of its own.
func event(html []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(bytes.ReplaceAll(html, []byte("\r"), []byte("&#13;"))) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}
