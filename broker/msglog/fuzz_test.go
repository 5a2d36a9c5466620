package msglog

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// natsMatch matches as NATS documents it, token by token.
func natsMatch(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

var topicSeeds = []string{"a", "/", "//", "a/b/c", "a//b", " ", "a.b", "*", ">", "a/%2F", "%", "$SYS/x", "ü/é", "\x01", "\x7f", "a/", "/a"}

func FuzzTopic(f *testing.F) {
	for _, topic := range topicSeeds {
		for _, filter := range []string{"#", "+", "a/#", "+/+", "/#", "a/+/c", topic} {
			f.Add(topic, filter)
		}
	}
	f.Fuzz(func(t *testing.T, topic, filter string) {
		if mqtt.ValidTopic(topic) != nil {
			return
		}
		subject := string(appendTopic([]byte(inPrefix), topic))
		for token := range strings.SplitSeq(subject, ".") {
			if token == "" || strings.ContainsAny(token, " \t\r\n*>\x7f") {
				t.Fatalf("%q has the subject %q", topic, subject)
			}
		}
		if len(subject)-len(inPrefix) <= MaxSubject {
			if back, err := parseTopic(subject[len(inPrefix):]); err != nil || back != topic {
				t.Fatalf("%q came back from %q as %q, %v", topic, subject, back, err)
			}
		}
		parsed, err := mqtt.ParseFilter(filter)
		if err != nil || parsed.Share != "" {
			return
		}
		// The rule about $ is no matter of NATS: take it out of both.
		want := mqtt.Match("x/"+filter, "x/"+topic)
		got := false
		for _, pattern := range filterSubjects(inPrefix, filter) {
			got = got || natsMatch(pattern, subject)
		}
		if got != want {
			t.Fatalf("%q matches %q: NATS says %v, MQTT %v", filter, topic, got, want)
		}
		heard := false
		for _, pattern := range interestSubjects(filter) {
			heard = heard || natsMatch(pattern, string(appendTopic([]byte(outPrefix), topic)))
		}
		if want && !heard {
			t.Fatalf("who is interested in %q does not hear %q", filter, topic)
		}
	})
}

func FuzzSubject(f *testing.F) {
	for _, topic := range topicSeeds {
		f.Add(string(appendTopic(nil, topic)))
	}
	f.Add("a..b")
	f.Add("%2")
	f.Add("%2f")
	f.Fuzz(func(t *testing.T, subject string) {
		if topic, err := parseTopic(subject); err == nil && string(appendTopic(nil, topic)) != subject {
			t.Fatalf("%q is read as %q, which has another subject", subject, topic)
		}
		if id, err := parseSession(sessionPrefix + subject); err == nil && id != "" && len(subject) <= MaxSubject {
			if back, err := sessionSubject(id); err != nil || back != sessionPrefix+subject {
				t.Fatalf("%q is read as %q, which has another subject", subject, id)
			}
		}
	})
}

func example() *Message {
	p := &mqtt.Properties{User: []mqtt.UserProperty{{Key: []byte("k"), Value: []byte("v")}, {Key: nil, Value: []byte("w")}}}
	p.SetNumber(mqtt.PayloadFormat, 1)
	p.SetBlob(mqtt.ContentType, []byte("text/plain"))
	p.SetBlob(mqtt.ResponseTopic, []byte("r/1"))
	p.SetBlob(mqtt.CorrelationData, []byte{0, 1})
	return &Message{
		Topic: "a/b", QoS: 2, Retain: true, From: Origin{"device", "d17", "pump", "d17-1"},
		Time: 1_700_000_000_000, Expiry: 3600, HasExpiry: true, Props: p, Payload: []byte("21.5"),
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(example().AppendTo(nil))
	f.Add(example().appendTo(nil, "n2", 7))
	f.Add(text("a", "x").AppendTo(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, node, counter, err := parse("in.a", data)
		if err != nil {
			return
		}
		if again := m.appendTo(nil, node, counter); !bytes.Equal(again, data) {
			t.Fatalf("%x is written back as %x", data, again)
		}
	})
}

func TestMessageRoundTrip(t *testing.T) {
	m := example()
	got, err := Parse("ret.a.b", m.AppendTo(nil))
	if err != nil || got.Topic != m.Topic || got.From != m.From || got.Expiry != 3600 || !got.Retain || got.QoS != 2 || got.Time != m.Time {
		t.Fatalf("got %+v, %v", got, err)
	}
	if !reflect.DeepEqual(got.Props, m.Props) && !bytes.Equal(got.AppendTo(nil), m.AppendTo(nil)) {
		t.Errorf("properties = %+v", got.Props)
	}
	for i := range m.AppendTo(nil)[:20] {
		if _, err := Parse("in.a", m.AppendTo(nil)[:i]); err == nil && i < 15 {
			t.Errorf("the first %d bytes are a message", i)
		}
	}
	if _, err := Parse("other.a", m.AppendTo(nil)); err == nil {
		t.Error("a message of a foreign subject was read")
	}
}

func FuzzAck(f *testing.F) {
	for _, s := range []string{
		`{"stream":"HF_LOG","seq":12}`, `{"stream":"HF_LOG","seq":12,"duplicate": true}`, `{"stream":"HF_LOG","domain":"hub","seq":12}`,
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"X","seq":0}`, `{"error":{"code":503}}`, `{}`, ``, `{"stream":"a","seq":99999999999999999999}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := parseAck(&nats.Msg{Data: data})
		if a.err == nil && a.seq == 0 {
			t.Fatal("neither stored nor an error")
		}
		if b := parseAckJSON(data); a.err == nil && b.err == nil && (a.seq != b.seq || a.dup != b.dup) {
			t.Fatalf("read as %+v, as JSON %+v", a, b)
		}
		_, _ = fromLeader(data)
	})
}

// TestWindow compares the window with a set.
func TestWindow(t *testing.T) {
	err := quick.Check(func(steps []uint16, big uint8) bool {
		w, set, seq := &window{}, map[uint64]bool{}, uint64(1000)
		w.start(seq)
		for i, s := range steps {
			step := uint64(s%300) + 1
			if i == int(big) {
				step = windowSize - 70 + step
			}
			seq += step
			w.mark(seq)
			set[seq] = true
		}
		for s := max(1001, seq-min(seq, 5000)); s <= seq; s++ {
			if w.has(s) != set[s] || w.lacks(s) == set[s] && s+windowSize > seq {
				return false
			}
		}
		return !w.has(1000) && !w.lacks(1000) && !w.next(seq) && w.next(seq+1)
	}, nil)
	if err != nil {
		t.Error(err)
	}
}
