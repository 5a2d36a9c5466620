package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof says that a proof does not lead from what it is about to the root: somebody's history differs.
var ErrProof = errors.New("the proof does not lead to the root")

// maxPath bounds the hashes of a proof: an inclusion path in a tree of MaxSize entries has at most 53, a consistency
// proof one more.
const maxPath = 54

// hashes reads single tree hashes from tiles for one call, each tile at most once.
type hashes struct {
	r    TileReader
	size int64
	seen map[tileKey][]byte
}

type tileKey struct {
	level int
	n     int64
}

// ReadHashes implements [tlog.HashReader]: the index names a level and a number, and the hash is computed from the
// up to 256 hashes of the tile it is inside of.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		count := int64(1) << (level % tileHeight) // hashes of the tile that are under this one
		level /= tileHeight
		first := n * count // of the level
		key := tileKey{level, first / TileWidth}
		data, ok := h.seen[key]
		if !ok {
			w := min((h.size>>(tileHeight*level))-key.n*TileWidth, TileWidth)
			var err error
			if data, err = readTile(h.r, level, key.n, int(w)); err != nil {
				return nil, err
			}
			h.seen[key] = data
		}
		from := (first % TileWidth) * HashSize
		out[i] = perfect(data[from : from+count*HashSize])
	}
	return out, nil
}

func newHashes(r TileReader, size int64) *hashes {
	return &hashes{r: r, size: size, seen: make(map[tileKey][]byte, 2*maxLevel)}
}

// ProveInclusion returns the audit path of entry index in the tree of the first size entries (RFC 6962 section
// 2.1.1). It reads at most two tiles a level.
func ProveInclusion(r TileReader, size, index int64) ([]Hash, error) {
	if size < 1 || size > MaxSize || index < 0 || index >= size {
		return nil, fmt.Errorf("proving that entry %d is among %d: %w", index, size, ErrSize)
	}
	path, err := tlog.ProveRecord(size, index, newHashes(r, size))
	if err != nil {
		return nil, fmt.Errorf("proving that entry %d is among %d: %w", index, size, err)
	}
	return fromProof(path), nil
}

// ProveConsistency returns the proof that the tree of the first old entries is a prefix of the tree of the first size
// entries (RFC 6962 section 2.1.2). It is empty when old is 0 or size.
func ProveConsistency(r TileReader, old, size int64) ([]Hash, error) {
	if old < 0 || old > size || size > MaxSize {
		return nil, fmt.Errorf("proving that %d entries begin %d: %w", old, size, ErrSize)
	}
	if old == 0 || old == size {
		return nil, nil
	}
	proof, err := tlog.ProveTree(size, old, newHashes(r, size))
	if err != nil {
		return nil, fmt.Errorf("proving that %d entries begin %d: %w", old, size, err)
	}
	return fromProof(proof), nil
}

// CheckInclusion checks that the tree of size entries with that root holds leaf (a [LeafHash]) as entry index. The
// error wraps [ErrSize] or [ErrProof].
func CheckInclusion(leaf Hash, index, size int64, path []Hash, root Hash) error {
	if size < 1 || size > MaxSize || index < 0 || index >= size {
		return fmt.Errorf("checking that entry %d is among %d: %w", index, size, ErrSize)
	}
	if len(path) > maxPath || tlog.CheckRecord(toProof(path), size, root, index, leaf) != nil {
		return fmt.Errorf("checking that entry %d is among %d: %w", index, size, ErrProof)
	}
	return nil
}

// CheckConsistency checks that the tree of old entries is a prefix of the tree of size entries. Of an empty tree every
// tree is a continuation, and the proof is empty. The error wraps [ErrSize] or [ErrProof].
func CheckConsistency(old, size int64, oldRoot, root Hash, proof []Hash) error {
	if old < 0 || old > size || size > MaxSize {
		return fmt.Errorf("checking that %d entries begin %d: %w", old, size, ErrSize)
	}
	ok := len(proof) <= maxPath
	switch {
	case old == size:
		ok = len(proof) == 0 && oldRoot == root && (size > 0 || root == EmptyRoot())
	case old == 0:
		ok = len(proof) == 0 && oldRoot == EmptyRoot()
	default:
		ok = ok && tlog.CheckTree(tlog.TreeProof(toProof(proof)), size, root, old, oldRoot) == nil
	}
	if !ok {
		return fmt.Errorf("checking that %d entries begin %d: %w", old, size, ErrProof)
	}
	return nil
}

func toProof(path []Hash) tlog.RecordProof {
	p := make(tlog.RecordProof, len(path))
	for i := range path {
		p[i] = path[i]
	}
	return p
}

func fromProof[P ~[]tlog.Hash](p P) []Hash {
	path := make([]Hash, len(p))
	for i := range p {
		path[i] = p[i]
	}
	return path
}

// running computes the root of a growing log in memory logarithmic in its size: it keeps the roots of the perfect
// subtrees that a size is the sum of, the largest first.
type running struct {
	size  int64
	peaks []Hash
}

func (t *running) add(leaf []byte) {
	h := LeafHash(leaf)
	for n := t.size; n&1 == 1; n >>= 1 {
		h = nodeHash(&t.peaks[len(t.peaks)-1], &h)
		t.peaks = t.peaks[:len(t.peaks)-1]
	}
	t.peaks = append(t.peaks, h)
	t.size++
}

func (t *running) root() Hash {
	if t.size == 0 {
		return EmptyRoot()
	}
	h := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		h = nodeHash(&t.peaks[i], &h)
	}
	return h
}
