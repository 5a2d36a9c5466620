package broker

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// inbound is what the goroutine that reads a connection keeps.
type inbound struct {
	window     int // QoS 1 and 2 messages that the client may have under way
	packetSize int
	keepAlive  uint16 // seconds
	subs       int    // the most subscriptions
	aliases    []string
	method     string   // of the enhanced authentication; empty: there was none
	exchange   Exchange // a re-authentication under way
	steps      int      // of it
	topics     map[string]*topic
	refusedAt  time.Time // when the window for counting refusals began
	refused    int       // in that window
}

func (in *inbound) limits(opt Options, l policy.Limits) {
	in.window, in.packetSize, in.subs = opt.ReceiveMaximum, opt.PacketSize, opt.Subscriptions
	if l.Inflight > 0 {
		in.window = min(l.Inflight, 65535)
	}
	if l.PacketSize > 0 {
		in.packetSize = min(in.packetSize, l.PacketSize)
	}
	if l.Subscriptions > 0 {
		in.subs = l.Subscriptions
	}
}

// topic is what is known about a topic that a client publishes to.
type topic struct {
	name    string
	permit  uint64 // whose verdict
	verdict *policy.Verdict
	version uint64 // of the subscriptions that targets are from
	targets []target
}

// maxTopics bounds the topics remembered per client.
const maxTopics = 256

// broken is a client that breaks the protocol or a limit: the connection ends.
type broken struct {
	code   mqtt.ReasonCode
	reason string
}

func (e *broken) Error() string { return e.reason }

// errDone ends reading after DISCONNECT.
var errDone = errors.New("the client disconnected")

// read takes packets until the connection ends.
func (s *session) read() {
	s.reader.SetLimits(mqtt.Limits{PacketSize: s.in.packetSize, Filters: s.in.subs})
	for {
		p, err := s.reader.ReadPacket()
		if s.stopped.Load() {
			return
		}
		if err == nil {
			err = s.handle(p)
		}
		if err != nil {
			s.lost(err)
			return
		}
	}
}

// lost tells why reading ended, to the client where it can still hear it.
func (s *session) lost(err error) {
	var bad *mqtt.Error
	var rule *broken
	var timeout net.Error
	switch {
	case errors.Is(err, errDone), errors.Is(err, io.EOF):
		return
	case errors.As(err, &bad):
		s.b.stats.malformed.Add(1)
		s.refused(Event{Kind: Malformed, Code: bad.Code, Detail: bad.Error()})
		s.close(bad.Code, bad.Error())
	case errors.As(err, &rule):
		s.refused(Event{Kind: ProtocolBroken, Code: rule.code, Detail: rule.reason})
		s.close(rule.code, rule.reason)
	case errors.As(err, &timeout) && timeout.Timeout():
		s.close(mqtt.KeepAliveTimeout, "nothing was heard within one and a half times the keep-alive")
	}
}

func (s *session) handle(p mqtt.Packet) error {
	switch p := p.(type) {
	case *mqtt.Publish:
		return s.publish(p)
	case *mqtt.Puback, *mqtt.Pubrec, *mqtt.Pubcomp:
		s.acknowledged(p)
	case *mqtt.Pubrel:
		return s.release2(p)
	case *mqtt.Subscribe:
		return s.subscribe(p)
	case *mqtt.Unsubscribe:
		return s.unsubscribe(p)
	case *mqtt.Pingreq:
		s.send(&mqtt.Pingresp{})
	case *mqtt.Disconnect:
		return s.disconnect(p)
	case *mqtt.Auth:
		return s.reauthenticate(p)
	default:
		return &broken{mqtt.ProtocolError, p.Type().String() + " was not expected"}
	}
	return nil
}

func (s *session) disconnect(p *mqtt.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := p.Props.Number(mqtt.SessionExpiry); ok {
		if s.expiry == 0 && e > 0 {
			return &broken{mqtt.ProtocolError, "a session expiry of zero cannot be raised in DISCONNECT"}
		}
		s.expiry = s.b.limitExpiry(e, s.permit.Load().perms.Limits())
		if s.expiry == 0 {
			s.persist = false
		}
	}
	if p.Code == mqtt.Success {
		s.will = nil // MQTT-3.14.4-3
	}
	return errDone
}

