package mqtt

import "encoding/binary"

// Publish carries a message (MQTT 5 section 3.3). One that a Reader returned is good until its next ReadPacket: Topic,
// Payload and Props alias the Reader's buffer.
type Publish struct {
	Dup     bool
	QoS     QoS
	Retain  bool
	Topic   []byte // empty only with a topic alias
	ID      uint16 // 0 at QoS 0, never otherwise
	Payload []byte
	Props   Properties
}

// Type returns PUBLISH.
func (*Publish) Type() Type { return PUBLISH }

// Clone returns a copy that shares no memory.
func (p *Publish) Clone() *Publish {
	q := *p
	q.Topic = append([]byte(nil), p.Topic...)
	q.Payload = append([]byte(nil), p.Payload...)
	q.Props = p.Props.Clone()
	return &q
}

func (p *Publish) check(v Version) error {
	switch {
	case p.QoS > 2:
		return malformed("MQTT-3.3.1-4", "QoS 3 does not exist")
	case p.Dup && p.QoS == 0:
		return malformed("MQTT-3.3.1-2", "DUP at QoS 0")
	case p.QoS == 0 && p.ID != 0:
		return protocol("MQTT-2.2.1-2", "a packet identifier at QoS 0")
	case p.QoS > 0 && p.ID == 0:
		return errNoID()
	}
	if len(p.Topic) == 0 && v == V5 {
		if p.Props.has(byte(TopicAlias)) {
			return nil
		}
		return protocol("section 3.3.2.1", "neither a topic name nor a topic alias")
	}
	return checkTopic(p.Topic, "MQTT-3.3.2-2")
}

// read fills p, whose Topic and Payload then alias the cursor's bytes.
func (p *Publish) read(c *cursor, flags byte) error {
	p.Dup, p.QoS, p.Retain = flags&8 != 0, QoS(flags>>1&3), flags&1 != 0
	p.Topic, p.ID = c.text(), 0
	if p.QoS > 0 {
		p.ID = c.uint16()
	}
	c.properties(&p.Props, PUBLISH)
	if c.err != nil {
		return c.err
	}
	p.Payload = c.b
	return p.check(c.v)
}

// AppendTo implements [Packet]. It allocates nothing when dst has room.
func (p *Publish) AppendTo(dst []byte, v Version) ([]byte, error) {
	out, err := p.append(dst, v)
	return out, during(err, "writing", PUBLISH)
}

func (p *Publish) append(dst []byte, v Version) ([]byte, error) {
	if err := checkVersion(v); err != nil {
		return dst, err
	}
	if err := p.check(v); err != nil {
		return dst, err
	}
	if err := checkString(p.Topic); err != nil {
		return dst, err
	}
	n, props := 2+len(p.Topic)+len(p.Payload), 0
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		var err error
		if props, err = p.Props.size(PUBLISH); err != nil {
			return dst, err
		}
		n += sizeVarint(props) + props
	}
	if n > maxRemaining {
		return dst, refuse(PacketTooLarge, "section 2.1.4", "the packet is longer than 268435455 bytes")
	}
	dst = appendVarint(append(dst, byte(PUBLISH)<<4|p.flags()), n)
	dst = appendBinary(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.ID)
	}
	if v == V5 {
		dst = p.Props.append(dst, props)
	}
	return append(dst, p.Payload...), nil
}

func (p *Publish) flags() byte {
	f := byte(p.QoS) << 1
	if p.Dup {
		f |= 8
	}
	if p.Retain {
		f |= 1
	}
	return f
}
