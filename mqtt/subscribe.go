package mqtt

import "encoding/binary"

// Subscription is one topic filter of SUBSCRIBE with its options (MQTT 5 section 3.8.3.1); MQTT 3.1.1 has the QoS only.
type Subscription struct {
	Filter            string
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: send retained messages; 1: if the subscription is new; 2: do not
}

// Subscribe asks for messages (MQTT 5 section 3.8).
type Subscribe struct {
	ID            uint16 // never 0
	Subscriptions []Subscription
	Props         Properties
}

// Type returns SUBSCRIBE.
func (*Subscribe) Type() Type { return SUBSCRIBE }

// checkPattern checks a filter; MQTT 3.1.1 knows no shared subscriptions.
func checkPattern(filter string, v Version) (shared bool, err error) {
	if err = checkFilter(filter); err != nil || v != V5 {
		return false, err
	}
	f, err := splitShare(filter)
	return f.Share != "", err
}

func (s *Subscription) check(v Version) error {
	shared, err := checkPattern(s.Filter, v)
	switch {
	case err != nil:
		return err
	case s.QoS > 2 && v == V311:
		return malformed("MQTT 3.1.1: MQTT-3-8.3-4", "a subscription asks for QoS 3")
	case s.QoS > 2:
		return protocol("section 3.8.3.1", "a subscription asks for QoS 3")
	case s.RetainHandling > 2:
		return protocol("section 3.8.3.1", "retain handling 3 does not exist")
	case shared && s.NoLocal:
		return protocol("MQTT-3.8.3-4", "no local on a shared subscription")
	}
	return nil
}

func (s *Subscription) read(c *cursor) {
	s.Filter = string(c.text())
	o := c.byte()
	reserved := byte(0xC0)
	if c.v == V311 {
		reserved = 0xFC
	}
	if o&reserved != 0 {
		c.fail(malformed("MQTT-3.8.3-5", "a reserved bit of the subscription options is set"))
	}
	s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling = QoS(o&3), o&4 != 0, o&8 != 0, o>>4&3
	if c.err == nil {
		c.err = s.check(c.v)
	}
}

func (s *Subscription) options(v Version) byte {
	o := byte(s.QoS)
	if v != V5 {
		return o
	}
	if s.NoLocal {
		o |= 4
	}
	if s.RetainAsPublished {
		o |= 8
	}
	return o | s.RetainHandling<<4
}

func readSubscribe(c *cursor) (*Subscribe, error) {
	p := &Subscribe{ID: c.id()}
	c.properties(&p.Props, SUBSCRIBE)
	for c.err == nil && len(c.b) > 0 {
		if len(p.Subscriptions) >= c.lim.Filters {
			return nil, errFilters()
		}
		var s Subscription
		s.read(c)
		p.Subscriptions = append(p.Subscriptions, s)
	}
	if c.err == nil && len(p.Subscriptions) == 0 {
		c.fail(protocol("MQTT-3.8.3-2", "no topic filter"))
	}
	return p, c.err
}

func errFilters() error {
	return refuse(QuotaExceeded, "", "more topic filters in one packet than this server takes")
}

// AppendTo implements [Packet].
func (p *Subscribe) AppendTo(dst []byte, v Version) ([]byte, error) {
	return appendPacket(dst, v, p, p.ID)
}

func (p *Subscribe) appendBody(dst []byte, v Version) ([]byte, error) {
	dst, err := appendProperties(dst, &p.Props, SUBSCRIBE, v)
	if err != nil {
		return dst, err
	}
	if len(p.Subscriptions) == 0 {
		return dst, protocol("MQTT-3.8.3-2", "no topic filter")
	}
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		if err := s.check(v); err != nil {
			return dst, err
		}
		if err := checkString([]byte(s.Filter)); err != nil {
			return dst, err
		}
		dst = append(appendBinary(dst, s.Filter), s.options(v))
	}
	return dst, nil
}

// Unsubscribe ends subscriptions (MQTT 5 section 3.10).
type Unsubscribe struct {
	ID      uint16 // never 0
	Filters []string
	Props   Properties
}

// Type returns UNSUBSCRIBE.
func (*Unsubscribe) Type() Type { return UNSUBSCRIBE }

func readUnsubscribe(c *cursor) (*Unsubscribe, error) {
	p := &Unsubscribe{ID: c.id()}
	c.properties(&p.Props, UNSUBSCRIBE)
	for c.err == nil && len(c.b) > 0 {
		if len(p.Filters) >= c.lim.Filters {
			return nil, errFilters()
		}
		f := string(c.text())
		if c.err == nil {
			_, c.err = checkPattern(f, c.v)
		}
		p.Filters = append(p.Filters, f)
	}
	if c.err == nil && len(p.Filters) == 0 {
		c.fail(protocol("MQTT-3.10.3-2", "no topic filter"))
	}
	return p, c.err
}

// AppendTo implements [Packet].
func (p *Unsubscribe) AppendTo(dst []byte, v Version) ([]byte, error) {
	return appendPacket(dst, v, p, p.ID)
}

func (p *Unsubscribe) appendBody(dst []byte, v Version) ([]byte, error) {
	dst, err := appendProperties(dst, &p.Props, UNSUBSCRIBE, v)
	if err != nil {
		return dst, err
	}
	if len(p.Filters) == 0 {
		return dst, protocol("MQTT-3.10.3-2", "no topic filter")
	}
	for _, f := range p.Filters {
		if _, err := checkPattern(f, v); err != nil {
			return dst, err
		}
		if err := checkString([]byte(f)); err != nil {
			return dst, err
		}
		dst = appendBinary(dst, f)
	}
	return dst, nil
}

// bodied is a packet that appendPacket can write.
type bodied interface {
	Packet
	appendBody(dst []byte, v Version) ([]byte, error)
}

// appendPacket appends the fixed header, the packet identifier where the type has one, and the body.
func appendPacket(dst []byte, v Version, p bodied, id uint16) ([]byte, error) {
	start, t := len(dst), p.Type()
	if err := checkVersion(v); err != nil {
		return dst, during(err, "writing", t)
	}
	out := append(dst, byte(t)<<4|t.flags())
	switch t {
	case SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK:
		if id == 0 {
			return dst, during(errNoID(), "writing", t)
		}
		out = binary.BigEndian.AppendUint16(out, id)
	}
	out, err := p.appendBody(out, v)
	if err == nil {
		out, err = finish(out, start)
	}
	if err != nil {
		return dst, during(err, "writing", t)
	}
	return out, nil
}

func checkVersion(v Version) error {
	if v != V311 && v != V5 {
		return refuse(UnsupportedProtocolVersion, "", "the version is neither MQTT 3.1.1 nor MQTT 5")
	}
	return nil
}
