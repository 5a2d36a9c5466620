package msglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// Origin says who published a message.
type Origin struct {
	Kind   string // device, gateway, app, …
	ID     string
	Type   string // device type; empty for others
	Client string // MQTT client id, for No Local
}

// Message is what the log stores and nodes exchange. Nobody changes one that was
// handed over.
type Message struct {
	Seq       uint64 // in the log; 0: never stored (QoS 0)
	Topic     string
	QoS       mqtt.QoS
	Retain    bool // as published
	From      Origin
	Time      int64  // when the server took it, in milliseconds since 1970 UTC
	Expiry    uint32 // seconds after Time
	HasExpiry bool
	// Props holds what is forwarded: payload format, content type, response topic,
	// correlation data and user properties. Others are not stored. Nil: none.
	Props    *mqtt.Properties
	Payload  []byte
	Retained bool // set on what Log.Retained yields; not stored
}

// Expired reports whether the message's own expiry has passed (MQTT 5 section
// 3.3.2.3.3).
func (m *Message) Expired(now time.Time) bool {
	return m.HasExpiry && now.UnixMilli()-m.Time >= int64(m.Expiry)*1000
}

// The envelope: version, flags, time in milliseconds, expiry, origin, origin
// node of a cast message, properties; the payload is the rest. Integers are
// unsigned varints, strings have their length before them.
const (
	version = 1

	flagQoS    = 3
	flagRetain = 4
	flagExpiry = 8
	flagProps  = 16
	flagCast   = 32 // sent between nodes, never stored

	propFormat      = 1
	propContent     = 2
	propResponse    = 4
	propCorrelation = 8
	propUser        = 16

	maxField = mqtt.MaxString
	maxUser  = 4096 // user properties of one message
)

var blobs = [...]struct {
	bit byte
	id  mqtt.Blob
}{{propContent, mqtt.ContentType}, {propResponse, mqtt.ResponseTopic}, {propCorrelation, mqtt.CorrelationData}}

// AppendTo appends the message without its topic and sequence number, which the
// subject and the log hold.
func (m *Message) AppendTo(dst []byte) []byte { return m.appendTo(dst, "", 0) }

// appendTo also names the node that cast the message, when node is not empty.
func (m *Message) appendTo(dst []byte, node string, counter uint64) []byte {
	flags := byte(m.QoS) & flagQoS
	if m.Retain {
		flags |= flagRetain
	}
	if m.HasExpiry {
		flags |= flagExpiry
	}
	if node != "" {
		flags |= flagCast
	}
	mask := propMask(m.Props)
	if mask != 0 {
		flags |= flagProps
	}
	dst = append(dst, version, flags)
	dst = binary.AppendUvarint(dst, uint64(max(0, m.Time)))
	if m.HasExpiry {
		dst = binary.AppendUvarint(dst, uint64(m.Expiry))
	}
	for _, s := range [...]string{m.From.Kind, m.From.ID, m.From.Type, m.From.Client} {
		dst = appendField(dst, s)
	}
	if node != "" {
		dst = binary.AppendUvarint(appendField(dst, node), counter)
	}
	if mask != 0 {
		dst = appendProps(dst, m.Props, mask)
	}
	return append(dst, m.Payload...)
}

func propMask(p *mqtt.Properties) (mask byte) {
	if p == nil || p.Empty() {
		return 0
	}
	if _, ok := p.Number(mqtt.PayloadFormat); ok {
		mask |= propFormat
	}
	for _, b := range blobs {
		if _, ok := p.Blob(b.id); ok {
			mask |= b.bit
		}
	}
	if len(p.User) > 0 {
		mask |= propUser
	}
	return mask
}

func appendProps(dst []byte, p *mqtt.Properties, mask byte) []byte {
	dst = append(dst, mask)
	if mask&propFormat != 0 {
		v, _ := p.Number(mqtt.PayloadFormat)
		dst = append(dst, byte(v))
	}
	for _, b := range blobs {
		if mask&b.bit != 0 {
			v, _ := p.Blob(b.id)
			dst = appendField(dst, v)
		}
	}
	if mask&propUser != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(p.User)))
		for _, u := range p.User {
			dst = appendField(appendField(dst, u.Key), u.Value)
		}
	}
	return dst
}

func appendField[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errEnvelope = errors.New("reading a stored message: it is not in the form that this version writes")

// Parse reads what AppendTo wrote, and the topic from the subject. The message
// aliases data.
func Parse(subject string, data []byte) (*Message, error) {
	m, _, _, err := parse(subject, data)
	return m, err
}

func parse(subject string, data []byte) (m *Message, node string, counter uint64, err error) {
	_, rest, ok := cutPrefix(subject)
	if !ok {
		return nil, "", 0, fmt.Errorf("reading a stored message: %.40q is not a subject of messages", subject)
	}
	m = &Message{}
	if m.Topic, err = parseTopic(rest); err != nil {
		return nil, "", 0, err
	}
	d := decoder{data: data}
	if v := d.byte(); v != version {
		return nil, "", 0, fmt.Errorf("reading a stored message: it has version %d, this program knows %d", v, version)
	}
	flags := d.byte()
	m.QoS, m.Retain, m.HasExpiry = mqtt.QoS(flags&flagQoS), flags&flagRetain != 0, flags&flagExpiry != 0
	m.Time = int64(d.uvarint(1 << 52))
	if m.HasExpiry {
		m.Expiry = uint32(d.uvarint(1<<32 - 1))
	}
	m.From = Origin{Kind: d.string(), ID: d.string(), Type: d.string(), Client: d.string()}
	if flags&flagCast != 0 {
		if node, counter = d.string(), d.uvarint(1<<64-1); node == "" {
			d.bad = true
		}
	}
	if flags&flagProps != 0 {
		m.Props = d.props()
	}
	if d.bad || flags > 63 || m.QoS > 2 {
		return nil, "", 0, errEnvelope
	}
	m.Payload = d.data
	return m, node, counter, nil
}

// cutPrefix takes a subject's first token off, dot included.
func cutPrefix(subject string) (prefix, rest string, ok bool) {
	for _, p := range [...]string{inPrefix, outPrefix, retainedPrefix} {
		if len(subject) > len(p) && subject[:len(p)] == p {
			return p, subject[len(p):], true
		}
	}
	return "", "", false
}

// decoder reads fields from the front of data; after a mistake all are empty.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.bad = true
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 || v > most || n > 1 && d.data[n-1] == 0 { // the last: not the shortest form
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) field() []byte {
	n := d.uvarint(maxField)
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) string() string { return string(d.field()) }

func (d *decoder) props() *mqtt.Properties {
	p := &mqtt.Properties{}
	mask := d.byte()
	if mask == 0 || mask > 31 {
		d.bad = true
		return nil
	}
	if mask&propFormat != 0 {
		p.SetNumber(mqtt.PayloadFormat, uint32(d.byte()))
	}
	for _, b := range blobs {
		if mask&b.bit != 0 {
			p.SetBlob(b.id, d.field())
		}
	}
	if mask&propUser == 0 {
		return p
	}
	n := d.uvarint(maxUser)
	if n == 0 || 2*n > uint64(len(d.data)) { // each takes two bytes at least
		d.bad = true
		return nil
	}
	p.User = make([]mqtt.UserProperty, n)
	for i := range p.User {
		p.User[i] = mqtt.UserProperty{Key: d.field(), Value: d.field()}
	}
	return p
}
