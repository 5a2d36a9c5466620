package mqtt

import "encoding/binary"

// Ack is what PUBACK, PUBREC, PUBREL and PUBCOMP hold. MQTT 3.1.1 has no reason codes: there a failure cannot be
// written, and success is all that is read. One that a Reader returned is good until its next ReadPacket.
type Ack struct {
	ID    uint16 // never 0
	Code  ReasonCode
	Props Properties
}

// Puback acknowledges a PUBLISH at QoS 1 (MQTT 5 section 3.4).
type Puback struct{ Ack }

// Pubrec is the first answer to a PUBLISH at QoS 2 (MQTT 5 section 3.5).
type Pubrec struct{ Ack }

// Pubrel answers PUBREC (MQTT 5 section 3.6).
type Pubrel struct{ Ack }

// Pubcomp answers PUBREL and completes QoS 2 (MQTT 5 section 3.7).
type Pubcomp struct{ Ack }

// Type returns PUBACK.
func (*Puback) Type() Type { return PUBACK }

// Type returns PUBREC.
func (*Pubrec) Type() Type { return PUBREC }

// Type returns PUBREL.
func (*Pubrel) Type() Type { return PUBREL }

// Type returns PUBCOMP.
func (*Pubcomp) Type() Type { return PUBCOMP }

// AppendTo implements [Packet].
func (p *Puback) AppendTo(dst []byte, v Version) ([]byte, error) { return p.append(dst, v, PUBACK) }

// AppendTo implements [Packet].
func (p *Pubrec) AppendTo(dst []byte, v Version) ([]byte, error) { return p.append(dst, v, PUBREC) }

// AppendTo implements [Packet].
func (p *Pubrel) AppendTo(dst []byte, v Version) ([]byte, error) { return p.append(dst, v, PUBREL) }

// AppendTo implements [Packet].
func (p *Pubcomp) AppendTo(dst []byte, v Version) ([]byte, error) { return p.append(dst, v, PUBCOMP) }

func (a *Ack) read(c *cursor, t Type) error {
	a.Code = Success
	a.Props.reset()
	a.ID = c.id()
	readCode(c, &a.Code, &a.Props, t)
	return c.end()
}

func (a *Ack) append(dst []byte, v Version, t Type) ([]byte, error) {
	out, err := a.appendChecked(dst, v, t)
	if err != nil {
		return dst, during(err, "writing", t)
	}
	return out, nil
}

func (a *Ack) appendChecked(dst []byte, v Version, t Type) ([]byte, error) {
	if err := checkVersion(v); err != nil {
		return dst, err
	}
	if a.ID == 0 {
		return dst, errNoID()
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(append(dst, byte(t)<<4|t.flags()), a.ID)
	dst, err := appendCode(dst, a.Code, &a.Props, t, v)
	if err != nil {
		return dst, err
	}
	return finish(dst, start)
}

// readCode reads the reason code and the properties, both of which may be left out from the end in MQTT 5.
func readCode(c *cursor, code *ReasonCode, p *Properties, t Type) {
	if c.v != V5 || c.err != nil || len(c.b) == 0 {
		return
	}
	*code = ReasonCode(c.byte())
	if err := checkCode(t, *code); err != nil {
		c.fail(err)
		return
	}
	if len(c.b) > 0 {
		c.properties(p, t)
	}
}

// appendCode appends the shortest form of what readCode reads.
func appendCode(dst []byte, code ReasonCode, p *Properties, t Type, v Version) ([]byte, error) {
	if err := checkCode(t, code); err != nil {
		return dst, err
	}
	if v != V5 {
		if code.Failed() || t == DISCONNECT && code != Success {
			return dst, protocol("", "MQTT 3.1.1 cannot say "+code.String())
		}
		return dst, nil
	}
	if p.Empty() {
		if code != Success {
			dst = append(dst, byte(code))
		}
		return dst, nil
	}
	return appendProperties(append(dst, byte(code)), p, t, v)
}
