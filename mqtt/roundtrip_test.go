package mqtt

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

var (
	genText   = rapid.StringN(0, 20, 60).Filter(func(s string) bool { return checkText([]byte(s), true) == nil })
	genBytes  = rapid.SliceOfN(rapid.Byte(), 0, 40)
	genTopic  = rapid.StringMatching(`[a-c$/]{1,12}`)
	genFilter = rapid.SampledFrom([]string{"a", "#", "+", "a/+/b", "a/#", "/", "$SYS/#", "+/+"})
	genID     = rapid.Uint16Min(1)
)

// genProps draws properties that packet t may have.
func genProps(t *rapid.T, ty Type, v Version) Properties {
	var p Properties
	if v != V5 {
		return p
	}
	for id, d := range propertyTable {
		if d.in>>ty&1 == 0 || !rapid.Bool().Draw(t, d.name) {
			continue
		}
		switch {
		case d.kind == kindFlag:
			p.SetNumber(Number(id), rapid.Uint32Max(1).Draw(t, "v"))
		case d.kind == kindTwo:
			p.SetNumber(Number(id), rapid.Uint32Range(1, 65535).Draw(t, "v"))
		case d.kind == kindFour:
			p.SetNumber(Number(id), rapid.Uint32Min(1).Draw(t, "v"))
		case Blob(id) == ResponseTopic:
			p.SetBlob(Blob(id), []byte(genTopic.Draw(t, "v")))
		case d.kind == kindText:
			p.SetBlob(Blob(id), []byte(genText.Draw(t, "v")))
		case d.kind == kindBinary:
			p.SetBlob(Blob(id), genBytes.Draw(t, "v"))
		case d.kind == kindVarint:
			p.SubscriptionIDs = []uint32{rapid.Uint32Range(1, maxRemaining).Draw(t, "v")}
		case d.kind == kindPair:
			for range rapid.IntRange(1, 3).Draw(t, "n") {
				p.User = append(p.User, UserProperty{[]byte(genText.Draw(t, "k")), []byte(genText.Draw(t, "v"))})
			}
		}
	}
	if ty == CONNECT && p.has(byte(AuthData)) {
		p.SetBlob(AuthMethod, []byte("m"))
	}
	return p
}

func genCode(t *rapid.T, ty Type, v Version) ReasonCode {
	switch {
	case v == V5:
		return rapid.SampledFrom(allowedCodes[ty].codes).Draw(t, "code")
	case ty == CONNACK:
		return rapid.SampledFrom([]ReasonCode{0, 1, 2, 3, 4, 5}).Draw(t, "code")
	case ty == SUBACK:
		return rapid.SampledFrom([]ReasonCode{0, 1, 2, 0x80}).Draw(t, "code")
	}
	return 0
}

func genConnect(t *rapid.T, v Version) *Connect {
	p := &Connect{Version: v, CleanStart: rapid.Bool().Draw(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "ka"),
		ClientID: "c" + genText.Draw(t, "id"), Props: genProps(t, CONNECT, v)}
	if rapid.Bool().Draw(t, "user") {
		p.HasUserName, p.UserName = true, genText.Draw(t, "name")
		if rapid.Bool().Draw(t, "password") {
			p.HasPassword, p.Password = true, genBytes.Draw(t, "pw")
		}
	}
	if rapid.Bool().Draw(t, "will") {
		p.Will = &Will{QoS: QoS(rapid.IntRange(0, 2).Draw(t, "q")), Retain: rapid.Bool().Draw(t, "r"),
			Topic: genTopic.Draw(t, "topic"), Payload: genBytes.Draw(t, "b"), Props: genProps(t, will, v)}
	}
	return p
}

func genSubscribe(t *rapid.T, v Version) *Subscribe {
	p := &Subscribe{ID: genID.Draw(t, "id"), Props: genProps(t, SUBSCRIBE, v)}
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		s := Subscription{Filter: genFilter.Draw(t, "f"), QoS: QoS(rapid.IntRange(0, 2).Draw(t, "q"))}
		if v == V5 {
			s.NoLocal, s.RetainAsPublished = rapid.Bool().Draw(t, "nl"), rapid.Bool().Draw(t, "rap")
			s.RetainHandling = rapid.ByteMax(2).Draw(t, "rh")
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return p
}

func genPublish(t *rapid.T, v Version) *Publish {
	p := &Publish{QoS: QoS(rapid.IntRange(0, 2).Draw(t, "q")), Retain: rapid.Bool().Draw(t, "r"),
		Topic: []byte(genTopic.Draw(t, "topic")), Payload: genBytes.Draw(t, "p"), Props: genProps(t, PUBLISH, v)}
	if p.QoS > 0 {
		p.ID, p.Dup = genID.Draw(t, "id"), rapid.Bool().Draw(t, "dup")
	}
	return p
}

func genPacket(t *rapid.T, ty Type, v Version) Packet {
	switch ty {
	case CONNECT:
		return genConnect(t, v)
	case PUBLISH:
		return genPublish(t, v)
	case SUBSCRIBE:
		return genSubscribe(t, v)
	case UNSUBSCRIBE:
		return &Unsubscribe{genID.Draw(t, "id"), rapid.SliceOfN(genFilter, 1, 4).Draw(t, "f"), genProps(t, ty, v)}
	case PINGREQ:
		return &Pingreq{}
	case PINGRESP:
		return &Pingresp{}
	}
	code, props := genCode(t, ty, v), genProps(t, ty, v)
	switch ty {
	case CONNACK:
		return &Connack{code == 0 && rapid.Bool().Draw(t, "sp"), code, props}
	case SUBACK:
		return &Suback{genID.Draw(t, "id"), []ReasonCode{code, 0}, props}
	case UNSUBACK:
		if v == V311 {
			return &Unsuback{ID: genID.Draw(t, "id")}
		}
		return &Unsuback{genID.Draw(t, "id"), []ReasonCode{code, 0}, props}
	case DISCONNECT:
		return &Disconnect{code, props}
	case AUTH:
		props.SetBlob(AuthMethod, []byte("m"))
		return &Auth{code, props}
	}
	a := Ack{genID.Draw(t, "id"), code, props}
	switch ty {
	case PUBACK:
		return &Puback{a}
	case PUBREC:
		return &Pubrec{a}
	case PUBREL:
		return &Pubrel{a}
	}
	return &Pubcomp{a}
}

func TestRoundTrip(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		for ty := CONNECT; ty <= AUTH; ty++ {
			if v == V311 && ty == AUTH {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", ty, v), rapid.MakeCheck(func(t *rapid.T) {
				p := genPacket(t, ty, v)
				raw, err := p.AppendTo([]byte("before"), v)
				if err != nil || !bytes.HasPrefix(raw, []byte("before")) {
					t.Fatalf("writing: %x %v", raw, err)
				}
				r := NewReader(iotest.HalfReader(bytes.NewReader(raw[6:])))
				r.SetVersion(v)
				r.AllowControlCharacters(true)
				q, err := r.ReadPacket()
				if err != nil {
					t.Fatal(err)
				}
				if a, b := describe(p), describe(q); !reflect.DeepEqual(a, b) {
					t.Fatalf("read %v, want %v", b, a)
				}
				if again, err := q.AppendTo(nil, v); err != nil || !bytes.Equal(again, raw[6:]) {
					t.Fatalf("written again: %x %v, want %x", again, err, raw[6:])
				}
			}))
		}
	}
}
