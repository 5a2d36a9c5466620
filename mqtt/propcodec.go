package mqtt

import (
	"encoding/binary"
	"math/bits"
)

// properties reads the property length and the properties of a packet of type t, or of a will, into p.
func (c *cursor) properties(p *Properties, t Type) {
	p.reset()
	if c.v != V5 || c.err != nil {
		return
	}
	n := int(c.varint())
	sub := cursor{b: c.take(n), lax: c.lax, lim: c.lim, err: c.err}
	for len(sub.b) > 0 {
		sub.property(p, t)
	}
	if sub.err == nil {
		sub.err = p.check(t, c.from)
	}
	if sub.err != nil {
		c.fail(sub.err)
	}
}

// property reads one property.
func (c *cursor) property(p *Properties, t Type) {
	id := c.byte()
	if id >= idCount || propertyTable[id].in>>t&1 == 0 {
		c.fail(malformed("section 2.2.2.2", "a property that this packet does not have"))
		return
	}
	d := &propertyTable[id]
	if p.has(id) {
		c.fail(protocol("section 2.2.2.2", "the "+d.name+" property is there twice"))
		return
	}
	switch d.kind {
	case kindFlag:
		p.SetNumber(Number(id), uint32(c.byte()))
	case kindTwo:
		p.SetNumber(Number(id), uint32(c.uint16()))
	case kindFour:
		p.SetNumber(Number(id), c.uint32())
	case kindText:
		p.SetBlob(Blob(id), c.text())
	case kindBinary:
		p.SetBlob(Blob(id), c.binary())
	case kindVarint:
		p.SubscriptionIDs = append(p.SubscriptionIDs, c.varint())
	case kindPair:
		if len(p.User) >= c.lim.UserProperties {
			c.fail(refuse(QuotaExceeded, "", "more user properties than this server takes"))
			return
		}
		p.User = append(p.User, UserProperty{c.text(), c.text()})
	}
}

// check applies the rules that hold whoever made p: which packet may have what, and the range of each value.
func (p *Properties) check(t Type, from Sender) error {
	if p.foreign {
		return malformed("section 2.2.2.2", "a property was set to a value of another kind")
	}
	for set := p.present; set != 0; set &= set - 1 {
		if err := p.checkOne(byte(bits.TrailingZeros64(set)), t); err != nil {
			return err
		}
	}
	if err := p.checkSubscriptionIDs(t, from); err != nil {
		return err
	}
	if t == DISCONNECT && from == Server && p.has(byte(SessionExpiry)) {
		return protocol("MQTT-3.14.2-2", "a server must not set the session expiry interval")
	}
	if t == CONNECT && p.has(byte(AuthData)) && !p.has(byte(AuthMethod)) {
		return protocol("section 3.1.2.11.10", "authentication data without a method")
	}
	return nil
}

func (p *Properties) checkOne(id byte, t Type) error {
	d := &propertyTable[id]
	if d.in>>t&1 == 0 {
		return malformed("section 2.2.2.2", "this packet has no "+d.name+" property")
	}
	if d.kind.number() {
		v := p.numbers[id]
		switch {
		case v == 0 && Number(id) == TopicAlias:
			return refuse(TopicAliasInvalid, "MQTT-3.3.2-8", "the topic alias is zero")
		case v == 0 && d.nonzero:
			return protocol("section 2.2.2.2", "the "+d.name+" is zero")
		case d.kind == kindFlag && v > 1:
			return protocol("section 2.2.2.2", "the "+d.name+" is neither 0 nor 1")
		case d.kind == kindTwo && v > 65535:
			return malformed("section 1.5.2", "the "+d.name+" is above 65535")
		}
	}
	if Blob(id) == ResponseTopic {
		return checkTopic(p.blobs[d.slot], "MQTT-3.3.2-14")
	}
	return nil
}

func (p *Properties) checkSubscriptionIDs(t Type, from Sender) error {
	switch n := len(p.SubscriptionIDs); {
	case n == 0:
		return nil
	case t != PUBLISH && t != SUBSCRIBE:
		return malformed("section 2.2.2.2", "this packet has no subscription identifier")
	case t == SUBSCRIBE && n > 1:
		return protocol("section 3.8.2.1.2", "the subscription identifier property is there twice")
	case t == PUBLISH && from == Client:
		return protocol("MQTT-3.3.4-6", "a client must not send a subscription identifier")
	}
	for _, s := range p.SubscriptionIDs {
		if s == 0 || s > maxRemaining {
			return protocol("section 3.8.2.1.2", "a subscription identifier is not 1 to 268435455")
		}
	}
	return nil
}

// size returns the bytes that the properties take without their length; it also checks what only a writer can get wrong.
func (p *Properties) size(t Type) (int, error) {
	if err := p.check(t, Either); err != nil {
		return 0, err
	}
	n := 0
	for set := p.present; set != 0; set &= set - 1 {
		id := bits.TrailingZeros64(set)
		d := &propertyTable[id]
		switch d.kind {
		case kindFlag:
			n += 2
		case kindTwo:
			n += 3
		case kindFour:
			n += 5
		case kindText, kindBinary:
			b := p.blobs[d.slot]
			if err := checkLen(b); err != nil {
				return 0, err
			}
			if d.kind == kindText {
				if err := checkText(b, true); err != nil {
					return 0, err
				}
			}
			n += 3 + len(b)
		}
	}
	for _, s := range p.SubscriptionIDs {
		n += 1 + sizeVarint(int(s))
	}
	for _, u := range p.User {
		for _, s := range [2][]byte{u.Key, u.Value} {
			if err := checkString(s); err != nil {
				return 0, err
			}
		}
		n += 5 + len(u.Key) + len(u.Value)
	}
	if n > maxRemaining {
		return 0, refuse(PacketTooLarge, "section 2.1.4", "the properties are longer than 268435455 bytes")
	}
	return n, nil
}

// append appends the property length n, from size, and the properties.
func (p *Properties) append(dst []byte, n int) []byte {
	dst = appendVarint(dst, n)
	for set := p.present; set != 0; set &= set - 1 {
		id := bits.TrailingZeros64(set)
		d := &propertyTable[id]
		dst = append(dst, byte(id))
		switch d.kind {
		case kindFlag:
			dst = append(dst, byte(p.numbers[id]))
		case kindTwo:
			dst = binary.BigEndian.AppendUint16(dst, uint16(p.numbers[id]))
		case kindFour:
			dst = binary.BigEndian.AppendUint32(dst, p.numbers[id])
		default:
			dst = appendBinary(dst, p.blobs[d.slot])
		}
	}
	for _, s := range p.SubscriptionIDs {
		dst = appendVarint(append(dst, idSubscription), int(s))
	}
	for _, u := range p.User {
		dst = appendBinary(appendBinary(append(dst, idUser), u.Key), u.Value)
	}
	return dst
}

// appendProperties is size and append for packets that do not need the size sooner.
func appendProperties(dst []byte, p *Properties, t Type, v Version) ([]byte, error) {
	if v != V5 {
		return dst, nil
	}
	n, err := p.size(t)
	if err != nil {
		return dst, err
	}
	return p.append(dst, n), nil
}
