package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// heard is a message that a client received.
type heard struct {
	topic, payload string
	retain         bool
	props          *paho.PublishProperties // MQTT 5
}

// terms are what a client asks for when it connects.
type terms struct {
	keep bool   // a session that lasts
	will string // topic of a will whose payload is gone
}

// link is a connected client of somebody else's making.
type link interface {
	subscribe(filter string, qos byte) error
	publish(topic string, qos byte, retain bool, payload string) error
	messages() <-chan heard
	resumed() bool
	cut()   // the network fails
	leave() // DISCONNECT
}

// makers are the Go clients, by name.
var makers = map[string]func(*testing.T, *site, identity, string, terms) (link, error){
	"paho.golang": dialPaho, "autopaho": dialAutopaho, "paho.mqtt.golang": dialPaho3,
}

// mustDial connects a client that ends with the test.
func mustDial(t *testing.T, s *site, maker string, who identity, url string, want terms) link {
	t.Helper()
	l, err := makers[maker](t, s, who, url, want)
	if err != nil {
		t.Fatalf("%s as %s on %s: %v", maker, who.id, url, err)
	}
	t.Cleanup(l.cut)
	return l
}

// inbox is how messages leave a client's callbacks: wide enough for all that a
// test sends.
type inbox chan heard

func newInbox() inbox { return make(inbox, 4096) }

func (in inbox) messages() <-chan heard { return in }

// five is paho.golang.
type five struct {
	inbox
	t    *testing.T
	c    *paho.Client
	conn net.Conn
	ack  *paho.Connack
	said chan *paho.Disconnect
}

func (in inbox) take(r paho.PublishReceived) (bool, error) {
	p := r.Packet
	in <- heard{p.Topic, string(p.Payload), p.Retain, p.Properties}
	return true, nil
}