// topicOf returns what is known about the topic of a PUBLISH, with its alias
// taken out or in.
func (s *session) topicOf(p *mqtt.Publish) (*topic, error) {
	alias, has := uint32(0), false
	if s.version == mqtt.V5 {
		if alias, has = p.Props.Number(mqtt.TopicAlias); has {
			if int(alias) > s.b.opt.TopicAliases {
				return nil, &broken{mqtt.TopicAliasInvalid, "a topic alias above the maximum"} // MQTT-3.2.2-17
			}
			if len(p.Topic) == 0 {
				if int(alias) > len(s.in.aliases) || s.in.aliases[alias-1] == "" {
					return nil, &broken{mqtt.ProtocolError, "a topic alias that was not introduced"}
				}
				t := s.in.topics[s.in.aliases[alias-1]]
				if t == nil {
					t = s.remember(s.in.aliases[alias-1])
				}
				return s.refresh(t), nil
			}
		}
	}
	t := s.in.topics[string(p.Topic)]
	if t == nil {
		t = s.remember(string(p.Topic))
	}
	if has {
		for int(alias) > len(s.in.aliases) {
			s.in.aliases = append(s.in.aliases, "")
		}
		s.in.aliases[alias-1] = t.name
	}
	return s.refresh(t), nil
}

func (s *session) remember(name string) *topic {
	if s.in.topics == nil || len(s.in.topics) >= maxTopics {
		s.in.topics = map[string]*topic{}
	}
	t := &topic{name: name}
	s.in.topics[name] = t
	return t
}

// refresh makes verdict and targets those of now.
func (s *session) refresh(t *topic) *topic {
	if p := s.permit.Load(); t.permit != p.id {
		t.verdict, t.permit = p.perms.Publish(t.name), p.id
	}
	if v := s.b.tree.Version(); t.version != v || t.targets == nil {
		t.targets, t.version = gather(s.b.tree.Match(t.name, nil)), v
		if t.targets == nil {
			t.targets = []target{}
		}
	}
	return t
}

// pending is a QoS 1 or 2 message of the client that is being stored.
type pending struct {
	id   uint16
	qos  mqtt.QoS
	code mqtt.ReasonCode
	text string // reason
	done bool
}

// publish decides about a message and sends it on.
func (s *session) publish(p *mqtt.Publish) error {
	t, err := s.topicOf(p)
	if err != nil {
		return err
	}
	s.count.inMessages.Add(1)
	s.count.inBytes.Add(int64(len(p.Payload)))
	s.b.stats.inMessages.Add(1)
	var slot *pending
	if p.QoS > 0 {
		var again bool
		if slot, again, err = s.take12(p); err != nil || again {
			return err
		}
	}
	if d := s.judge(t, p); !d.Allowed {
		return s.refuse(t, p, slot, d)
	}
	if p.QoS == 0 {
		s.publish0(t, p)
		return nil
	}
	m := s.message(t, p)
	var dedupe string
	if p.QoS == 2 {
		if dedupe, err = s.receipt(p.ID); err != nil {
			return err
		}
	}
	s.b.store(m, dedupe, func(err error) { s.stored(slot, err) })
	return nil
}

// judge decides about a message by policy and limits.
func (s *session) judge(t *topic, p *mqtt.Publish) policy.Decision {
	v := t.verdict
	if !v.Allowed {
		return v.Refusal()
	}
	if why := s.owner.allow(s.b.now(), len(p.Payload)); why != "" {
		return policy.Decision{Code: policy.RateExceeded, Rule: "limits", Detail: why, Fix: "send less often"}
	}
	if !v.Fast(byte(p.QoS), p.Retain, len(p.Payload)) {
		msg := policy.Message{Topic: t.name, Payload: p.Payload, QoS: byte(p.QoS), Retain: p.Retain, From: s.permit.Load().who}
		if d := v.Check(msg, s.b.now(), s.owner.state, s.b.cfg.Target); !d.Allowed {
			return d
		}
	}
	if s.version == mqtt.V5 && !p.Props.Empty() {
		return s.judgeProperties(p)
	}
	return policy.Decision{Allowed: true}
}

// judgeProperties decides about what MQTT 5 adds: a response topic must be one
// that the client may listen to itself, or it could make others publish where it
// may not; a payload said to be text must be text.
func (s *session) judgeProperties(p *mqtt.Publish) policy.Decision {
	if response, ok := p.Props.Blob(mqtt.ResponseTopic); ok {
		if d := s.permit.Load().perms.Subscribe(string(response), 0); !d.Allowed {
			return policy.Decision{Code: policy.NotAuthorized, Rule: d.Rule, Detail: "response topic: " + d.Detail, Fix: d.Fix}
		}
	}
	if f, _ := p.Props.Number(mqtt.PayloadFormat); f == 1 && !validText(p.Payload) {
		return policy.Decision{Code: policy.Unreadable, Detail: "the payload is not the UTF-8 that its format indicator says", Fix: "send UTF-8, or leave the indicator out"}
	}
	return policy.Decision{Allowed: true}
}

