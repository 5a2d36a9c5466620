package broker_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// hmacMethod is a challenge and a response with a shared secret.
type hmacMethod struct{ secret []byte }

func (m hmacMethod) Begin(context.Context, broker.Peer, []byte) (broker.Exchange, error) {
	return &hmacExchange{m: m}, nil
}

type hmacExchange struct {
	m         hmacMethod
	challenge []byte
	name      []byte
}

func (m hmacMethod) sign(what ...[]byte) []byte {
	h := hmac.New(sha256.New, m.secret)
	for _, w := range what {
		h.Write(w)
	}
	return h.Sum(nil)
}

func (x *hmacExchange) Step(_ context.Context, data []byte) ([]byte, bool, policy.Principal, error) {
	if x.challenge == nil {
		x.name, x.challenge = bytes.Clone(data), make([]byte, 16)
		rand.Read(x.challenge)
		return x.challenge, false, policy.Principal{}, nil
	}
	if !hmac.Equal(data, x.m.sign(x.name, x.challenge)) {
		return nil, false, policy.Principal{}, errors.New("wrong")
	}
	return []byte("welcome"), true, policy.Principal{Kind: policy.App, ID: string(x.name)}, nil
}

// authenticate sends CONNECT with the method and answers the challenge.
func authenticate(f *fixture, name string, secret hmacMethod) *client {
	c := mqtt.Connect{ClientID: "e", CleanStart: true}
	c.Props.SetBlob(mqtt.AuthMethod, []byte("HMAC"))
	c.Props.SetBlob(mqtt.AuthData, []byte(name))
	cl := f.raw(mustAppend(f.t, &c))
	cl.answer(name, secret)
	return cl
}

func (c *client) answer(name string, secret hmacMethod) {
	c.t.Helper()
	a := next[*mqtt.Auth](c)
	method, _ := a.Props.Blob(mqtt.AuthMethod)
	challenge, _ := a.Props.Blob(mqtt.AuthData)
	if a.Code != mqtt.ContinueAuthentication || string(method) != "HMAC" || len(challenge) != 16 {
		c.t.Fatalf("%v %q", a.Code, method)
	}
	c.auth(mqtt.ContinueAuthentication, "HMAC", secret.sign([]byte(name), challenge))
}

func (c *client) auth(code mqtt.ReasonCode, method string, data []byte) {
	c.t.Helper()
	a := &mqtt.Auth{Code: code}
	a.Props.SetBlob(mqtt.AuthMethod, []byte(method))
	a.Props.SetBlob(mqtt.AuthData, data)
	c.send(a)
}

func TestEnhancedAuthentication(t *testing.T) {
	right, wrong := hmacMethod{[]byte("right")}, hmacMethod{[]byte("wrong")}
	f := newFixture(t, open, calm, func(c *broker.Config) {
		c.Enhanced = map[string]broker.Enhanced{"HMAC": right}
	})
	c := authenticate(f, "any", right)
	ack := next[*mqtt.Connack](c)
	method, _ := ack.Props.Blob(mqtt.AuthMethod)
	data, _ := ack.Props.Blob(mqtt.AuthData)
	if ack.Code != 0 || string(method) != "HMAC" || string(data) != "welcome" {
		t.Fatalf("%v %q %q", ack.Code, method, data)
	}
	c.quiet()
	// Again, while connected; then with a wrong answer.
	c.auth(mqtt.ReAuthenticate, "HMAC", []byte("any"))
	c.answer("any", right)
	a := next[*mqtt.Auth](c)
	if method, _ := a.Props.Blob(mqtt.AuthMethod); a.Code != 0 || string(method) != "HMAC" {
		t.Fatalf("%v %q", a.Code, method)
	}
	c.quiet()
	c.auth(mqtt.ReAuthenticate, "HMAC", []byte("any"))
	c.answer("any", wrong)
	c.disconnected(mqtt.NotAuthorized)
	for name, step := range map[string]func(c *client){
		"other method": func(c *client) { c.auth(mqtt.ReAuthenticate, "OTHER", nil) },
		"out of order": func(c *client) { c.auth(mqtt.ContinueAuthentication, "HMAC", nil) },
		"no method":    func(c *client) { c.send(&mqtt.Auth{}) },
		"begun twice":  func(c *client) { c.auth(mqtt.ReAuthenticate, "HMAC", nil); c.auth(mqtt.ReAuthenticate, "HMAC", nil) },
	} {
		c := authenticate(f, "any", right)
		next[*mqtt.Connack](c)
		step(c)
		t.Log(name)
		c.disconnected(mqtt.ProtocolError)
	}
	// Another principal than the one of the connection.
	c = authenticate(f, "any", right)
	next[*mqtt.Connack](c)
	c.auth(mqtt.ReAuthenticate, "HMAC", []byte("mallory"))
	c.answer("mallory", right)
	c.disconnected(mqtt.NotAuthorized)
}

func TestEnhancedAuthenticationRefused(t *testing.T) {
	right, wrong := hmacMethod{[]byte("right")}, hmacMethod{[]byte("wrong")}
	f := newFixture(t, open, calm, func(c *broker.Config) {
		c.Enhanced = map[string]broker.Enhanced{"HMAC": right}
	})
	refused := func(c *client, code mqtt.ReasonCode) {
		t.Helper()
		if ack := next[*mqtt.Connack](c); ack.Code != code {
			t.Errorf("%v, want %v", ack.Code, code)
		}
		if p, err := c.read(); err == nil {
			t.Errorf("%v after a refusal", p.Type())
		}
	}
	refused(authenticate(f, "any", wrong), mqtt.NotAuthorized)
	refused(authenticate(f, "mallory", right), mqtt.NotAuthorized) // not the certificate's
	unknown := mqtt.Connect{ClientID: "e"}
	unknown.Props.SetBlob(mqtt.AuthMethod, []byte("SCRAM"))
	refused(f.raw(mustAppend(t, &unknown)), mqtt.BadAuthenticationMethod)
	begin := mqtt.Connect{ClientID: "e"}
	begin.Props.SetBlob(mqtt.AuthMethod, []byte("HMAC"))
	for _, p := range []mqtt.Packet{&mqtt.Pingreq{}, &mqtt.Publish{Topic: []byte("x")}} { // MQTT-3.1.2-30
		c := f.raw(mustAppend(t, &begin))
		next[*mqtt.Auth](c)
		c.send(p)
		refused(c, mqtt.ProtocolError)
	}
	c := f.raw(mustAppend(t, &begin))
	next[*mqtt.Auth](c)
	c.auth(mqtt.ContinueAuthentication, "OTHER", nil)
	refused(c, mqtt.ProtocolError)
	c = f.raw(mustAppend(t, &begin))
	next[*mqtt.Auth](c)
	c.send(&mqtt.Disconnect{})
	c.gone()
	c = f.connect("plain", true) // MQTT-4.12.0-7
	c.auth(mqtt.ReAuthenticate, "HMAC", nil)
	c.disconnected(mqtt.ProtocolError)
}
