package mqtt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// loop yields the same bytes for ever.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

func sample(v Version) *Publish {
	p := &Publish{Topic: []byte("plant/line1/pump7/level"), Payload: bytes.Repeat([]byte("x"), 100)}
	if v == V5 {
		p.Props.SetNumber(MessageExpiry, 60)
		p.Props.SetBlob(ContentType, []byte("text/plain"))
		p.Props.User = []UserProperty{{[]byte("unit"), []byte("m")}}
	}
	return p
}

func TestPublishDoesNotAllocate(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		p := sample(v)
		raw, err := p.AppendTo(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(&loop{b: raw})
		r.SetVersion(v)
		read := func() {
			if _, err := r.ReadPacket(); err != nil {
				t.Fatal(err)
			}
		}
		for range 1000 { // until the buffer has grown
			read()
		}
		if n := testing.AllocsPerRun(5000, read); n != 0 {
			t.Errorf("%s: reading a PUBLISH allocates %v times", v, n)
		}
		w := NewWriter(io.Discard, v)
		w.buf = make([]byte, 0, 2*flushAt)
		if n := testing.AllocsPerRun(5000, func() {
			if err := w.WritePacket(p); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: writing a PUBLISH allocates %v times", v, n)
		}
	}
}

func TestReaderStops(t *testing.T) {
	connect, _ := (&Connect{ClientID: "a"}).AppendTo(nil, V5)
	r := NewReader(bytes.NewReader(append(connect, connect...)))
	if _, err := r.ReadPacket(); err != nil || r.Version() != V5 {
		t.Fatalf("%v, version %v", err, r.Version())
	}
	for range 2 { // the error stays
		var e *Error
		if _, err := r.ReadPacket(); !errors.As(err, &e) || e.Code != ProtocolError || e.Rule != "MQTT-3.1.0-2" {
			t.Fatalf("a second CONNECT: %v", err)
		}
	}
}

func TestReadingGoesOnAfterATimeout(t *testing.T) {
	raw, err := sample(V5).AppendTo(nil, V5)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(raw))))
	r.SetVersion(V5)
	if _, err := r.ReadPacket(); !errors.Is(err, iotest.ErrTimeout) {
		t.Fatalf("got %v, want the timeout", err)
	}
	if p, err := r.ReadPacket(); err != nil || !bytes.Equal(p.(*Publish).Payload, sample(V5).Payload) {
		t.Fatalf("after the timeout: %v %v", p, err)
	}
}

func TestPaddedRemainingLength(t *testing.T) {
	if _, err := decodeOne([]byte{0xC0, 0x80, 0x00}, V311, Either); err != nil {
		t.Errorf("MQTT 3.1.1 has no rule against it: %v", err)
	}
	padded := []byte("\x10\x8d\x00\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")
	if _, err := decodeOne(padded, 0, Either); err == nil || !strings.Contains(err.Error(), "MQTT-1.5.5-1") {
		t.Errorf("a CONNECT of MQTT 5: %v", err)
	}
}

func TestLimits(t *testing.T) {
	many := &Subscribe{ID: 1}
	for range 3 {
		many.Subscriptions = append(many.Subscriptions, Subscription{Filter: "a"})
		many.Props.User = append(many.Props.User, UserProperty{})
	}
	raw, err := many.AppendTo(nil, V5)
	if err != nil {
		t.Fatal(err)
	}
	for limits, want := range map[Limits]ReasonCode{
		{}: 0, {Filters: 2}: QuotaExceeded, {UserProperties: 2}: QuotaExceeded, {PacketSize: len(raw) - 1}: PacketTooLarge,
		{PacketSize: len(raw)}: 0,
	} {
		r := NewReader(bytes.NewReader(raw))
		r.SetVersion(V5)
		r.SetLimits(limits)
		var e *Error
		if _, err := r.ReadPacket(); errors.As(err, &e) != (want != 0) || want != 0 && e.Code != want {
			t.Errorf("%+v: %v, want %v", limits, err, want)
		}
	}
	w := NewWriter(io.Discard, V5)
	w.SetMaxPacketSize(len(raw) - 1)
	var e *Error
	if err := w.WritePacket(many); !errors.As(err, &e) || e.Code != PacketTooLarge || w.Buffered() != 0 {
		t.Errorf("writing beyond the other side's maximum: %v", err)
	}
}

func TestControlCharacters(t *testing.T) {
	for _, text := range []string{"\x01", "\x7f", "\u0085", "\ufdd0", "\ufffe", "\U0001ffff"} {
		if checkText([]byte(text), false) == nil || checkText([]byte(text), true) != nil {
			t.Errorf("%q: refused only when asked to be strict", text)
		}
	}
	if err := checkText([]byte("\ufeffü€😀"), false); err != nil {
		t.Error(err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	p := &Connect{HasUserName: true, HasPassword: true, Password: Password("hunter2")}
	p.Props.SetBlob(AuthData, []byte("hunter2"))
	j, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	out := string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		out += fmt.Sprintf(verb+" "+verb, p, p.Password)
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "68756e74657232") || strings.Contains(out, "104, 117") {
		t.Errorf("a secret printed: %s", out)
	}
}

func TestWriteRefuses(t *testing.T) {
	var foreign Properties
	foreign.SetNumber(Number(ContentType), 1)
	for name, p := range map[string]Packet{
		"id":       &Puback{},
		"topic":    &Publish{Topic: []byte("a/#")},
		"utf-8":    &Publish{Topic: []byte("\xff")},
		"qos":      &Publish{Topic: []byte("a"), QoS: 3, ID: 1},
		"property": &Publish{Topic: []byte("a"), Props: foreign},
		"long":     &Connect{ClientID: strings.Repeat("a", MaxString+1)},
		"empty":    &Subscribe{ID: 1},
		"code":     &Disconnect{Code: GrantedQoS1},
	} {
		if out, err := p.AppendTo([]byte("x"), V5); err == nil || string(out) != "x" {
			t.Errorf("%s: %x %v", name, out, err)
		}
	}
	if _, err := (&Pubrec{Ack{ID: 1, Code: NotAuthorized}}).AppendTo(nil, V311); err == nil {
		t.Error("a refusal written as MQTT 3.1.1, where it would say success")
	}
}

func TestFilters(t *testing.T) {
	if f, err := ParseFilter("$share/g/a/+"); err != nil || f != (Filter{"g", "a/+"}) {
		t.Errorf("%+v %v", f, err)
	}
	for _, bad := range []string{"", "a#", "#/a", "a+", "+a", "$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a",
		"a\x00", "\xff", strings.Repeat("/", MaxLevels), strings.Repeat("a", MaxString+1)} {
		if ValidFilter(bad) == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
	for _, bad := range []string{"", "a/+", "#", "a\x00", "\xff", strings.Repeat("/", MaxLevels), strings.Repeat("a", MaxString+1)} {
		if ValidTopic(bad) == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
}

func BenchmarkReadPublish(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			raw, _ := sample(v).AppendTo(nil, v)
			r := NewReader(&loop{b: bytes.Repeat(raw, 100)})
			r.SetVersion(v)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.ReadPacket(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWritePublish(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			p, w := sample(v), NewWriter(io.Discard, v)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WritePacket(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	topic := []byte("plant/line1/pump7/level")
	for b.Loop() {
		if !Match("plant/+/pump7/#", topic) {
			b.Fatal("no match")
		}
	}
}
