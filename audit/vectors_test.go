package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// vectors is what testdata/vectors.json holds: everything another implementation needs to check itself against. Hashes
// and keys are base64, trees and proofs as in RFC 6962, notes as in C2SP signed-note.
type vectors struct {
	Comment      string              `json:"comment"`
	LogSeed      string              `json:"log_seed_hex"`
	LogKey       string              `json:"log_key"`
	WitnessSeed  string              `json:"witness_seed_hex"`
	WitnessKey   string              `json:"witness_key"`
	WitnessTime  int64               `json:"witness_time"`
	Leaves       []string            `json:"leaves"`
	Roots        []string            `json:"roots"` // of the first 0, 1, 2, … leaves
	Inclusion    []inclusionVector   `json:"inclusion"`
	Consistency  []consistencyVector `json:"consistency"`
	Checkpoint   string              `json:"checkpoint"`
	AddRequest   string              `json:"add_checkpoint_request"`
	Witnessed    string              `json:"witnessed_checkpoint"`
	RefusedLeafs []string            `json:"refused_leaves"`
}

type inclusionVector struct {
	Index int64    `json:"index"`
	Size  int64    `json:"size"`
	Path  []string `json:"path"`
}

type consistencyVector struct {
	Old  int64    `json:"old"`
	Size int64    `json:"size"`
	Path []string `json:"proof"`
}

func texts(path []Hash) []string {
	out := []string{}
	for _, h := range path {
		out = append(out, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out
}

func makeVectors(t *testing.T) (vectors, *testLog) {
	const n = 11
	l := filledLog(t, n)
	w, key := testWitness(t, 1)
	v := vectors{
		Comment: "Leaves are hashed as they stand. All paths are of this log. refused_leaves must not decode.",
		LogSeed: hex.EncodeToString(l.key.Seed()), LogKey: l.public.String(),
		WitnessSeed: hex.EncodeToString(w.Signer.(ed25519.PrivateKey).Seed()), WitnessKey: key.String(), WitnessTime: testNow.Unix(),
		Checkpoint: string(l.sign(t, n)),
	}
	for size := range int64(n + 1) {
		root, err := RootOf(l.store, size)
		if err != nil {
			t.Fatal(err)
		}
		v.Roots = append(v.Roots, texts([]Hash{root})...)
		for _, i := range []int64{0, 2, 7, size - 1} {
			if i < 0 || i >= size || size%2 == 0 {
				continue
			}
			path, err := ProveInclusion(l.store, size, i)
			if err != nil {
				t.Fatal(err)
			}
			v.Inclusion = append(v.Inclusion, inclusionVector{i, size, texts(path)})
		}
		p, err := ProveConsistency(l.store, size, n)
		if err != nil {
			t.Fatal(err)
		}
		v.Consistency = append(v.Consistency, consistencyVector{size, n, texts(p)})
	}
	for _, leaf := range l.leaves {
		v.Leaves = append(v.Leaves, string(leaf))
	}
	good := v.Leaves[1]
	v.RefusedLeafs = []string{good + " ", " " + good, good[:len(good)-1], "{}", "null", `{"id":"\u0061"` + good[len(`{"id":"01J0000001"`):]}
	root6, err := RootOf(l.store, 6)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, l, 6, n)
	v.AddRequest = string(req.Body())
	line, _, err := DecideWitness(WitnessState{6, root6}, req, l.public, w, testNow)
	if err != nil {
		t.Fatal(err)
	}
	witnessed, err := AddCosignatures(req.Checkpoint, line, []PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	v.Witnessed = string(witnessed)
	return v, l
}

// TestVectors keeps the formats: what is written today must be what was written when the vectors were made.
func TestVectors(t *testing.T) {
	v, l := makeVectors(t)
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/vectors.json", append(b, '\n'))
	golden(t, "testdata/export.holdfast-audit", []byte(l.export(t, 4)))
	proof, err := testProof(t, l, 7).Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/proof.json", proof)
}

// TestVectorsRead uses the files alone, as another implementation would.
func TestVectorsRead(t *testing.T) {
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := strictJSON(data, &v); err != nil {
		t.Fatal(err)
	}
	log, err := ParsePublicKey(v.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := ParsePublicKey(v.WitnessKey)
	if err != nil {
		t.Fatal(err)
	}
	var tree running
	roots := []Hash{tree.root()}
	for i, leaf := range v.Leaves {
		tree.add([]byte(leaf))
		roots = append(roots, tree.root())
		if _, err := Decode([]byte(leaf)); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	parse := func(list []string) (out []Hash) {
		for _, s := range list {
			h, ok := parseHash(s)
			if !ok {
				t.Fatalf("%q is no hash", s)
			}
			out = append(out, h)
		}
		return out
	}
	for i, root := range parse(v.Roots) {
		if root != roots[i] {
			t.Errorf("root %d differs", i)
		}
	}
	for _, c := range v.Inclusion {
		if err := CheckInclusion(LeafHash([]byte(v.Leaves[c.Index])), c.Index, c.Size, parse(c.Path), roots[c.Size]); err != nil {
			t.Error(err)
		}
	}
	for _, c := range v.Consistency {
		if err := CheckConsistency(c.Old, c.Size, roots[c.Old], roots[c.Size], parse(c.Path)); err != nil {
			t.Error(err)
		}
	}
	c, got, err := VerifyWitnessed([]byte(v.Witnessed), log, []PublicKey{witness}, 1)
	if err != nil || c.Root != roots[len(v.Leaves)] || !got[0].Time.Equal(time.Unix(v.WitnessTime, 0)) {
		t.Errorf("%+v %+v: %v", c, got, err)
	}
	for _, leaf := range v.RefusedLeafs {
		if _, err := Decode([]byte(leaf)); err == nil {
			t.Errorf("%s is accepted", leaf)
		}
	}
	file, err := os.Open("testdata/export.holdfast-audit")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if r, err := Verify(file, VerifyOptions{Key: log}); err != nil || r.Checkpoints != 2 {
		t.Errorf("%+v: %v", r, err)
	}
}
