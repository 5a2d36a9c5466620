package mqtt

// Pingreq asks for a Pingresp (MQTT 5 section 3.12).
type Pingreq struct{}

// Pingresp answers Pingreq (MQTT 5 section 3.13).
type Pingresp struct{}

// Disconnect is the last packet of a connection (MQTT 5 section 3.14); in MQTT 3.1.1 only clients send it, without a code.
type Disconnect struct {
	Code  ReasonCode
	Props Properties
}

// Auth carries a step of enhanced authentication (MQTT 5 section 3.15). Unless it is Success without properties it names the
// method.
type Auth struct {
	Code  ReasonCode
	Props Properties
}

// Type returns PINGREQ.
func (*Pingreq) Type() Type { return PINGREQ }

// Type returns PINGRESP.
func (*Pingresp) Type() Type { return PINGRESP }

// Type returns DISCONNECT.
func (*Disconnect) Type() Type { return DISCONNECT }

// Type returns AUTH.
func (*Auth) Type() Type { return AUTH }

// AppendTo implements [Packet].
func (p *Pingreq) AppendTo(dst []byte, v Version) ([]byte, error) { return appendPacket(dst, v, p, 0) }

// AppendTo implements [Packet].
func (p *Pingresp) AppendTo(dst []byte, v Version) ([]byte, error) { return appendPacket(dst, v, p, 0) }

// AppendTo implements [Packet].
func (p *Disconnect) AppendTo(dst []byte, v Version) ([]byte, error) {
	return appendPacket(dst, v, p, 0)
}

// AppendTo implements [Packet].
func (p *Auth) AppendTo(dst []byte, v Version) ([]byte, error) { return appendPacket(dst, v, p, 0) }

func (*Pingreq) appendBody(dst []byte, _ Version) ([]byte, error)  { return dst, nil }
func (*Pingresp) appendBody(dst []byte, _ Version) ([]byte, error) { return dst, nil }

func (p *Disconnect) appendBody(dst []byte, v Version) ([]byte, error) {
	return appendCode(dst, p.Code, &p.Props, DISCONNECT, v)
}

func (p *Auth) appendBody(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return dst, errNoAuth()
	}
	if (p.Code != Success || !p.Props.Empty()) && !p.Props.has(byte(AuthMethod)) {
		return dst, errNoMethod()
	}
	return appendCode(dst, p.Code, &p.Props, AUTH, v)
}

func errNoAuth() error { return protocol("", "MQTT 3.1.1 has no AUTH") }

func errNoMethod() error { return protocol("section 3.15.2.2.2", "no authentication method") }

func readDisconnect(c *cursor) (*Disconnect, error) {
	p := &Disconnect{}
	if c.v == V311 && c.from == Server {
		return nil, protocol("MQTT 3.1.1: section 3.14", "a server does not send this packet in MQTT 3.1.1")
	}
	readCode(c, &p.Code, &p.Props, DISCONNECT)
	if c.err == nil && c.from == Server && p.Code == DisconnectWithWill {
		return nil, protocol("section 3.14.2.1", "a server has no will to send")
	}
	return p, c.end()
}

func readAuth(c *cursor) (*Auth, error) {
	p := &Auth{}
	if c.v != V5 {
		return nil, errNoAuth()
	}
	bare := len(c.b) == 0
	readCode(c, &p.Code, &p.Props, AUTH)
	if c.err == nil && !bare && !p.Props.has(byte(AuthMethod)) {
		return nil, errNoMethod()
	}
	return p, c.end()
}
