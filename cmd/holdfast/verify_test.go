package main

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

// testLog is a small log in memory.
type testLog struct {
	tiles  map[[2]int64][]byte
	key    ed25519.PrivateKey
	public audit.PublicKey
	leaves [][]byte
	size   int64
	root   audit.Hash
}

func (l *testLog) Tile(level int, n int64) ([]byte, error) {
	data, ok := l.tiles[[2]int64{int64(level), n}]
	if !ok {
		return nil, fmt.Errorf("no tile %d at level %d", n, level)
	}
	return data, nil
}

func newTestLog(t *testing.T, entries int) *testLog {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	public, err := audit.NewPublicKey("log.example/fleet", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{tiles: map[[2]int64][]byte{}, key: key, public: public}
	l.grow(t, entries)
	return l
}

func (l *testLog) grow(t *testing.T, entries int) {
	t.Helper()
	var leaves [][]byte
	for i := range entries {
		leaf, err := audit.Encode(audit.Event{ID: fmt.Sprintf("e%d", int(l.size)+i), Time: time.Unix(1_700_000_000+l.size+int64(i), 0), Node: "n1",
			Actor: audit.Actor{Kind: "token", ID: "admin"}, Action: "device.create", Subject: audit.Subject{Kind: "device", ID: "d1"}, Outcome: audit.Success})
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	got, err := audit.Append(l, l.size, leaves)
	if err != nil {
		t.Fatal(err)
	}
	for _, tile := range got.Tiles {
		l.tiles[[2]int64{int64(tile.Level), tile.N}] = bytes.Clone(tile.Data)
	}
	l.leaves, l.size, l.root = append(l.leaves, leaves...), got.Size, got.Root
}

func (l *testLog) checkpoint(t *testing.T) []byte {
	t.Helper()
	signed, err := audit.Sign(audit.Checkpoint{Origin: l.public.Name(), Size: l.size, Root: l.root}, l.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (l *testLog) export(t *testing.T, path string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := audit.NewExportWriter(&b, l.public, l.size)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range l.leaves {
		if err := w.Entry(leaf); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Checkpoint(l.checkpoint(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestVerifyExport(t *testing.T) {
	dir := t.TempDir()
	l := newTestLog(t, 300)
	export, state, keyFile := filepath.Join(dir, "log"), filepath.Join(dir, "state"), filepath.Join(dir, "key")
	text := l.export(t, export)
	if err := os.WriteFile(keyFile, []byte(l.public.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runIn(t, "", nil, "audit", "verify", export, "--key", keyFile).check(t, 0, "verified: 300 entries of the log log.example/fleet", "not checked against anything seen before")
	runIn(t, text, nil, "audit", "verify", "-", "--key", l.public.String(), "-o", "json").check(t, 0, `"entries": 300`)
	runIn(t, strings.Replace(text, `"d1"`, `"d2"`, 1), nil, "audit", "verify", "-", "--key", keyFile).check(t, 1, "NOT verified, changed", "fix: keep this file as evidence")
	runIn(t, "nonsense\n", nil, "audit", "verify", "-", "--key", keyFile).check(t, 1, "NOT verified")
	runIn(t, text, nil, "audit", "verify", "-", "--key", "nonsense").check(t, 2, "neither a public key nor a file")

	// The state makes a log that was cut back visible.
	runIn(t, "", nil, "audit", "verify", export, "--key", keyFile, "--state", state).check(t, 0)
	old := text
	l.grow(t, 100)
	text = l.export(t, export)
	runIn(t, "", nil, "audit", "verify", export, "--key", keyFile, "--state", state).check(t, 0, "it continues 1 checkpoints seen before")
	runIn(t, old, nil, "audit", "verify", "-", "--key", keyFile).check(t, 0)
	runIn(t, old, nil, "audit", "verify", "-", "--key", keyFile, "--state", state).check(t, 1, "NOT verified, rolled back")
	runIn(t, text, nil, "audit", "verify", "-", "--key", keyFile, "--state", state).check(t, 0)
	if kept, err := os.ReadFile(state); err != nil || !bytes.Equal(kept, l.checkpoint(t)) {
		t.Errorf("the state is %q, %v", kept, err)
	}
}

func TestVerifyProof(t *testing.T) {
	l := newTestLog(t, 10)
	path, err := audit.ProveInclusion(l, l.size, 3)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := audit.Proof{Index: 3, Leaf: l.leaves[3], Path: path, Checkpoint: l.checkpoint(t)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	runIn(t, string(proof)+"\n", nil, "audit", "verify", "-", "--key", l.public.String()).check(t, 0, "holds as entry 3", "device.create device:d1")
	runIn(t, strings.Replace(string(proof), "d1", "d2", 1), nil, "audit", "verify", "-", "--key", l.public.String()).check(t, 1, "NOT verified")
}

func TestWitness(t *testing.T) {
	dir := t.TempDir()
	l := newTestLog(t, 5)
	state := filepath.Join(dir, "sub", "state")
	if err := os.Mkdir(filepath.Dir(state), 0o700); err != nil {
		t.Fatal(err)
	}
	open := func() *witness {
		t.Helper()
		w, err := openWitness(state, filepath.Join(dir, "key"), "witness.example", []string{l.public.String()})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	ask := func(w *witness, req audit.AddCheckpoint) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(req.Body())))
		return rec
	}
	w := open()
	first := l.checkpoint(t)
	rec := ask(w, audit.AddCheckpoint{Checkpoint: first})
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	signed, err := audit.AddCosignatures(first, rec.Body.Bytes(), []audit.PublicKey{w.public})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := audit.VerifyWitnessed(signed, l.public, []audit.PublicKey{w.public}, 1); err != nil {
		t.Fatal(err)
	}

	// What was cosigned survives a restart.
	w = open()
	if rec := ask(w, audit.AddCheckpoint{Checkpoint: first}); rec.Code != http.StatusConflict || strings.TrimSpace(rec.Body.String()) != "5" {
		t.Errorf("a log that forgot got %d %s", rec.Code, rec.Body)
	}
	l.grow(t, 4)
	proof, err := audit.ProveConsistency(l, 5, 9)
	if err != nil {
		t.Fatal(err)
	}
	next := audit.AddCheckpoint{Old: 5, Proof: proof, Checkpoint: l.checkpoint(t)}

	// A state that cannot be stored is a cosignature that is not given.
	if err := os.Rename(filepath.Dir(state), filepath.Dir(state)+"-away"); err != nil {
		t.Fatal(err)
	}
	if rec := ask(w, next); rec.Code != http.StatusInternalServerError {
		t.Errorf("without storage it answered %d %s", rec.Code, rec.Body)
	}
	if err := os.Rename(filepath.Dir(state)+"-away", filepath.Dir(state)); err != nil {
		t.Fatal(err)
	}
	if rec := ask(w, next); rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := ask(w, audit.AddCheckpoint{Old: 9, Checkpoint: []byte("x")}); rec.Code != http.StatusBadRequest {
		t.Errorf("nonsense got %d", rec.Code)
	}
	if _, err := openWitness(filepath.Join(dir, "key"), filepath.Join(dir, "key"), "w.example", nil); err == nil {
		t.Error("a state file that is no state was accepted")
	}
	unlock, err := lockFile(state + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := lockFile(state + ".lock"); err == nil {
		t.Error("two witnesses share a state")
	}
}
