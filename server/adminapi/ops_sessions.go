package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/access"
)

type sessionQuery struct {
	Kind   string `query:"kind" enum:"device,gateway,app"`
	Type   string `query:"type" maxLength:"64" doc:"of devices of this type"`
	Zone   string `query:"zone" maxLength:"64" doc:"of devices in this zone"`
	Prefix string `query:"prefix" maxLength:"65535" doc:"whose client id starts so"`
	Node   string `query:"node" maxLength:"253" doc:"on this server"`
	After  string `query:"after" maxLength:"65535" doc:"list from behind this client id on"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// A client id is any text (MQTT 5 section 3.1.3.1), so that it is escaped in the path.
type sessionName struct {
	ClientID string `path:"client" maxLength:"65535" doc:"percent-encoded where it is not plain" example:"pump-1"`
}

type sessionClose struct {
	ClientID string `path:"client" maxLength:"65535" doc:"percent-encoded where it is not plain" example:"pump-1"`
	Body     reasoned
}

func viewSession(s Session) Session {
	s.Subscriptions, s.Refusals = present(s.Subscriptions), present(s.Refusals)
	return s
}

func (a *api) sessionOperations() {
	const tag = "sessions"
	register(a, operation{id: "list-sessions", allow: access.SessionRead, filters: true, method: http.MethodGet, path: "/sessions", tag: tag, summary: "List MQTT sessions",
		description: "One page of the sessions connected to any server that all given filters select, by client id. A session that waits for its client is shown by its id.",
		response:    SessionList{[]Session{exampleSession}, exampleSession.ClientID}},
		func(ctx context.Context, _ access.Actor, in *sessionQuery) (*body[SessionList], error) {
			read := func(limit int) func(after string) ([]Session, string, error) {
				return func(after string) ([]Session, string, error) {
					return a.cfg.Sessions.ListSessions(ctx, SessionFilter{Kind: in.Kind, Type: in.Type, Zone: in.Zone, Prefix: in.Prefix, Node: in.Node, After: after, Limit: limit})
				}
			}
			if a.everywhere(ctx, access.SessionRead) {
				sessions, next, err := read(in.Limit)(in.After)
				return &body[SessionList]{SessionList{items(sessions, viewSession).Body.Items, next}}, err
			}
			sessions, next, err := pageInScope(in.Limit, in.After, func(s Session) string { return s.ClientID }, read(maxPage), func(page []Session) ([]Session, error) {
				return principalsInScope(ctx, a, access.SessionRead, page, func(s Session) (string, string) { return s.Kind, s.ID })
			})
			return &body[SessionList]{SessionList{items(sessions, viewSession).Body.Items, next}}, err
		})
	register(a, operation{id: "show-session", allow: access.SessionRead, method: http.MethodGet, path: "/sessions/{client}", tag: tag, summary: "Show an MQTT session",
		description: "One session with its subscriptions, counters and the last refusals.", response: exampleSession},
		func(ctx context.Context, _ access.Actor, in *sessionName) (*body[Session], error) {
			s, err := a.cfg.Sessions.Session(ctx, in.ClientID)
			return &body[Session]{viewSession(s)}, err
		})
	register(a, operation{id: "close-session", allow: access.SessionClose, method: http.MethodPost, path: "/sessions/{client}/close", tag: tag, status: http.StatusNoContent, summary: "Close an MQTT session",
		description: "Disconnects the client and forgets what waits for it. It may connect again: quarantine the device to keep it out.", request: reasoned{"stuck in a loop, ticket 4712"}},
		func(ctx context.Context, by access.Actor, in *sessionClose) (*none, error) {
			return nil, a.cfg.Sessions.CloseSession(ctx, by, in.ClientID, in.Body.Reason)
		})
	register(a, operation{id: "tap", allow: access.MessageTap, filters: true, method: http.MethodGet, path: "/tap", tag: tag, summary: "Watch messages as they pass",
		description: "JSON lines without an end: first `{\"tapping\":FILTER}`, then a line for each message, as the audience sees it, " +
			"`{\"dropped\":N}` where the reader was too slow for N messages, and an empty line now and then. Who watched what, when and how much is in the audit log.",
		response: exampleTapped}, a.tap)
	a.describeRaw("/tap", "application/x-ndjson", exampleTapped)
}