// publish0 sends a QoS 0 message on. It allocates nothing when there are no
// properties.
func (s *session) publish0(t *topic, p *mqtt.Publish) {
	if p.Retain || !p.Props.Empty() && s.version == mqtt.V5 {
		s.b.pass(s.message(t, p))
		return
	}
	m := pooledMessage(t.name, p.Payload)
	m.From = s.origin()
	m.Time = s.b.now().UnixMilli()
	s.b.fan(m, t.targets)
	s.b.msgs.Cast(m.Message)
	m.release()
}

func (s *session) origin() msglog.Origin {
	who := &s.permit.Load().who
	return msglog.Origin{Kind: who.Kind, ID: who.ID, Type: who.Type, Client: s.id}
}

// message is a PUBLISH as the log keeps it.
func (s *session) message(t *topic, p *mqtt.Publish) *msglog.Message {
	m := &msglog.Message{Topic: t.name, QoS: p.QoS, Retain: p.Retain, From: s.origin(), Time: s.b.now().UnixMilli(), Payload: append([]byte(nil), p.Payload...)}
	if s.version == mqtt.V5 {
		m.Expiry, m.HasExpiry = p.Props.Number(mqtt.MessageExpiry)
		m.Props = forwarded(&p.Props)
	}
	return m
}

// forwarded copies the properties that receivers get as they are (MQTT-3.3.2-4,
// -15, -16, -17, -20); nil when there are none.
func forwarded(p *mqtt.Properties) *mqtt.Properties {
	q := p.Clone()
	q.ClearNumber(mqtt.TopicAlias)
	q.ClearNumber(mqtt.MessageExpiry)
	q.ClearNumber(mqtt.WillDelay)
	q.SubscriptionIDs = nil
	if q.Empty() {
		return nil
	}
	return &q
}

// pass sends on a QoS 0 message that may be retained.
func (b *Broker) pass(m *msglog.Message) {
	b.fan(&message{Message: m}, gather(b.tree.Match(m.Topic, nil)))
	b.msgs.Cast(m)
	if m.Retain { // last: who finds it among the retained ones and had it live knows that
		b.msgs.SetRetained(m, func(err error) {
			if err != nil {
				b.log.Warn("retaining a message", "err", err)
			}
		})
	}
}

// store puts a QoS 1 or 2 message into the log, and among the retained ones, and
// then calls done. The log hands it to its receivers.
func (b *Broker) store(m *msglog.Message, dedupe string, done func(error)) {
	b.msgs.Append(m, dedupe, func(_ uint64, _ bool, err error) {
		if err != nil || !m.Retain {
			done(err)
			return
		}
		b.msgs.SetRetained(m, done)
	})
}

// stored answers messages whose turn it is, in the order in which they came
// (MQTT-4.6.0-2).
func (s *session) stored(slot *pending, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot.done = true
	if err != nil {
		slot.code, slot.text = mqtt.UnspecifiedError, "the message could not be stored: send it again"
		if errors.Is(err, msglog.ErrTopicTooLong) {
			slot.code, slot.text = mqtt.TopicNameInvalid, "the topic name is too long"
		}
		if s.version == mqtt.V311 || slot.qos == 2 {
			// It must not look acknowledged: the client sends it again after connecting.
			s.closeLocked(mqtt.UnspecifiedError, slot.text)
			return
		}
	}
	n := 0
	for n < len(s.acks) && s.acks[n].done {
		s.answer(s.acks[n])
		n++
	}
	if s.acks = s.acks[n:]; len(s.acks) == 0 {
		s.acks = nil
	}
	if s.stalled != nil && len(s.acks) < s.in.window {
		close(s.stalled)
		s.stalled = nil
	}
}

func (s *session) answer(a *pending) {
	ack := mqtt.Ack{ID: a.id}
	if s.version == mqtt.V5 {
		ack.Code = a.code
		if a.text != "" && s.problem {
			ack.Props.SetBlob(mqtt.ReasonString, []byte(a.text))
		}
	}
	if a.qos == 1 {
		s.sendLocked(&mqtt.Puback{Ack: ack})
	} else {
		if a.code.Failed() {
			s.twice.forget(a.id)
		} else {
			delete(s.twice.Doubt, a.id)
			s.row.dirty = true
		}
		s.sendLocked(&mqtt.Pubrec{Ack: ack})
	}
}