func dialPaho(t *testing.T, s *site, who identity, server string, want terms) (link, error) {
	ctx := bounded(t)
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if u.Scheme == "wss" {
		conn, err = s.webSocket(ctx, who, "mqtt", nil)
	} else {
		conn, err = (&tls.Dialer{Config: s.tls(who)}).DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	l := &five{inbox: newInbox(), t: t, conn: conn, said: make(chan *paho.Disconnect, 1)}
	l.c = paho.NewClient(paho.ClientConfig{ClientID: who.id, Conn: packets.NewThreadSafeConn(conn), PacketTimeout: 10 * time.Second,
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){l.take},
		OnServerDisconnect: func(d *paho.Disconnect) { l.said <- d }, OnClientError: func(error) {}})
	cp := &paho.Connect{ClientID: who.id, KeepAlive: 30, CleanStart: !want.keep, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if want.keep {
		cp.Properties.SessionExpiryInterval = paho.Uint32(300)
	}
	if who.user != "" {
		cp.Username, cp.Password, cp.UsernameFlag, cp.PasswordFlag = who.user, []byte(who.password), true, true
	}
	if want.will != "" {
		cp.WillMessage = &paho.WillMessage{Topic: want.will, Payload: []byte("gone"), QoS: 1}
	}
	l.ack, err = l.c.Connect(ctx, cp)
	return l, err
}

func (l *five) subscribe(filter string, qos byte) error {
	_, err := l.c.Subscribe(bounded(l.t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (l *five) publish(topic string, qos byte, retain bool, payload string) error {
	_, err := l.c.Publish(bounded(l.t), &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
	return err
}

func (l *five) resumed() bool { return l.ack.SessionPresent }
func (l *five) cut()          { l.conn.Close() }
func (l *five) leave()        { _ = l.c.Disconnect(&paho.Disconnect{}) }

// auto is autopaho.
type auto struct {
	inbox
	t    *testing.T
	c    *autopaho.ConnectionManager
	ack  *paho.Connack
	stop context.CancelFunc
}

func dialAutopaho(t *testing.T, s *site, who identity, server string, want terms) (link, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	l := &auto{inbox: newInbox(), t: t}
	connected, failed := make(chan *paho.Connack, 1), make(chan error, 1)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, TlsCfg: s.tls(who), KeepAlive: 30, CleanStartOnInitialConnection: !want.keep,
		ConnectUsername: who.user, ConnectPassword: []byte(who.password),
		OnConnectionUp:   func(_ *autopaho.ConnectionManager, a *paho.Connack) { connected <- a },
		OnConnectionDown: func() bool { return false },
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		ClientConfig: paho.ClientConfig{ClientID: who.id, OnPublishReceived: []func(paho.PublishReceived) (bool, error){l.take}},
	}
	if want.keep {
		cfg.SessionExpiryInterval = 300
	}
	if want.will != "" {
		cfg.WillMessage = &paho.WillMessage{Topic: want.will, Payload: []byte("gone"), QoS: 1}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l.stop = stop
	if l.c, err = autopaho.NewConnection(ctx, cfg); err != nil {
		stop()
		return nil, err
	}
	select {
	case l.ack = <-connected:
		return l, nil
	case err = <-failed:
	case <-bounded(t).Done():
		err = errors.New("no answer")
	}
	stop()
	<-l.c.Done()
	return nil, err
}

func (l *auto) subscribe(filter string, qos byte) error {
	_, err := l.c.Subscribe(bounded(l.t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (l *auto) publish(topic string, qos byte, retain bool, payload string) error {
	_, err := l.c.Publish(bounded(l.t), &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
	return err
}

func (l *auto) resumed() bool { return l.ack.SessionPresent }
func (l *auto) leave()        { _ = l.c.Disconnect(bounded(l.t)) }

func (l *auto) cut() {
	select {
	case <-l.c.Done():
	default:
		l.c.TerminateConnectionForTest()
	}
	l.stop()
	<-l.c.Done()
}

// three is paho.mqtt.golang, which speaks MQTT 3.1.1.
type three struct {
	inbox
	c       paho3.Client
	conn    net.Conn // when its network is to fail
	present bool
}

func dialPaho3(t *testing.T, s *site, who identity, server string, want terms) (link, error) {
	l := &three{inbox: newInbox()}
	o := paho3.NewClientOptions().AddBroker(server).SetClientID(who.id).SetProtocolVersion(4).SetTLSConfig(s.tls(who)).
		SetUsername(who.user).SetPassword(who.password).SetCleanSession(!want.keep).SetAutoReconnect(false).
		SetConnectTimeout(10 * time.Second).SetOrderMatters(true).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) {
			l.inbox <- heard{topic: m.Topic(), payload: string(m.Payload()), retain: m.Retained()}
		})
	if want.will != "" {
		o.SetWill(want.will, "gone", 1, false)
		o.SetCustomOpenConnectionFn(func(u *url.URL, o paho3.ClientOptions) (c net.Conn, err error) {
			l.conn, err = tls.Dial("tcp", u.Host, o.TLSConfig)
			return l.conn, err
		})
	}
	l.c = paho3.NewClient(o)
	token := l.c.Connect()
	err := settledToken(token)
	if err == nil {
		l.present = token.(*paho3.ConnectToken).SessionPresent()
	}
	return l, err
}

func settledToken(token paho3.Token) error {
	if !token.WaitTimeout(20 * time.Second) {
		return errors.New("no answer")
	}
	return token.Error()
}

func (l *three) subscribe(filter string, qos byte) error {
	token := l.c.Subscribe(filter, qos, nil)
	if err := settledToken(token); err != nil {
		return err
	}
	if got := token.(*paho3.SubscribeToken).Result()[filter]; got > 2 {
		return fmt.Errorf("refused: 0x%02x", got)
	}
	return nil
}

func (l *three) publish(topic string, qos byte, retain bool, payload string) error {
	return settledToken(l.c.Publish(topic, qos, retain, payload))
}

func (l *three) resumed() bool { return l.present }
func (l *three) leave()        { l.c.Disconnect(100) }

func (l *three) cut() {
	if l.conn != nil {
		l.conn.Close()
	}
	l.c.Disconnect(0)
}
