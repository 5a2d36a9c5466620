package mqtt

// Suback answers SUBSCRIBE, a code per filter in its order (MQTT 5 section 3.9); MQTT 3.1.1 has 0, 1, 2 and 0x80.
type Suback struct {
	ID    uint16 // never 0
	Codes []ReasonCode
	Props Properties
}

// Unsuback answers UNSUBSCRIBE, a code per filter in its order (MQTT 5 section 3.11); MQTT 3.1.1 has no codes.
type Unsuback struct {
	ID    uint16 // never 0
	Codes []ReasonCode
	Props Properties
}

// Type returns SUBACK.
func (*Suback) Type() Type { return SUBACK }

// Type returns UNSUBACK.
func (*Unsuback) Type() Type { return UNSUBACK }

// checkCodes checks the payload of SUBACK or UNSUBACK.
func checkCodes(t Type, codes []ReasonCode, v Version) error {
	if len(codes) == 0 {
		return protocol(allowedCodes[t].rule, "no reason code")
	}
	for _, r := range codes {
		if v == V311 && r > 2 && r != UnspecifiedError {
			return malformed("MQTT 3.1.1: MQTT-3.9.3-2", "a return code that is not 0, 1, 2 or 0x80")
		}
		if err := checkCode(t, r); err != nil {
			return err
		}
	}
	return nil
}

// codes reads reason codes up to the end of the packet.
func (c *cursor) codes(t Type) []ReasonCode {
	if c.err != nil {
		return nil
	}
	out := make([]ReasonCode, 0, len(c.b))
	for _, b := range c.take(len(c.b)) {
		out = append(out, ReasonCode(b))
	}
	if err := checkCodes(t, out, c.v); err != nil {
		c.fail(err)
	}
	return out
}

func readSuback(c *cursor) (*Suback, error) {
	p := &Suback{ID: c.id()}
	c.properties(&p.Props, SUBACK)
	p.Codes = c.codes(SUBACK)
	return p, c.end()
}

func readUnsuback(c *cursor) (*Unsuback, error) {
	p := &Unsuback{ID: c.id()}
	if c.v == V5 {
		c.properties(&p.Props, UNSUBACK)
		p.Codes = c.codes(UNSUBACK)
	}
	return p, c.end()
}

func appendCodes(dst []byte, codes []ReasonCode) []byte {
	for _, r := range codes {
		dst = append(dst, byte(r))
	}
	return dst
}

// AppendTo implements [Packet].
func (p *Suback) AppendTo(dst []byte, v Version) ([]byte, error) {
	return appendPacket(dst, v, p, p.ID)
}

func (p *Suback) appendBody(dst []byte, v Version) ([]byte, error) {
	if err := checkCodes(SUBACK, p.Codes, v); err != nil {
		return dst, err
	}
	dst, err := appendProperties(dst, &p.Props, SUBACK, v)
	return appendCodes(dst, p.Codes), err
}

// AppendTo implements [Packet].
func (p *Unsuback) AppendTo(dst []byte, v Version) ([]byte, error) {
	return appendPacket(dst, v, p, p.ID)
}

func (p *Unsuback) appendBody(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return dst, nil
	}
	if err := checkCodes(UNSUBACK, p.Codes, v); err != nil {
		return dst, err
	}
	dst, err := appendProperties(dst, &p.Props, UNSUBACK, v)
	return appendCodes(dst, p.Codes), err
}
