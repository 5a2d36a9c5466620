package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

var testNow = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func testWitness(t testing.TB, b byte) (Witness, PublicKey) {
	w := Witness{fmt.Sprintf("witness.example/w%d", b), seedKey(100 + b)}
	key, err := NewWitnessKey(w.Name, seedKey(100+b).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return w, key
}

func request(t testing.TB, l *testLog, old, size int64) AddCheckpoint {
	p, err := ProveConsistency(l.store, old, size)
	if err != nil {
		t.Fatal(err)
	}
	sent := AddCheckpoint{old, p, l.sign(t, size)}
	got, err := ParseAddCheckpoint(sent.Body())
	if err != nil || !bytes.Equal(got.Body(), sent.Body()) {
		t.Fatalf("the request does not survive: %v", err)
	}
	return got
}

// cosignVerifier is an independent reading of the cosignature's specification, as a verifier of the reference notes.
type cosignVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (v cosignVerifier) Name() string    { return v.name }
func (v cosignVerifier) KeyHash() uint32 { return v.hash }
func (v cosignVerifier) Verify(msg, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	return ed25519.Verify(v.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg), sig[8:])
}

func TestWitnessFollowsALog(t *testing.T) {
	l := filledLog(t, 700)
	w, key := testWitness(t, 1)
	var state WitnessState
	for _, size := range []int64{0, 0, 1, 1, 256, 257, 700} {
		req := request(t, l, state.Size, size)
		line, next, err := DecideWitness(state, req, l.public, w, testNow)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		signed, err := AddCosignatures(req.Checkpoint, line, []PublicKey{key})
		if err != nil {
			t.Fatal(err)
		}
		c, got, err := VerifyWitnessed(signed, l.public, []PublicKey{key}, 1)
		if err != nil || c.Size != size || len(got) != 1 || !got[0].Time.Equal(testNow) || got[0].Witness != key {
			t.Fatalf("size %d: %+v %+v: %v", size, c, got, err)
		}
		n, err := note.Open(signed, note.VerifierList(cosignVerifier{w.Name, key.id(), key.Key()}))
		if err != nil || len(n.Sigs) != 1 {
			t.Fatalf("the reference refuses the cosignature: %v", err)
		}
		state = next
	}
	if state.Size != 700 || state.Root != l.root {
		t.Fatalf("state %+v", state)
	}
}

func TestWitnessRefuses(t *testing.T) {
	l := filledLog(t, 50)
	root20, _ := RootOf(l.store, 20)
	state := WitnessState{20, root20}
	w, _ := testWitness(t, 1)
	forked := newLog(t)
	for i := range 50 {
		forked.add(t, fmt.Appendf(nil, "other %d", i))
	}
	wrongKey, _ := NewPublicKey(testOrigin, seedKey(9).Public().(ed25519.PublicKey))
	good := request(t, l, 20, 50)
	with := func(f func(*AddCheckpoint)) AddCheckpoint {
		a := good
		a.Proof = append([]Hash(nil), a.Proof...)
		f(&a)
		return a
	}
	for name, c := range map[string]struct {
		req    AddCheckpoint
		key    PublicKey
		status int
		size   int64
	}{
		"unknown log":           {good, PublicKey{}, 404, 0},
		"not signed":            {good, wrongKey, 403, 0},
		"old above new":         {with(func(a *AddCheckpoint) { a.Old = 51 }), l.public, 400, 0},
		"stale":                 {request(t, l, 10, 50), l.public, 409, 20},
		"first contact":         {request(t, l, 0, 50), l.public, 409, 20},
		"ahead":                 {request(t, l, 30, 50), l.public, 409, 20},
		"other root, same size": {request(t, forked, 20, 20), l.public, 409, 20},
		"fork":                  {request(t, forked, 20, 50), l.public, 422, 0},
		"no proof":              {with(func(a *AddCheckpoint) { a.Proof = nil }), l.public, 422, 0},
		"proof changed":         {with(func(a *AddCheckpoint) { a.Proof[1][3] ^= 1 }), l.public, 422, 0},
		"proof longer":          {with(func(a *AddCheckpoint) { a.Proof = append(a.Proof, Hash{}) }), l.public, 422, 0},
		"proof for equal size":  {with(func(a *AddCheckpoint) { a.Checkpoint = l.sign(t, 20) }), l.public, 422, 0},
		"garbage":               {with(func(a *AddCheckpoint) { a.Checkpoint = []byte("x") }), l.public, 400, 0},
	} {
		line, next, err := DecideWitness(state, c.req, c.key, w, testNow)
		var refusal *WitnessError
		if !errors.As(err, &refusal) || refusal.Status() != c.status || refusal.Size != c.size || line != nil || next != state {
			t.Errorf("%s: %v, %q, %+v", name, err, line, next)
			continue
		}
		if contentType, body := refusal.Body(); c.status == 409 && (contentType != "text/x.tlog.size" || string(body) != "20\n") {
			t.Errorf("%s: %s %q", name, contentType, body)
		}
	}
	if _, _, err := DecideWitness(state, good, l.public, Witness{w.Name, nil}, testNow); err == nil || errors.As(err, new(*WitnessError)) {
		t.Errorf("a missing signer: %v", err)
	}
	if _, _, err := DecideWitness(state, good, l.public, w, time.Unix(-1, 0)); err == nil {
		t.Error("a time before 1970 is signed")
	}
}

