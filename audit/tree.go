package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Shape of the tree: RFC 6962 hashes kept in tiles of height 8 as C2SP tlog-tiles lays them out.
const (
	HashSize  = sha256.Size
	TileWidth = 256                  // hashes in a full tile
	TileBytes = TileWidth * HashSize // bytes in a full tile

	// MaxSize bounds the number of entries of a log, so that an index is exact in every JSON reader and that sums
	// of indexes do not overflow.
	MaxSize = int64(1) << 53

	tileHeight = 8
	maxLevel   = 6 // 256^6 entries are under one hash of level 6, and MaxSize is 32 × 256^6
)

// Hash is a SHA-256 value of the tree.
type Hash = [HashSize]byte

// TileReader reads stored tiles. Tile returns the hashes stored for the tile n of a level, which may be more than an
// older tree size had; a tile that is not there is an error. It is called from one goroutine at a time, the caller
// keeps the slice unchanged until the function that asked for it returns, and errors are passed on wrapped. Durability
// is the store's own: nothing is written through this interface. A reader may keep right-edge tiles in memory between
// batches.
type TileReader interface {
	Tile(level int, n int64) ([]byte, error)
}

// Tile is up to 256 hashes of one level: hash i of tile n at level l is the root of the 256^l entries from
// (256n+i)·256^l on.
type Tile struct {
	Level int
	N     int64
	Data  []byte // HashSize bytes for each hash, 1 to 256 of them
}

// Appended is the outcome of [Append]: what to store, and the tree it makes.
type Appended struct {
	Before Hash   // root of the tree before the batch, recomputed from the tiles: must be the root signed last
	Size   int64  // entries after the batch
	Root   Hash   // root after the batch
	Tiles  []Tile // the tiles that changed, whole, left to right in each level; a partial one replaces the stored one
}

// ErrSize says that a size or an index is outside the tree or the limits of this package.
var ErrSize = errors.New("the size or index is out of range")

// LeafHash is the hash of a leaf (RFC 6962 section 2.1).
func LeafHash(leaf []byte) Hash {
	var stack [1024]byte
	return sha256.Sum256(append(append(stack[:0], 0), leaf...))
}

// EmptyRoot is the root of the tree with no entries (RFC 6962 section 2.1).
func EmptyRoot() Hash { return sha256.Sum256(nil) }

func nodeHash(left, right *Hash) Hash {
	var b [1 + 2*HashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// perfect returns the root over hashes, whose number is a power of two up to 256, given as bytes.
func perfect(hashes []byte) Hash {
	var row [TileBytes]byte
	n := copy(row[:], hashes)
	var node [1 + 2*HashSize]byte
	node[0] = 1
	for ; n > HashSize; n /= 2 {
		for i := 0; i < n; i += 2 * HashSize {
			copy(node[1:], row[i:i+2*HashSize])
			h := sha256.Sum256(node[:])
			copy(row[i/2:], h[:])
		}
	}
	return Hash(row[:HashSize])
}

// width is how many hashes the right-edge tile of a level holds, 0 when its last tile is full or it has none.
func width(size int64, level int) int { return int(size>>(tileHeight*level)) % TileWidth }

// edge holds the partial tiles of a tree, the lowest level first: with the size they are the whole state of an append.
type edge [maxLevel + 1][]byte

func readEdge(r TileReader, size int64) (edge, error) {
	var e edge
	for level := range e {
		w := width(size, level)
		if w == 0 {
			continue
		}
		data, err := readTile(r, level, size>>(tileHeight*(level+1)), w)
		if err != nil {
			return edge{}, err
		}
		e[level] = data
	}
	return e, nil
}

// readTile returns the first w hashes of a tile.
func readTile(r TileReader, level int, n int64, w int) ([]byte, error) {
	data, err := r.Tile(level, n)
	if err != nil {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", n, level, err)
	}
	if len(data) < w*HashSize || len(data) > TileBytes || len(data)%HashSize != 0 {
		return nil, fmt.Errorf("reading tile %d of level %d: it has %d bytes where %d hashes of %d bytes are needed", n, level, len(data), w, HashSize)
	}
	return data[:w*HashSize], nil
}

// root hashes the edge from right to left: each level's hashes are perfect subtrees, largest first, and what the lower
// levels made is the right side of the next.
func (e *edge) root() Hash {
	var acc Hash
	have := false
	for _, hashes := range e {
		left := len(hashes) / HashSize
		for bit := 1; left > 0; bit *= 2 {
			if left&bit == 0 {
				continue
			}
			sub := perfect(hashes[(left-bit)*HashSize : left*HashSize])
			left -= bit
			if !have {
				acc, have = sub, true
			} else {
				acc = nodeHash(&sub, &acc)
			}
		}
	}
	if !have {
		return EmptyRoot()
	}
	return acc
}

// RootOf returns the root of the tree of the first size entries, from the tiles at its right edge.
func RootOf(r TileReader, size int64) (Hash, error) {
	if size < 0 || size > MaxSize {
		return Hash{}, fmt.Errorf("computing the root of %d entries: %w", size, ErrSize)
	}
	if size == 0 {
		return EmptyRoot(), nil
	}
	e, err := readEdge(r, size)
	if err != nil {
		return Hash{}, fmt.Errorf("computing the root of %d entries: %w", size, err)
	}
	return e.root(), nil
}

// Append adds leaves to the tree of size entries. It reads the partial tiles at the right edge, at most one a level,
// and writes nothing: the caller stores Tiles and the new size in one transaction. Leaves may be of any length here;
// [Encode] and the entry bundles bound them.
func Append(r TileReader, size int64, leaves [][]byte) (Appended, error) {
	if size < 0 || size > MaxSize || int64(len(leaves)) > MaxSize-size {
		return Appended{}, fmt.Errorf("appending %d entries after %d: %w", len(leaves), size, ErrSize)
	}
	e, err := readEdge(r, size)
	if err != nil {
		return Appended{}, fmt.Errorf("appending %d entries after %d: %w", len(leaves), size, err)
	}
	out := Appended{Before: e.root(), Size: size + int64(len(leaves))}
	if len(leaves) == 0 {
		out.Root = out.Before
		return out, nil
	}
	row := make([]byte, 0, len(leaves)*HashSize)
	var buf []byte
	for _, leaf := range leaves {
		buf = append(append(buf[:0], 0), leaf...)
		h := sha256.Sum256(buf)
		row = append(row, h[:]...)
	}
	for level := 0; level <= maxLevel && len(row) > 0; level++ {
		row = e.grow(&out, size, level, row)
	}
	out.Root = e.root()
	return out, nil
}

// grow adds a row of new hashes to a level, notes its changed tiles in out, and returns the roots of the tiles that
// became full: the new hashes of the next level.
func (e *edge) grow(out *Appended, size int64, level int, row []byte) (up []byte) {
	n := size >> (tileHeight * (level + 1))
	data := append(make([]byte, 0, len(e[level])+len(row)), e[level]...)
	data = append(data, row...)
	for len(data) > 0 {
		w := min(len(data), TileBytes)
		tile := data[:w:w]
		out.Tiles = append(out.Tiles, Tile{level, n, tile})
		data = data[w:]
		if w < TileBytes {
			e[level] = tile
			return up
		}
		root := perfect(tile)
		up = append(up, root[:]...)
		n++
	}
	e[level] = nil
	return up
}
