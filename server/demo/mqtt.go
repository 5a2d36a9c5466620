package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/mqtt"
)

const (
	keepAlive = 30              // what clients promise, in seconds
	goodbye   = 2 * time.Second // to say it
)

// login is how a client presents itself: a certificate, or the token of an app.
type login struct {
	id    string // client id
	cert  *tls.Certificate
	app   string        // user name, with a token
	token enroll.Secret // password
	will  string        // topic of a retained {"state":"offline"}; empty: none
}

// link is one MQTT 5 connection. Safe for concurrent use.
type link struct {
	id     string
	cert   *tls.Certificate // nil: it came with a token
	client *paho.Client
	conn   net.Conn
	life   context.Context // ends with the connection
	die    context.CancelFunc
	gone   <-chan struct{} // of life
	end    sync.Once
	why    error // guarded by gone: read it after gone is closed
}

// answer is a refusal by the server, as an MQTT client sees it.
type answer struct {
	packet string // PUBACK, SUBACK, CONNACK, DISCONNECT
	code   mqtt.ReasonCode
	text   string // reason string; may be empty
}

// Error is "PUBACK 0x87 not authorized: why".
func (a *answer) Error() string {
	if a.text == "" {
		return fmt.Sprintf("%s 0x%02X %s", a.packet, byte(a.code), a.code)
	}
	return fmt.Sprintf("%s 0x%02X %s: %s", a.packet, byte(a.code), a.code, a.text)
}

// refused gives the server's answer in err, or nil when there was none.
func refused(err error) *answer {
	a, _ := errors.AsType[*answer](err)
	return a
}

// dial connects to MQTT over TLS. hear gets the messages, one after the other; nil: none are expected.
func (s *stage) dial(ctx context.Context, who login, hear func(*paho.Publish)) (*link, error) {
	address := strings.TrimPrefix(s.cfg.MQTTS, "mqtts://")
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: s.tls(who.cert)}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &link{id: who.id, cert: who.cert, conn: conn}
	l.life, l.die = context.WithCancel(context.Background())
	l.gone = l.life.Done()
	l.client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), PacketTimeout: callTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			if hear != nil {
				hear(p.Packet)
			}
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) {
			a := &answer{packet: "DISCONNECT", code: mqtt.ReasonCode(d.ReasonCode)}
			if d.Properties != nil {
				a.text = d.Properties.ReasonString
			}
			l.ended(a)
		},
		OnClientError: l.ended,
	})
	ack, err := l.client.Connect(ctx, connectPacket(who))
	if err == nil {
		return l, nil
	}
	conn.Close()
	l.die()
	if ack != nil && ack.ReasonCode >= 0x80 {
		a := &answer{packet: "CONNACK", code: mqtt.ReasonCode(ack.ReasonCode)}
		if ack.Properties != nil {
			a.text = ack.Properties.ReasonString
		}
		err = a
	}
	return nil, err
}

func connectPacket(who login) *paho.Connect {
	p := &paho.Connect{ClientID: who.id, KeepAlive: keepAlive, CleanStart: true, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if who.app != "" {
		p.Username, p.UsernameFlag = who.app, true
		p.Password, p.PasswordFlag = []byte(who.token.Reveal()), true
	}
	if who.will != "" {
		p.WillMessage = &paho.WillMessage{Topic: who.will, Payload: []byte(`{"state":"offline"}`), QoS: 1, Retain: true}
	}
	return p
}

func (l *link) ended(why error) {
	l.end.Do(func() {
		l.why = why
		l.die()
	})
}

// bound ends with the connection too: the library would wait for answers that
// cannot come any more.
func (l *link) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// publish sends a message at QoS 1 and waits for its answer; a refusal is an *answer.
func (l *link) publish(ctx context.Context, topic string, payload []byte, retain bool) error {
	ctx, done := l.bound(ctx)
	defer done()
	r, err := l.client.Publish(ctx, &paho.Publish{Topic: topic, Payload: payload, QoS: 1, Retain: retain})
	if r == nil || r.ReasonCode < 0x80 {
		return err
	}
	a := &answer{packet: "PUBACK", code: mqtt.ReasonCode(r.ReasonCode)}
	if r.Properties != nil {
		a.text = r.Properties.ReasonString
	}
	return a
}

// subscribe asks for one filter at QoS 1; a refusal is an *answer.
func (l *link) subscribe(ctx context.Context, filter string) error {
	ctx, done := l.bound(ctx)
	defer done()
	r, err := l.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	if r == nil || len(r.Reasons) != 1 || r.Reasons[0] < 0x80 {
		return err
	}
	a := &answer{packet: "SUBACK", code: mqtt.ReasonCode(r.Reasons[0])}
	if r.Properties != nil {
		a.text = r.Properties.ReasonString
	}
	return a
}

// close says goodbye and ends the connection. It may be called more than once.
func (l *link) close() {
	_ = l.conn.SetDeadline(time.Now().Add(goodbye)) // a server that does not read holds nobody up
	_ = l.client.Disconnect(&paho.Disconnect{})     // a connection that is gone needs no goodbye
	l.ended(net.ErrClosed)
}

// waitGone waits until the connection has ended and says why; ok is false when it
// had not after max.
func (l *link) waitGone(ctx context.Context, max time.Duration) (why error, ok bool) {
	timer := time.NewTimer(max)
	defer timer.Stop()
	select {
	case <-l.gone:
		return l.why, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, false
}
