package console

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// Why a stream ended, for the page that showed it.
var (
	errSignedOut = errors.New("you are signed out")
	errNoMore    = errors.New("your rights have changed")
	errStopping  = errors.New("the server stops or restarts")
	errLongLife  = errors.New("it ends by itself after 15 minutes")
)

// serveStream serves a mounted stream. Like live fragments it does not count as
// activity, counts as one of the person's streams, and ends with the sign-in.
func (c *console) serveStream(s ui.Stream) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, err := c.keeper.Watched(r)
		if err != nil || in.Stage != people.StageFull {
			c.liveRefused(w, err)
			return
		}
		ctx, stop := context.WithCancelCause(r.Context())
		defer stop(nil)
		req, err := c.request(w, r.WithContext(ctx), in)
		if err != nil {
			c.liveRefused(w, err)
			return
		}
		if !req.CanAny(s.Needs) {
			http.Error(w, "You may not watch this.", http.StatusForbidden)
			return
		}
		done, ok := c.live.take(in.Person.ID)
		if !ok {
			w.Header().Set("Retry-After", "15")
			http.Error(w, "Too many live pages are open.", http.StatusTooManyRequests)
			return
		}
		defer done()
		req.Enter(s.Section)
		c.runStream(req, s, stop)
	})
}

// runStream runs one stream; what goes to the browser goes through one lock,
// because signs of life come between its events.
func (c *console) runStream(req *ui.Request, s ui.Stream, stop context.CancelCauseFunc) {
	h := req.W.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(req.W)
	var mu sync.Mutex
	write := func(data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		// Each write gets its own time, so that a browser that stopped reading is let go.
		rc.SetWriteDeadline(time.Now().Add(20 * time.Second))
		if _, err := req.W.Write(data); err != nil {
			stop(err)
			return err
		}
		return rc.Flush()
	}
	emit := func(name string, body ui.Node) error {
		data, err := req.Event(name, body)
		if err == nil {
			err = write(data)
		}
		return err
	}
	if write([]byte(": stream\n\n")) != nil {
		return
	}
	ctx := req.HTTP.Context()
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() { c.watchStream(req, s, ended, stop, write) })
	err := s.Run(req, emit)
	close(ended)
	wg.Wait()
	cause := context.Cause(ctx)
	for _, known := range []error{errSignedOut, errNoMore, errStopping, errLongLife} {
		if errors.Is(cause, known) {
			emit("ended", ui.Text(known.Error()))
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		emit("ended", ui.Text(""))
		return
	}
	t := ui.TroubleOf(err)
	if t.Unknown {
		t.RequestID = requestID()
		c.cfg.Log.Error("serving a stream", "path", req.HTTP.URL.Path, "request", t.RequestID, "err", err)
	}
	emit("problem", ui.TroubleBox(t))
}

// watchStream ends a stream when the sign-in, the right or its time is over.
func (c *console) watchStream(req *ui.Request, s ui.Stream, ended <-chan struct{}, stop context.CancelCauseFunc, write func([]byte) error) {
	tick, life := time.NewTicker(checkEvery), time.NewTimer(streamLife)
	defer tick.Stop()
	defer life.Stop()
	for {
		select {
		case <-ended:
			return
		case <-req.HTTP.Context().Done():
			return
		case <-c.cfg.Closing:
			stop(errStopping)
			return
		case <-life.C:
			stop(errLongLife)
			return
		case <-tick.C:
			in, err := c.keeper.Watched(req.HTTP)
			if err != nil || in.Stage != people.StageFull {
				stop(errSignedOut)
				return
			}
			if now, err := c.request(req.W, req.HTTP, in); err != nil || !now.CanAny(s.Needs) {
				stop(errNoMore)
				return
			}
			if write([]byte(": still\n\n")) != nil {
				return
			}
		}
	}
}
