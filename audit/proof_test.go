package audit

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
)

func testProof(t testing.TB, l *testLog, index int64) Proof {
	path, err := ProveInclusion(l.store, l.size, index)
	if err != nil {
		t.Fatal(err)
	}
	return Proof{index, l.leaves[index], path, l.sign(t, l.size)}
}

func TestProof(t *testing.T) {
	for _, n := range []int{1, 2, 300} {
		l := filledLog(t, n)
		for index := range int64(n) {
			if index > 3 && index < int64(n)-3 {
				continue
			}
			b, err := testProof(t, l, index).Encode()
			if err != nil {
				t.Fatal(err)
			}
			p, err := ParseProof(b)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := p.Encode(); err != nil || string(again) != string(b) {
				t.Fatalf("the proof does not survive: %v", err)
			}
			e, c, err := VerifyProof(p, l.public)
			if err != nil || e.ID != testEvent(int(index)).ID || c.Size != int64(n) {
				t.Fatalf("%+v %+v: %v", e, c, err)
			}
		}
	}
}

func TestProofRefuses(t *testing.T) {
	l := filledLog(t, 30)
	other, _ := NewPublicKey(testOrigin, seedKey(9).Public().(ed25519.PublicKey))
	for name, c := range map[string]struct {
		spoil func(*Proof)
		key   PublicKey
		want  error
	}{
		"another leaf":   {func(p *Proof) { p.Leaf = l.leaves[8] }, l.public, ErrProof},
		"another index":  {func(p *Proof) { p.Index++ }, l.public, ErrProof},
		"beyond":         {func(p *Proof) { p.Index = 30 }, l.public, ErrSize},
		"shorter":        {func(p *Proof) { p.Path = p.Path[1:] }, l.public, ErrProof},
		"longer":         {func(p *Proof) { p.Path = make([]Hash, 99) }, l.public, ErrProof},
		"other key":      {func(p *Proof) {}, other, ErrSignature},
		"other tree":     {func(p *Proof) { p.Checkpoint = l.sign(t, 29) }, l.public, ErrProof},
		"no checkpoint":  {func(p *Proof) { p.Checkpoint = nil }, l.public, ErrNote},
		"interior nodes": {func(p *Proof) { p.Leaf = append(p.Path[0][:], p.Path[1][:]...); p.Path = p.Path[2:] }, l.public, ErrProof},
	} {
		p := testProof(t, l, 7)
		c.spoil(&p)
		if _, _, err := VerifyProof(p, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := testProof(t, l, 7).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string][2]string{
		"format": {"/1", "/2"}, "index": {`"index":7`, `"index":-1`}, "fraction": {`"index":7`, `"index":7.5`}, "field": {`"index":7`, `"index":7,"x":1`},
		"path": {`"path":["`, `"path":["A`}, "trailing": {"}\n", "}x"}, "long": {"}\n", "}" + strings.Repeat(" ", MaxProof)},
	} {
		if _, err := ParseProof([]byte(strings.Replace(string(good), r[0], r[1], 1))); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := (Proof{Leaf: []byte("{}")}).Encode(); !errors.Is(err, ErrEvent) {
		t.Errorf("a leaf that is no event: %v", err)
	}
}
