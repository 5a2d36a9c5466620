package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

func rows(path []Hash) [][]byte {
	out := [][]byte{}
	for _, h := range path {
		out = append(out, bytes.Clone(h[:]))
	}
	return out
}

// TestTreeAgainstOracle grows a log one entry at a time and compares every root, and proofs of every size, with an
// independent implementation.
func TestTreeAgainstOracle(t *testing.T) {
	const n = 620
	oracle := testonly.New(rfc6962.DefaultHasher)
	l := newLog(t)
	for i := range n {
		leaf := fmt.Appendf(nil, "leaf %d", i)
		oracle.AppendData(leaf)
		l.add(t, leaf)
		if !bytes.Equal(l.root[:], oracle.Hash()) {
			t.Fatalf("root of %d entries differs", i+1)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for size := int64(1); size <= n; size++ {
		root, err := RootOf(l.store, size)
		if err != nil || !bytes.Equal(root[:], oracle.HashAt(uint64(size))) {
			t.Fatalf("RootOf(%d) differs: %v", size, err)
		}
		for index := range size {
			if size < 70 || size%256 < 2 && size > 2 || random.IntN(40) == 0 {
				compareInclusion(t, l, oracle, size, index, root)
				compareConsistency(t, l, oracle, index, size, root)
			}
		}
		compareConsistency(t, l, oracle, size, size, root)
	}
}

func compareInclusion(t *testing.T, l *testLog, oracle *testonly.Tree, size, index int64, root Hash) {
	t.Helper()
	want, err := oracle.InclusionProof(uint64(index), uint64(size))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ProveInclusion(l.store, size, index)
	if err != nil || !slices.EqualFunc(rows(got), want, bytes.Equal) {
		t.Fatalf("path of %d in %d differs: %v", index, size, err)
	}
	leaf := LeafHash(l.leaves[index])
	if err := CheckInclusion(leaf, index, size, got, root); err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf[:], rows(got), root[:]); err != nil {
		t.Fatal(err)
	}
	leaf[0] ^= 1
	if err := CheckInclusion(leaf, index, size, got, root); !errors.Is(err, ErrProof) {
		t.Fatalf("another leaf is accepted as %d of %d: %v", index, size, err)
	}
}

func compareConsistency(t *testing.T, l *testLog, oracle *testonly.Tree, old, size int64, root Hash) {
	t.Helper()
	want, err := oracle.ConsistencyProof(uint64(old), uint64(size))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ProveConsistency(l.store, old, size)
	if err != nil || !slices.EqualFunc(rows(got), want, bytes.Equal) {
		t.Fatalf("proof from %d to %d differs: %v", old, size, err)
	}
	oldRoot := Hash(oracle.HashAt(uint64(old)))
	if err := CheckConsistency(old, size, oldRoot, root, got); err != nil {
		t.Fatal(err)
	}
	oldRoot[5] ^= 1
	if err := CheckConsistency(old, size, oldRoot, root, got); !errors.Is(err, ErrProof) {
		t.Fatalf("another root is accepted from %d to %d: %v", old, size, err)
	}
}

// TestBatches appends in batches of random sizes past a full tile of level 1 and compares with the oracle.
func TestBatches(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	oracle := testonly.New(rfc6962.DefaultHasher)
	l := newLog(t)
	for l.size < 70_000 {
		batch := make([][]byte, random.IntN(3000))
		for i := range batch {
			batch[i] = fmt.Appendf(nil, "%d", l.size+int64(i))
		}
		oracle.AppendData(batch...)
		l.add(t, batch...)
		if !bytes.Equal(l.root[:], oracle.Hash()) {
			t.Fatalf("root of %d entries differs", l.size)
		}
	}
	for range 300 {
		size := 1 + random.Int64N(l.size)
		root, err := RootOf(l.store, size)
		if err != nil {
			t.Fatal(err)
		}
		index := random.Int64N(size)
		compareInclusion(t, l, oracle, size, index, root)
		compareConsistency(t, l, oracle, index, size, root)
	}
	l.store.reads = 0
	if _, err := ProveInclusion(l.store, l.size, 12345); err != nil || l.store.reads > 6 {
		t.Fatalf("a proof read %d tiles: %v", l.store.reads, err)
	}
	l.store.reads = 0
	if _, err := Append(l.store, l.size, [][]byte{{1}}); err != nil || l.store.reads > 3 {
		t.Fatalf("an append read %d tiles: %v", l.store.reads, err)
	}
}

// TestRunning holds the streaming root against the tiles.
func TestRunning(t *testing.T) {
	l := newLog(t)
	var r running
	for i := range 1100 {
		if r.root() != l.root {
			t.Fatalf("root of %d entries differs", i)
		}
		leaf := fmt.Appendf(nil, "leaf %d", i)
		l.add(t, leaf)
		r.add(leaf)
	}
}

type faultyTiles struct {
	data []byte
	err  error
}

func (f faultyTiles) Tile(int, int64) ([]byte, error) { return f.data, f.err }

func TestTreeRefuses(t *testing.T) {
	l := filledLog(t, 10)
	for name, err := range map[string]error{
		"negative size":   second(Append(l.store, -1, nil)),
		"too large":       second(Append(l.store, MaxSize, [][]byte{{}})),
		"index at size":   second(ProveInclusion(l.store, 10, 10)),
		"index below":     second(ProveInclusion(l.store, 10, -1)),
		"empty":           second(ProveInclusion(l.store, 0, 0)),
		"old above":       second(ProveConsistency(l.store, 11, 10)),
		"root":            second(RootOf(l.store, MaxSize+1)),
		"check index":     CheckInclusion(Hash{}, 3, 3, nil, Hash{}),
		"check size":      CheckInclusion(Hash{}, 1<<62, 1<<62+1, nil, Hash{}),
		"check old above": CheckConsistency(3, 2, Hash{}, Hash{}, nil),
		"check too large": CheckConsistency(3, 1<<62+1, Hash{}, Hash{}, nil),
	} {
		if !errors.Is(err, ErrSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckConsistency(0, 0, Hash{}, Hash{}, nil); !errors.Is(err, ErrProof) {
		t.Errorf("an empty tree with another root: %v", err)
	}
	if err := CheckConsistency(0, 5, Hash{}, Hash{}, nil); !errors.Is(err, ErrProof) {
		t.Errorf("continuing an empty tree with another root: %v", err)
	}
	gone := errors.New("disk gone")
	for _, r := range []TileReader{faultyTiles{err: gone}, faultyTiles{data: make([]byte, 9*HashSize)}, faultyTiles{data: make([]byte, 10*HashSize+1)}, faultyTiles{data: make([]byte, TileBytes+HashSize)}} {
		for _, err := range []error{second(Append(r, 10, nil)), second(RootOf(r, 10)), second(ProveInclusion(r, 10, 3)), second(ProveConsistency(r, 3, 10))} {
			if err == nil {
				t.Error("a damaged store goes unnoticed")
			}
		}
	}
	if _, err := RootOf(faultyTiles{err: gone}, 10); !errors.Is(err, gone) {
		t.Errorf("the store's error is lost: %v", err)
	}
}

// TestDamagedTileShows is the sequencer's defence: the root before the batch is not the one signed.
func TestDamagedTileShows(t *testing.T) {
	l := filledLog(t, 300)
	l.store.tiles[tileKey{0, 1}][7] ^= 1
	got, err := Append(l.store, 300, [][]byte{[]byte("x")})
	if err != nil || got.Before == l.root {
		t.Fatalf("a changed tile at the edge goes unnoticed: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