type tapQuery struct {
	Filter   string `query:"filter" required:"true" minLength:"1" maxLength:"65535" doc:"a topic filter" example:"water/#"`
	Audience string `query:"audience" maxLength:"63" doc:"sees marked fields as this audience does; operator when left out. Without personal.read it has to be left out, and marked fields are not shown"`
	From     string `query:"from" maxLength:"260" doc:"only what this one sends: device:ID, gateway:ID or app:NAME" example:"device:pump-1"`
	Type     string `query:"type" maxLength:"64" doc:"only what devices and gateways of this type send"`
	Zone     string `query:"zone" maxLength:"64" doc:"only what devices and gateways in this zone send"`
	exchange
}

// noAudience cannot be the name of a declared audience, so that it sees no marked
// field.
const noAudience = "(none)"

// tapLine is one line of a tap. The reader of a tap whose message is nil has to
// look at the other fields.
type tapLine struct {
	Tapping string   `json:"tapping,omitempty"`
	Dropped int64    `json:"dropped,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
	*TapMessage
}

// beat is how often a tap that has nothing to say shows that it is there. It is
// shorter than stallTime, after which an answer without a write counts as stuck.
const beat = stallTime / 3

// tap hands the messages of the service on. The service yields in a goroutine of
// its own, so that a beat can go out between two messages.
func (a *api) tap(ctx context.Context, by access.Actor, in *tapQuery) (*huma.StreamResponse, error) {
	needs := []access.Permission{access.MessageTap}
	switch personal := a.mayRead(ctx, access.PersonalRead); {
	case personal:
		needs = append(needs, access.PersonalRead)
	case in.Audience != "":
		return nil, access.Denied(access.PersonalRead)
	default:
		in.Audience = noAudience
	}
	r, _ := in.open()
	reader, err := a.prover(r)
	if err != nil {
		return nil, err
	}
	return a.stream(in.exchange, "application/x-ndjson", "", func(out *outflow) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		steps, ended, lost := make(chan Tapped), make(chan error, 1), make(chan error, 1)
		shows := a.tapScope(ctx, reader, access.MessageTap, in)
		go func() { lost <- reader.watch(ctx, stop, needs...) }()
		go func() {
			ended <- a.cfg.Tap.Tap(ctx, by, in.Filter, in.Audience, func(t Tapped) error {
				if t.Message != nil && !shows(t.Message.From) {
					return ErrNotShown
				}
				select {
				case steps <- t:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
		return a.copyTap(ctx, stop, in.Filter, steps, ended, lost, out)
	}), nil
}

// copyTap writes steps until the tap has ended: by itself, because the reader
// is gone, or because it cannot be written to.
func (a *api) copyTap(ctx context.Context, stop func(), filter string, steps <-chan Tapped, ended, lost <-chan error, out *outflow) error {
	line := func(v any) {
		b, err := json.Marshal(v)
		if err == nil && v == nil {
			b = nil // an empty line
		}
		if err == nil {
			if _, err = out.Write(append(b, '\n')); err == nil {
				err = out.ctl.Flush()
			}
		}
		if err != nil {
			stop()
		}
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case t := <-steps:
			if t.Begun {
				line(tapLine{Tapping: filter})
			}
			if t.Dropped > 0 {
				line(tapLine{Dropped: t.Dropped})
			}
			if m := t.Message; m != nil {
				m.Payload, m.Properties, m.Marks = present(m.Payload), present(m.Properties), present(m.Marks)
				line(tapLine{TapMessage: m})
			}
		case <-tick.C:
			if out.begun {
				line(nil)
			}
		case err := <-lost: // the reader's right, or its token, is gone
			if err != nil && out.begun {
				line(tapLine{Problem: a.problem(context.WithoutCancel(ctx), err)})
			}
			if err != nil {
				return nil
			}
			lost = nil
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) && out.begun && ctx.Err() == nil {
				line(tapLine{Problem: a.problem(ctx, err)})
				return nil
			}
			if out.begun {
				return nil
			}
			return err
		}
	}
}
