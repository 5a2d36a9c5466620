package broker

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func FuzzClusterMessages(f *testing.F) {
	for _, seed := range []string{
		`{"k":"take","n":"a","o":"device/d1","s":1763932800000000000}`, `{"k":"claim"}`, `{"n":"a","new":true,"g":{"x":1,"y":-1}}`,
		`{"n":"b","bye":true}`, `{"n":"","g":null}`, `{"k":1}`, `[]`, ``, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseOwn(data); err == nil {
			out, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := parseOwn(out); err != nil && len(out) <= maxOwn || err == nil && again != m {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
		h, err := parseHello(data)
		if err != nil {
			return
		}
		var p peerNode
		p.take(h, time.Time{})
		for name, n := range p.groups {
			if n <= 0 || h.Groups[name] != n {
				t.Fatalf("group %q has %d members", name, n)
			}
		}
	})
}

// TestLoses checks that of two nodes with the same client id exactly one gives way.
func TestLoses(t *testing.T) {
	for _, owners := range [][2]string{{"app/x", "app/x"}, {"app/x", "app/y"}} {
		for _, stamps := range [][2]int64{{1, 2}, {2, 1}, {1, 1}} {
			a := holding{owner: owners[0], stamp: stamps[0]}
			b := holding{owner: owners[1], stamp: stamps[1]}
			atA := a.loses(ownMessage{Node: "b", Owner: b.owner, Stamp: b.stamp}, "a")
			atB := b.loses(ownMessage{Node: "a", Owner: a.owner, Stamp: a.stamp}, "b")
			if atA == atB {
				t.Errorf("%v %v: %v at both", owners, stamps, atA)
			}
		}
	}
}

func TestOwnSubject(t *testing.T) {
	long := string(bytes.Repeat([]byte("a. *>"), 10_000))
	if s := ownSubject(long); len(s) > 64 || bytes.ContainsAny([]byte(s[len(ownPrefix):]), ". *>") {
		t.Errorf("the subject is %q", s)
	}
}
