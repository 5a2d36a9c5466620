package messages

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// What one browser is sent at most: nobody reads more, and a page that gets more
// stops answering. What is beyond is counted.
const (
	tapEvery = 300 * time.Millisecond
	tapEach  = 25 // messages in that time
	tapKept  = 200
)

// tapChoice is what to watch, as it stands in the address.
type tapChoice struct {
	Filter, From, Type, Zone, As string
}

func tapOf(r *ui.Request) tapChoice {
	return tapChoice{r.Query("filter"), r.Query("from"), r.Query("type"), r.Query("zone"), r.Query("as")}
}

func (c tapChoice) url(path string) string {
	return address(path, "filter", c.Filter, "from", c.From, "type", c.Type, "zone", c.Zone, "as", c.As)
}

// query is what the API is asked for. A device may be named by its id alone.
func (c tapChoice) query() adminapi.TapQuery {
	from := c.From
	if from != "" && !strings.Contains(from, ":") {
		from = "device:" + from
	}
	return adminapi.TapQuery{Filter: c.Filter, Audience: c.As, From: from, Type: c.Type, Zone: c.Zone}
}

// words says what is watched.
func (c tapChoice) words() string {
	s := "messages on " + c.Filter
	if c.From != "" {
		s += " of " + c.From
	}
	if c.Type != "" {
		s += " of the type " + c.Type
	}
	if c.Zone != "" {
		s += " in zone " + c.Zone
	}
	return s
}

func tap(r *ui.Request) error {
	c := tapOf(r)
	if c.Filter == "" {
		c.Filter = "#"
	}
	f := tapForm{choice: c, personal: r.Can(access.PersonalRead)}
	if r.Can(access.ZoneRead) {
		if list, err := r.API.Zones(r.Context()); err == nil {
			for _, z := range list {
				f.zones = append(f.zones, string(z.Name))
			}
		}
	}
	if r.Can(access.TypeRead) {
		if list, err := r.API.Types(r.Context()); err == nil {
			for _, t := range list {
				f.types = append(f.types, string(t.Name))
			}
		}
	}
	return r.Page(page(r, "/messages/tap"), tapPage(f))
}

// tapForm is what the page offers.
type tapForm struct {
	choice       tapChoice
	zones, types []string // that may be seen; none where they may not
	personal     bool     // marked fields may be seen
}

// options are choices with what is chosen among them.
func options(list []string, chosen string) []ui.Option {
	out := []ui.Option{{Label: "All"}}
	if chosen != "" && !slices.Contains(list, chosen) {
		list = append(list, chosen)
	}
	for _, v := range list {
		out = append(out, ui.Option{Value: v, Label: v})
	}
	return out
}

// watch sends messages to one browser until it leaves.
func watch(r *ui.Request, emit ui.Emit) error {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	steps, ended := make(chan adminapi.Tapped), make(chan error, 1)
	c := tapOf(r)
	go func() {
		ended <- r.API.Tap(ctx, c.query(), func(t adminapi.Tapped) error {
			select {
			case steps <- t:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	tick := time.NewTicker(tapEvery)
	defer tick.Stop()
	var b batch
	for {
		select {
		case t := <-steps:
			if t.Begun {
				if err := emit("begun", ui.Text(c.words())); err != nil {
					return err
				}
			}
			b.add(t)
		case <-tick.C:
			if err := b.send(r, emit); err != nil {
				return err
			}
		case err := <-ended:
			if err := b.send(r, emit); err != nil {
				return err
			}
			return err
		}
	}
}

// batch is what came since the last time something was sent.
type batch struct {
	list  []shown
	over  int64 // not shown: too many at once
	count int64 // of all that were shown, for ids
}

func (b *batch) add(t adminapi.Tapped) {
	b.over += t.Dropped
	switch {
	case t.Message == nil:
	case len(b.list) == tapEach:
		b.over++
	default:
		b.count++
		b.list = append(b.list, show(t.Message, b.count))
	}
}

func (b *batch) send(r *ui.Request, emit ui.Emit) error {
	if len(b.list) > 0 {
		slices.Reverse(b.list) // the newest first
		if err := emit("messages", rows(r, b.list)); err != nil {
			return err
		}
	}
	if b.over > 0 {
		if err := emit("over", ui.Text(strconv.FormatInt(b.over, 10))); err != nil {
			return err
		}
	}
	b.list, b.over = nil, 0
	return nil
}
