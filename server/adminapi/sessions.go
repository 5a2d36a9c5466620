package adminapi

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// Subscription is a filter that a session has.
type Subscription struct {
	Filter string `json:"filter"`
	QoS    int    `json:"qos" doc:"granted"`
	Rule   string `json:"rule,omitempty" doc:"that allows it, Kind/name/rule"`
}

// Traffic counts messages and payload bytes.
type Traffic struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// SessionRefusal is something that a session was not allowed.
type SessionRefusal struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action" example:"publish"`
	Topic  string    `json:"topic,omitempty"`
	Rule   string    `json:"rule,omitempty"`
	Detail string    `json:"detail"`
}

// Session is an MQTT session, connected or waiting for its client.
type Session struct {
	ClientID      string           `json:"client_id"`
	Kind          string           `json:"kind" enum:"device,gateway,app"`
	ID            string           `json:"id" doc:"device id or app name"`
	Type          string           `json:"type,omitempty"`
	Zone          string           `json:"zone,omitempty"`
	Node          string           `json:"node,omitempty" doc:"the server that has it"`
	Address       string           `json:"address,omitempty" doc:"where it is connected from"`
	Transport     string           `json:"transport,omitempty" doc:"tls or websocket"`
	Version       string           `json:"version,omitempty" doc:"of MQTT: 3.1.1 or 5"`
	Connected     bool             `json:"connected"`
	Since         time.Time        `json:"since,omitzero" doc:"connected, or away, since then"`
	KeepAlive     int64            `json:"keep_alive" doc:"in seconds; 0: none"`
	Expiry        int64            `json:"expiry" doc:"seconds that the session outlives its connection"`
	Subscriptions []Subscription   `json:"subscriptions"`
	Queued        int              `json:"queued" doc:"messages that wait for it"`
	Inflight      int              `json:"inflight" doc:"messages sent and not acknowledged"`
	In            Traffic          `json:"in" doc:"from the client"`
	Out           Traffic          `json:"out" doc:"to the client"`
	Refused       int64            `json:"refused" doc:"actions that policy or limits refused"`
	Dropped       int64            `json:"dropped" doc:"messages that it was too slow for"`
	Refusals      []SessionRefusal `json:"refusals" doc:"the last few"`
}

// SessionFilter selects sessions; empty fields select all.
type SessionFilter struct {
	Kind, Type, Zone string
	Prefix           string // of the client id
	Node             string
	After            string // client id of the last one seen
	Limit            int    // 1 to 1000
}

// SessionList is one page of sessions, by client id.
type SessionList struct {
	Items []Session `json:"items"`
	Next  string    `json:"next,omitempty" doc:"give it as after to read on; absent on the last page"`
}

// Sessions looks at MQTT sessions of all nodes and ends them. CloseSession forgets
// the session, with the messages that wait for it, and
// disconnects the client; it may come back, because what it may do is decided by
// policy and by the state of its device.
type Sessions interface {
	ListSessions(ctx context.Context, f SessionFilter) (list []Session, next string, err error)
	Session(ctx context.Context, clientID string) (Session, error)
	CloseSession(ctx context.Context, by access.Actor, clientID, reason string) error
}

// TapFrom is who published a message.
type TapFrom struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Type string `json:"type,omitempty"`
}

// Property is a user property of a message (MQTT 5 section 3.3.2.3.7).
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TapMessage is a message as an audience sees it. Payload is base64 in JSON.
type TapMessage struct {
	Time       time.Time  `json:"time"`
	Topic      string     `json:"topic"`
	QoS        int        `json:"qos"`
	Retain     bool       `json:"retain"`
	From       TapFrom    `json:"from"`
	Payload    []byte     `json:"payload" doc:"base64; empty when hidden"`
	Properties []Property `json:"properties"`
	Hidden     string     `json:"hidden,omitempty" doc:"why the payload cannot be shown to this audience; absent: it is shown"`
	Marks      []TapMark  `json:"marks" doc:"the fields that this audience does not see as they were sent, at most 64"`
	MoreMarks  bool       `json:"more_marks,omitempty" doc:"there are more than 64"`
}

// TapMark is a field of a payload that a view rewrote.
type TapMark struct {
	Path string `json:"path" doc:"JSON pointer (RFC 6901) into the payload as it was sent; empty: all of it" example:"/operator/name"`
	Do   string `json:"do" enum:"mask,hash,generalize,drop" doc:"what happened to it: characters became *, a keyed hash stands for it, it was rounded or left out if it could not be, it was left out"`
}

// TapQuery is what to watch; only Filter is needed.
type TapQuery struct {
	Filter   string // a topic filter
	Audience string // whose view; empty: the operator's
	From     string // of one sender only: device:ID, gateway:ID or app:NAME
	Type     string // of senders of a device type only
	Zone     string // of devices and gateways that stand in a zone only
}

// Tapped is one step of a tap: that it began, a message, or that messages were
// left out because the reader was too slow.
type Tapped struct {
	Begun   bool
	Message *TapMessage
	Dropped int64 // since the step before
}

// ErrNotShown says that a message was passed over, because whoever watches may not
// see it or did not ask for it: it does not count as seen.
var ErrNotShown = errors.New("passing a message over: it is not shown")

// Tap lets an operator see messages as they pass, as an audience sees them;
// filter is a topic filter, an empty audience is the operator's. It hands each
// step to yield, which may block: the tap then leaves messages out and says how
// many. It ends when ctx does (nil), or with the error of yield; ErrNotShown alone
// does not end it. Start and end are audited, with counts.
type Tap interface {
	Tap(ctx context.Context, by access.Actor, filter, audience string, yield func(Tapped) error) error
}
