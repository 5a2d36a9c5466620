package audit

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for i := range 5 {
		f.Add(testLeaf(f, i))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrEvent) {
				t.Fatal(err)
			}
			return
		}
		if again, err := Encode(e); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%v\n%q\n%q", err, data, again)
		}
		if !syslogForm.Match(Syslog(e, 1, e.Node)) {
			t.Fatalf("%q", Syslog(e, 1, e.Node))
		}
		OCSF(e, 1)
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	l := filledLog(f, 5)
	w, witness := testWitness(f, 1)
	signed := l.sign(f, 5)
	line, _, err := DecideWitness(WitnessState{}, AddCheckpoint{0, nil, signed}, l.public, w, testNow)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(append(bytes.Clone(signed), line...))
	f.Add([]byte("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nx\n\n— a AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Open(data, l.public)
		if err == nil && (c.Size != 5 || c.Root != l.root || c.Origin != testOrigin || c.Extension != nil) {
			t.Fatalf("what was never signed is opened: %+v", c)
		}
		if _, got, err := VerifyWitnessed(data, l.public, []PublicKey{witness}, 1); err == nil && !got[0].Time.Equal(testNow) {
			t.Fatal("a forged cosignature is accepted")
		}
		if _, err := AddCosignatures(signed, data, []PublicKey{witness}); err == nil && !bytes.Contains(data, line) {
			t.Fatal("a forged cosignature is added")
		}
		if text, _, err := parseNote(data); err == nil {
			if c, err := parseCheckpoint(text); err == nil && c.text() != string(text) {
				t.Fatalf("%q is read as %q", text, c.text())
			}
		}
		if k, err := ParsePublicKey(string(data)); err == nil && k.String() != string(data) {
			t.Fatalf("%q is read as %q", data, k)
		}
	})
}

func FuzzVerifyExport(f *testing.F) {
	l := filledLog(f, 6)
	good := l.export(f, 2, 4)
	older := &testLog{store: l.store, key: l.key, public: l.public, leaves: l.leaves[:3], size: 3}
	f.Add([]byte(good))
	f.Add([]byte(older.export(f)))
	f.Add([]byte(good[:len(good)/2]))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Verify(bytes.NewReader(data), VerifyOptions{Key: l.public})
		var fault *VerifyError
		if err != nil {
			if !errors.As(err, &fault) || fault.Kind == "" || fault.Detail == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		for i := range r.Checkpoint.Size {
			if !bytes.Contains(data, l.leaves[i]) {
				t.Fatalf("entry %d is not in a verified export", i)
			}
		}
		if n := bytes.Count(data, []byte(leafPrefix)); int64(n) != r.Checkpoint.Size {
			t.Fatalf("a verified export of %d entries has %d", r.Checkpoint.Size, n)
		}
	})
}

func FuzzParseTilePath(f *testing.F) {
	for _, s := range []string{"checkpoint", "tile/0/x001/234", "tile/63/000.p/255", "tile/entries/x001/x002/003.p/1", "tile/0/x100/x000/x000/x000/x000/000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, err := ParsePath(path)
		if err == nil && p.String() != path {
			t.Fatalf("%q is read as %q", path, p)
		}
		if err == nil && p.Resource != ResourceCheckpoint && p.Within(0) {
			t.Fatalf("%q is within an empty log", path)
		}
		if leaves, err := DecodeBundle([]byte(path), 1+len(path)%256); err == nil {
			if again, err := EncodeBundle(leaves); err != nil || string(again) != path {
				t.Fatalf("bundle %q is read as %q: %v", path, again, err)
			}
		}
	})
}

func FuzzParseAddCheckpoint(f *testing.F) {
	l := filledLog(f, 9)
	w, _ := testWitness(f, 1)
	root4, err := RootOf(l.store, 4)
	if err != nil {
		f.Fatal(err)
	}
	for _, old := range []int64{0, 4, 9} {
		p, err := ProveConsistency(l.store, old, 9)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(AddCheckpoint{old, p, l.sign(f, 9)}.Body())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParseAddCheckpoint(body)
		if err != nil {
			return
		}
		if !bytes.Equal(a.Body(), body) {
			t.Fatalf("%q is read as %q", body, a.Body())
		}
		a.Origin()
		if _, next, err := DecideWitness(WitnessState{4, root4}, a, l.public, w, testNow); err == nil && (next.Size != 9 || next.Root != l.root) {
			t.Fatalf("the witness is moved to %+v", next)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	l := filledLog(f, 9)
	good := testProof(f, l, 5)
	b, err := good.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProof(data)
		if err != nil {
			return
		}
		if _, _, err := VerifyProof(p, l.public); err == nil && (p.Index != 5 || !bytes.Equal(p.Leaf, good.Leaf)) {
			t.Fatalf("what was never logged is proven: %s", p.Leaf)
		}
	})
}
