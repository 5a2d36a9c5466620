package mqtt

import (
	"bytes"
	"strings"
	"testing"
)

func fuzzRead(f *testing.F, v Version) {
	for _, x := range readVectors(f) {
		f.Add(x.bytes(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		if len(b) > 0 && b[0]>>4 != byte(CONNECT) {
			r.SetVersion(v)
		}
		r.AllowControlCharacters(true)
		for {
			p, err := r.ReadPacket()
			if len(r.buf) > 2*len(b)+startBuffer {
				t.Fatalf("a buffer of %d bytes for %d bytes read", len(r.buf), len(b))
			}
			if err != nil {
				return
			}
			once, err := p.AppendTo(nil, r.Version())
			if err != nil {
				t.Fatalf("writing what was read: %v", err)
			}
			q, err := decodeOne(once, r.Version(), Either)
			if err != nil {
				t.Fatalf("reading what was written, %x: %v", once, err)
			}
			if twice, err := q.AppendTo(nil, r.Version()); err != nil || !bytes.Equal(once, twice) {
				t.Fatalf("written %x, then %x %v", once, twice, err)
			}
		}
	})
}

func FuzzRead311(f *testing.F) { fuzzRead(f, V311) }

func FuzzRead5(f *testing.F) { fuzzRead(f, V5) }

// naiveMatch follows the text of MQTT 5 section 4.7 level by level.
func naiveMatch(filter, topic []string) bool {
	if len(filter) > 0 && filter[0] == "#" {
		return true
	}
	if len(filter) == 0 || len(topic) == 0 {
		return len(filter) == len(topic)
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && naiveMatch(filter[1:], topic[1:])
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a/#", "a"}, {"+/b", "$a/b"}, {"#", "$SYS"}, {"/+", "/"}, {"a/+/c", "a//c"}, {"+/#", "a"}, {"a", "a/"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		got := Match(filter, topic)
		if ValidFilter(filter) != nil || ValidTopic(topic) != nil {
			return
		}
		want := naiveMatch(strings.Split(filter, "/"), strings.Split(topic, "/")) &&
			(topic[0] != '$' || filter[0] != '+' && filter[0] != '#')
		if got != want || Match([]byte(filter), []byte(topic)) != want {
			t.Fatalf("Match(%q, %q) is %v, want %v", filter, topic, got, want)
		}
	})
}
