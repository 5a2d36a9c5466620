package broker

import (
	"context"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// reauthenticate takes AUTH of a client that is connected (MQTT 5 section 4.12.1):
// it proves again who it is, and must be who it was.
func (s *session) reauthenticate(p *mqtt.Auth) error {
	method, _ := p.Props.Blob(mqtt.AuthMethod)
	switch {
	case s.in.method == "":
		return &broken{mqtt.ProtocolError, "AUTH without an authentication method in CONNECT"} // MQTT-4.12.0-7
	case string(method) != s.in.method:
		return &broken{mqtt.ProtocolError, "not the authentication method of CONNECT"} // MQTT-4.12.1-1
	}
	ctx, cancel := context.WithTimeout(s.b.life, s.b.opt.ConnectTimeout)
	defer cancel()
	data, _ := p.Props.Blob(mqtt.AuthData)
	var err error
	switch {
	case p.Code == mqtt.ReAuthenticate && s.in.exchange == nil:
		s.in.steps = 0
		s.in.exchange, err = s.b.cfg.Enhanced[s.in.method].Begin(ctx, s.peer, data)
	case p.Code != mqtt.ContinueAuthentication || s.in.exchange == nil:
		return &broken{mqtt.ProtocolError, "AUTH out of order"}
	}
	if s.in.steps++; err != nil || s.in.steps > maxSteps {
		return &broken{mqtt.NotAuthorized, "the authentication failed"}
	}
	reply, done, who, err := s.in.exchange.Step(ctx, data)
	if err != nil || done && owner(who) != owner(s.principal()) {
		return &broken{mqtt.NotAuthorized, "the authentication failed"} // MQTT-4.12.1-2
	}
	answer := &mqtt.Auth{Code: mqtt.ContinueAuthentication}
	if done {
		s.in.exchange, answer.Code = nil, mqtt.Success
	}
	answer.Props.SetBlob(mqtt.AuthMethod, []byte(s.in.method))
	if len(reply) > 0 {
		answer.Props.SetBlob(mqtt.AuthData, reply)
	}
	s.send(answer)
	return nil
}
