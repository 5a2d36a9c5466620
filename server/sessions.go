package server

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// sessionQuestions is the name under which nodes ask each other about sessions.
const sessionQuestions = "sessions"

// closeTime bounds the end of a session that another node asks for.
const closeTime = 2 * time.Second

// sessionQuestion is what one node asks all others.
type sessionQuestion struct {
	Filter *adminapi.SessionFilter `json:"filter,omitempty"` // list these
	Show   string                  `json:"show,omitempty"`   // the session of this client id
	Close  string                  `json:"close,omitempty"`  // end the connection of this client id
}

// sessionAnswer holds the sessions that a node has connected, of those asked for.
type sessionAnswer struct {
	Sessions []adminapi.Session `json:"sessions,omitempty"`
	Closed   bool               `json:"closed,omitempty"`
}

// answerAboutSessions answers another node.
func (s *Server) answerAboutSessions(body []byte) []byte {
	var q sessionQuestion
	var a sessionAnswer
	if json.Unmarshal(body, &q) != nil {
		return nil
	}
	switch {
	case q.Filter != nil:
		a.Sessions = s.sessionsHere(*q.Filter)
	case q.Show != "":
		if one, err := s.broker.Session(context.Background(), q.Show); err == nil && one != nil && one.Node == s.node && one.Connected {
			a.Sessions = []adminapi.Session{sessionView(*one)}
		}
	case q.Close != "":
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		a.Closed, _ = s.broker.EndSession(ctx, q.Close)
	}
	out, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return out
}

// askNodes asks the other nodes; those that do not answer are left out.
func (s *Server) askNodes(ctx context.Context, q sessionQuestion) (list []sessionAnswer) {
	if s.nodes == nil {
		return nil
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil
	}
	answers, err := s.nodes.Ask(ctx, sessionQuestions, body)
	if err != nil {
		s.log.Warn("asking the other nodes about sessions", "err", err)
	}
	for _, text := range answers {
		var a sessionAnswer
		if json.Unmarshal(text, &a) == nil {
			list = append(list, a)
		}
	}
	return list
}

// ListSessions implements adminapi.Sessions: those connected to any node.
func (s *Server) ListSessions(ctx context.Context, f adminapi.SessionFilter) (list []adminapi.Session, next string, err error) {
	list = s.sessionsHere(f)
	for _, a := range s.askNodes(ctx, sessionQuestion{Filter: &f}) {
		list = append(list, a.Sessions...)
	}
	slices.SortFunc(list, func(a, b adminapi.Session) int { return cmp.Compare(a.ClientID, b.ClientID) })
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ClientID
	}
	return list, next, nil
}

// sessionsHere are this node's, one more than the page holds.
func (s *Server) sessionsHere(f adminapi.SessionFilter) (list []adminapi.Session) {
	for _, one := range s.broker.Sessions() {
		if len(list) > f.Limit {
			break
		}
		if v := sessionView(one); (f.After == "" || v.ClientID > f.After) && selects(f, v) {
			list = append(list, v)
		}
	}
	return list
}

func selects(f adminapi.SessionFilter, v adminapi.Session) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(f.Kind, v.Kind) && is(f.Type, v.Type) && is(f.Zone, v.Zone) && is(f.Node, v.Node) && strings.HasPrefix(v.ClientID, f.Prefix)
}

// Session implements adminapi.Sessions.
func (s *Server) Session(ctx context.Context, clientID string) (adminapi.Session, error) {
	one, err := s.broker.Session(ctx, clientID)
	if err != nil {
		return adminapi.Session{}, err
	}
	if one == nil || !one.Connected || one.Node != s.node {
		for _, a := range s.askNodes(ctx, sessionQuestion{Show: clientID}) {
			for _, v := range a.Sessions {
				return v, nil
			}
		}
	}
	if one == nil {
		return adminapi.Session{}, noSession(clientID)
	}
	return sessionView(*one), nil
}

func noSession(id string) error {
	return refusal.New(refusal.NotFound, "no-such-session", "list them with `holdfast session list`", "there is no session with client id %.64q", id)
}

// CloseSession implements adminapi.Sessions.
func (s *Server) CloseSession(ctx context.Context, by access.Actor, clientID, reason string) error {
	closed, err := s.broker.EndSession(ctx, clientID)
	if err != nil {
		return err
	}
	if !closed {
		for _, a := range s.askNodes(ctx, sessionQuestion{Close: clientID}) {
			closed = closed || a.Closed
		}
	}
	if !closed {
		return noSession(clientID)
	}
	return s.store.AppendOutbox(ctx, s.event(by, "session.closed", "session", clientID, "reason", audit.Text(reason, 256)))
}

func sessionView(b broker.Session) adminapi.Session {
	v := adminapi.Session{
		ClientID: b.ClientID, Kind: b.Principal.Kind, ID: b.Principal.ID, Type: b.Principal.Type, Zone: b.Principal.Zone, Node: b.Node,
		Connected: b.Connected, Since: b.Since, KeepAlive: int64(b.KeepAlive.Seconds()), Expiry: int64(b.Expiry.Seconds()),
		Subscriptions: []adminapi.Subscription{}, Queued: b.Queued, Inflight: b.Inflight, Refused: b.Refused, Dropped: b.Dropped, Refusals: []adminapi.SessionRefusal{},
		In: adminapi.Traffic{Messages: b.InMessages, Bytes: b.InBytes}, Out: adminapi.Traffic{Messages: b.OutMessages, Bytes: b.OutBytes},
	}
	if b.Peer.Addr.IsValid() {
		v.Address, v.Transport, v.Version = b.Peer.Addr.String(), map[string]string{"mqtts": "tls", "wss": "websocket"}[b.Peer.Transport], strings.TrimPrefix(b.Version.String(), "MQTT ")
	}
	for _, sub := range b.Subs {
		v.Subscriptions = append(v.Subscriptions, adminapi.Subscription{Filter: sub.Filter, QoS: int(sub.QoS), Rule: sub.Rule})
	}
	for _, r := range slices.Backward(b.Refusals) {
		v.Refusals = append(v.Refusals, adminapi.SessionRefusal{Time: r.Time, Action: string(r.Kind), Topic: r.Topic, Rule: r.Rule, Detail: r.Detail})
	}
	return v
}
