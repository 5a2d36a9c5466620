package audit

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tileStore keeps tiles in memory, and how often they were read.
type tileStore struct {
	tiles map[tileKey][]byte
	reads int
}

func newStore() *tileStore { return &tileStore{tiles: map[tileKey][]byte{}} }

func (s *tileStore) Tile(level int, n int64) ([]byte, error) {
	s.reads++
	data, ok := s.tiles[tileKey{level, n}]
	if !ok {
		return nil, fmt.Errorf("no tile %d at level %d", n, level)
	}
	return data, nil
}

func (s *tileStore) put(tiles []Tile) {
	for _, t := range tiles {
		s.tiles[tileKey{t.Level, t.N}] = bytes.Clone(t.Data)
	}
}

// testLog is a log with everything it ever signed.
type testLog struct {
	store  *tileStore
	key    ed25519.PrivateKey
	public PublicKey
	leaves [][]byte
	size   int64
	root   Hash
}

const testOrigin = "log.example/fleet"

func seedKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func newLog(t testing.TB) *testLog {
	key := seedKey(1)
	public, err := NewPublicKey(testOrigin, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{store: newStore(), key: key, public: public, root: EmptyRoot()}
}

func (l *testLog) add(t testing.TB, leaves ...[]byte) {
	got, err := Append(l.store, l.size, leaves)
	if err != nil {
		t.Fatal(err)
	}
	if got.Before != l.root {
		t.Fatalf("before: %x, want %x", got.Before, l.root)
	}
	l.store.put(got.Tiles)
	l.size, l.root = got.Size, got.Root
	l.leaves = append(l.leaves, leaves...)
}

func (l *testLog) sign(t testing.TB, size int64) []byte {
	root, err := RootOf(l.store, size)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Sign(Checkpoint{Origin: testOrigin, Size: size, Root: root}, l.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// export writes the log with checkpoints after the given sizes and at its end.
func (l *testLog) export(t testing.TB, checkpoints ...int64) string {
	var b bytes.Buffer
	x, err := NewExportWriter(&b, l.public, l.size)
	if err != nil {
		t.Fatal(err)
	}
	for i, leaf := range l.leaves {
		for _, c := range checkpoints {
			if c == int64(i) {
				_ = x.Checkpoint(l.sign(t, c))
			}
		}
		_ = x.Entry(leaf)
	}
	_ = x.Checkpoint(l.sign(t, l.size))
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func testEvent(i int) Event {
	e := Event{
		ID:   fmt.Sprintf("01J%07d", i),
		Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).Add(time.Duration(i) * 1234567 * time.Microsecond), Node: "node-1",
		Actor:  Actor{"token", "boot-7", "192.0.2.7"},
		Action: "device.enroll", Subject: Subject{"device", fmt.Sprintf("d%d", i)}, Outcome: Success, Request: "r-1",
		Details: map[string]string{"serial": fmt.Sprintf("%032x", i), "type": "meter", "profile": "device"},
	}
	switch i % 5 {
	case 1:
		e.Outcome, e.Reason, e.Actor.Source = Refused, `the token "x\y" is used up`, "2001:db8::1"
	case 2:
		e.Action, e.Details, e.Actor = "ca.rotate", nil, Actor{"system", "sequencer", ""}
	case 3:
		e.Action, e.Subject, e.Node = "api_client.sign_in", Subject{}, "Knoten-ü"
	}
	return e
}

func testLeaf(t testing.TB, i int) []byte {
	b, err := Encode(testEvent(i))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func filledLog(t testing.TB, n int) *testLog {
	l := newLog(t)
	for i := range n {
		l.leaves = append(l.leaves, testLeaf(t, i))
	}
	leaves := l.leaves
	l.leaves = nil
	l.add(t, leaves...)
	return l
}

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

func join(l []string) string { return strings.Join(l, "\n") + "\n" }