func TestVerifyWitnessedQuorum(t *testing.T) {
	l := filledLog(t, 5)
	signed := l.sign(t, 5)
	var keys []PublicKey
	for i := range byte(3) {
		w, key := testWitness(t, i)
		keys = append(keys, key)
		line, _, err := DecideWitness(WitnessState{}, AddCheckpoint{0, nil, signed}, l.public, w, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 { // a witness's line with a wrong signature counts as none and spoils nothing
			raw, _ := base64.StdEncoding.DecodeString(strings.Fields(string(line))[2])
			raw[20] ^= 1
			line = []byte(linePrefix + w.Name + " " + base64.StdEncoding.EncodeToString(raw) + "\n")
			if _, err := AddCosignatures(signed, line, keys); !errors.Is(err, ErrWitnesses) {
				t.Fatalf("a wrong line is added: %v", err)
			}
			signed = append(signed, line...)
			continue
		}
		signed, err = AddCosignatures(signed, append(line, line...), keys)
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := bytes.Count(signed, []byte("witness.example/w0")); got != 1 {
		t.Fatalf("a witness stands %d times", got)
	}
	for quorum, want := range []error{nil, nil, nil, ErrWitnesses, ErrWitnesses} {
		if _, got, err := VerifyWitnessed(signed, l.public, keys, quorum); !errors.Is(err, want) || err == nil && len(got) != 2 {
			t.Errorf("quorum %d: %v", quorum, err)
		}
	}
	twice, _ := NewWitnessKey("alias", keys[0].Key())
	self, _ := NewWitnessKey("self", l.public.Key())
	for _, list := range [][]PublicKey{{keys[0], twice}, {keys[0], keys[0]}, {self}, {l.public}} {
		if _, _, err := VerifyWitnessed(signed, l.public, list, 1); !errors.Is(err, ErrWitnesses) {
			t.Errorf("%v is accepted as a list of witnesses: %v", list, err)
		}
	}
}

func TestParseAddCheckpoint(t *testing.T) {
	const example = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\nexample.com/log\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
		"— example.com/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
	a, err := ParseAddCheckpoint([]byte(example))
	if err != nil || a.Old != 20852014 || len(a.Proof) != 1 || a.Origin() != "example.com/log" || string(a.Body()) != example {
		t.Fatalf("%+v: %v", a, err)
	}
	for name, r := range map[string][2]string{
		"no old":         {"old ", ""},
		"leading zero":   {"old 2", "old 02"},
		"not a number":   {"old 2", "old x"},
		"crlf":           {"\n", "\r\n"},
		"hash short":     {"PlRN", ""},
		"hash not exact": {"pkaw=", "pkax="},
		"no empty line":  {"\n\n", "\n"},
		"many":           {"PlRN", strings.Repeat("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n", 63) + "PlRN"},
		"no signatures":  {"— ", "- "},
		"long":           {"example", strings.Repeat("x", MaxAddCheckpoint)},
	} {
		var refusal *WitnessError
		if _, err := ParseAddCheckpoint([]byte(strings.Replace(example, r[0], r[1], 1))); !errors.As(err, &refusal) || refusal.Status() != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWitnessKeepsItsKey prints and marshals a witness in every way and looks for the key.
func TestWitnessKeepsItsKey(t *testing.T) {
	w, _ := testWitness(t, 1)
	j, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprint(w), fmt.Sprintf("%+v", &w), fmt.Sprintf("%#v", w), fmt.Sprintf("%x", w), string(j)} {
		if strings.Trim(got, `"&`) != w.Name && got != "witness "+w.Name {
			t.Errorf("it prints as %s", got)
		}
	}
}

// TestForeignCosignature verifies a line that another implementation (transparency-dev/formats) made with the key of
// testWitness 1 over the checkpoint of the vectors.
func TestForeignCosignature(t *testing.T) {
	const line = "— witness.example/w1 6irQBwAAAABrBHg/OBOwHiVByBoEJD0dseykUjDAsk0CtHz9PJM69aPRgRdL2yi617Bj2g6w1+pxulTnFiOvgfxcFlx1aFzz7jNQDQ==\n"
	l := filledLog(t, 11)
	_, key := testWitness(t, 1)
	signed, err := AddCosignatures(l.sign(t, 11), []byte(line), []PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := VerifyWitnessed(signed, l.public, []PublicKey{key}, 1); err != nil || got[0].Time.Year() != 2026 {
		t.Fatalf("%+v: %v", got, err)
	}
}
