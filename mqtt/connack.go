package mqtt

// Connack answers CONNECT (MQTT 5 section 3.2).
type Connack struct {
	SessionPresent bool
	Code           ReasonCode // in MQTT 3.1.1 the return code, 0 to 5
	Props          Properties
}

// Type returns CONNACK.
func (*Connack) Type() Type { return CONNACK }

func (p *Connack) check(v Version) error {
	if p.SessionPresent && p.Code != Success {
		return protocol("MQTT-3.2.2-6", "session present in a refusal")
	}
	if v == V5 {
		return checkCode(CONNACK, p.Code)
	}
	if p.Code > 5 {
		return malformed("MQTT 3.1.1: section 3.2.2.3", "a return code above 5")
	}
	return nil
}

func readConnack(c *cursor) (*Connack, error) {
	p := &Connack{}
	flags := c.byte()
	if flags > 1 {
		c.fail(malformed("MQTT-3.2.2-1", "a reserved acknowledge flag is set"))
	}
	p.SessionPresent, p.Code = flags == 1, ReasonCode(c.byte())
	c.properties(&p.Props, CONNACK)
	if err := c.end(); err != nil {
		return nil, err
	}
	return p, p.check(c.v)
}

// AppendTo implements [Packet].
func (p *Connack) AppendTo(dst []byte, v Version) ([]byte, error) { return appendPacket(dst, v, p, 0) }

func (p *Connack) appendBody(dst []byte, v Version) ([]byte, error) {
	if err := p.check(v); err != nil {
		return dst, err
	}
	var flags byte
	if p.SessionPresent {
		flags = 1
	}
	return appendProperties(append(dst, flags, byte(p.Code)), &p.Props, CONNACK, v)
}
