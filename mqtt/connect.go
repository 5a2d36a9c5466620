package mqtt

import "encoding/binary"

// Connect opens a session (MQTT 5 section 3.1).
type Connect struct {
	Version     Version // as read; zero or the same as asked for when writing
	CleanStart  bool    // "clean session" in MQTT 3.1.1
	KeepAlive   uint16  // seconds; 0: none
	ClientID    string
	HasUserName bool
	UserName    string
	HasPassword bool
	Password    Password
	Will        *Will
	Props       Properties
}

// Will is the message to publish when the connection is lost (MQTT 5 section 3.1.2.5).
type Will struct {
	QoS     QoS
	Retain  bool
	Topic   string
	Payload []byte // at most 65535 bytes
	Props   Properties
}

// The connect flags.
const (
	flagClean    = 0x02
	flagWill     = 0x04
	flagRetain   = 0x20
	flagPassword = 0x40
	flagUserName = 0x80
)

// Type returns CONNECT.
func (*Connect) Type() Type { return CONNECT }

// check applies the rules that hold for reading and writing.
func (p *Connect) check(v Version) error {
	if p.Will != nil {
		if p.Will.QoS > 2 {
			return malformed("MQTT-3.1.2-12", "the will has QoS 3")
		}
		if err := checkTopic(p.Will.Topic, "MQTT-4.7.0-1"); err != nil {
			return err
		}
	}
	if v == V311 && p.HasPassword && !p.HasUserName {
		return malformed("MQTT 3.1.1: MQTT-3.1.2-22", "a password without a user name")
	}
	if v == V311 && p.ClientID == "" && !p.CleanStart {
		return refuse(ClientIDNotValid, "MQTT 3.1.1: MQTT-3.1.3-8", "no client identifier without a clean session")
	}
	return nil
}

// head reads protocol name and version.
func (p *Connect) head(c *cursor) {
	name := c.binary()
	if c.err == nil && string(name) != "MQTT" && string(name) != "MQIsdp" {
		c.fail(refuse(UnsupportedProtocolVersion, "MQTT-3.1.2-1", "the protocol name is not MQTT"))
	}
	p.Version = Version(c.byte())
	if c.err == nil && (string(name) != "MQTT" || p.Version != V311 && p.Version != V5) {
		c.fail(refuse(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "neither MQTT 3.1.1 nor MQTT 5"))
	}
	c.v = p.Version
}

func readConnect(c *cursor) (*Connect, error) {
	p := &Connect{}
	p.head(c)
	flags := c.byte()
	switch {
	case c.err != nil:
	case flags&1 != 0:
		c.fail(malformed("MQTT-3.1.2-3", "the reserved connect flag is set"))
	case flags&flagWill == 0 && flags>>3&3 != 0:
		c.fail(malformed("MQTT-3.1.2-11", "a will QoS without a will"))
	case flags&flagWill == 0 && flags&flagRetain != 0:
		c.fail(malformed("MQTT-3.1.2-13", "will retain without a will"))
	}
	p.CleanStart = flags&flagClean != 0
	p.HasUserName, p.HasPassword = flags&flagUserName != 0, flags&flagPassword != 0
	p.KeepAlive = c.uint16()
	c.properties(&p.Props, CONNECT)
	p.ClientID = string(c.text())
	if flags&flagWill != 0 {
		w := &Will{QoS: QoS(flags >> 3 & 3), Retain: flags&flagRetain != 0}
		c.properties(&w.Props, will)
		w.Topic, w.Payload = string(c.text()), c.binary()
		p.Will = w
	}
	if p.HasUserName {
		p.UserName = string(c.text())
	}
	if p.HasPassword {
		p.Password = c.binary()
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return p, p.check(c.v)
}

// AppendTo implements [Packet].
func (p *Connect) AppendTo(dst []byte, v Version) ([]byte, error) { return appendPacket(dst, v, p, 0) }

func (p *Connect) appendBody(dst []byte, v Version) ([]byte, error) {
	if p.Version != 0 && p.Version != v {
		return dst, refuse(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "the CONNECT is of another version")
	}
	if err := p.checkFields(v); err != nil {
		return dst, err
	}
	dst = append(appendBinary(dst, "MQTT"), byte(v), p.flags())
	dst = binary.BigEndian.AppendUint16(dst, p.KeepAlive)
	dst, err := appendProperties(dst, &p.Props, CONNECT, v)
	if err != nil {
		return dst, err
	}
	dst = appendBinary(dst, p.ClientID)
	if w := p.Will; w != nil {
		if dst, err = appendProperties(dst, &w.Props, will, v); err != nil {
			return dst, err
		}
		dst = appendBinary(appendBinary(dst, w.Topic), w.Payload)
	}
	if p.HasUserName {
		dst = appendBinary(dst, p.UserName)
	}
	if p.HasPassword {
		dst = appendBinary(dst, p.Password)
	}
	return dst, nil
}

// checkFields is check and the rules that reading applies field by field.
func (p *Connect) checkFields(v Version) error {
	texts := []string{p.ClientID, p.UserName}
	if p.Will != nil {
		texts = append(texts, p.Will.Topic)
		if err := checkLen(p.Will.Payload); err != nil {
			return err
		}
	}
	for _, s := range texts {
		if err := checkString([]byte(s)); err != nil {
			return err
		}
	}
	if err := checkLen(p.Password); err != nil {
		return err
	}
	return p.check(v)
}

func (p *Connect) flags() byte {
	var f byte
	if p.CleanStart {
		f |= flagClean
	}
	if p.Will != nil {
		f |= flagWill | byte(p.Will.QoS)<<3
		if p.Will.Retain {
			f |= flagRetain
		}
	}
	if p.HasUserName {
		f |= flagUserName
	}
	if p.HasPassword {
		f |= flagPassword
	}
	return f
}
