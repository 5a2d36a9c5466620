package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Resource is what a path of C2SP tlog-tiles names.
type Resource int

// The resources of a log.
const (
	ResourceCheckpoint Resource = iota + 1 // checkpoint
	ResourceTile                           // tile/<L>/<N>[.p/<W>]
	ResourceEntries                        // tile/entries/<N>[.p/<W>]
)

// Path names one static resource of a log.
type Path struct {
	Resource Resource
	Level    int   // of a tile: 0 to 63, and 0 to 6 in any tree of this package
	N        int64 // number of the tile or bundle
	Width    int   // hashes or entries: 256 when full, 1 to 255 when partial; 0 for the checkpoint
}

var errPath = errors.New("parsing a log path: it names no checkpoint, tile or entry bundle")

// maxTileN bounds the number of a tile: more tiles than that no tree of MaxSize has.
const maxTileN = MaxSize / TileWidth

// ParsePath reads a path relative to the log's prefix, without a leading slash. It accepts only the one spelling that
// C2SP tlog-tiles gives each resource, so that caches hold one copy.
func ParsePath(path string) (Path, error) {
	if path == "checkpoint" {
		return Path{Resource: ResourceCheckpoint}, nil
	}
	if len(path) > 64 {
		return Path{}, errPath
	}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return Path{}, errPath
	}
	p := Path{Resource: ResourceEntries, Width: TileWidth}
	if level != "entries" {
		n, ok := parseSize(level)
		if !ok || n > 63 {
			return Path{}, errPath
		}
		p.Resource, p.Level = ResourceTile, int(n)
	}
	rest, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, ok := parseSize(width)
		if !ok || w < 1 || w >= TileWidth {
			return Path{}, errPath
		}
		p.Width = int(w)
	}
	for rest != "" {
		var part string
		part, rest, ok = strings.Cut(rest, "/")
		digits, more := strings.CutPrefix(part, "x")
		n, err := strconv.ParseUint(digits, 10, 16)
		if len(digits) != 3 || err != nil || more != ok || p.N > maxTileN {
			return Path{}, errPath
		}
		p.N = p.N*1000 + int64(n)
	}
	if p.N > maxTileN || p.String() != path {
		return Path{}, errPath
	}
	return p, nil
}

// String returns the path that [ParsePath] reads.
func (p Path) String() string {
	if p.Resource == ResourceCheckpoint {
		return "checkpoint"
	}
	n := fmt.Sprintf("%03d", p.N%1000)
	for rest := p.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	level := "entries"
	if p.Resource == ResourceTile {
		level = strconv.Itoa(p.Level)
	}
	if p.Width != TileWidth {
		n += ".p/" + strconv.Itoa(p.Width)
	}
	return "tile/" + level + "/" + n
}

// Within reports whether the tree of size entries has the resource: a server answers "not found" to the others. It
// includes the partial tiles of every smaller size, which are the first hashes of what is stored.
func (p Path) Within(size int64) bool {
	if p.Resource == ResourceCheckpoint {
		return true
	}
	if size < 0 || size > MaxSize || p.Level < 0 || p.Level > maxLevel || p.N < 0 || p.N > maxTileN || p.Width < 1 || p.Width > TileWidth {
		return false
	}
	return p.N*TileWidth+int64(p.Width) <= size>>(tileHeight*p.Level)
}

// EncodeBundle returns the entry bundle of 1 to 256 leaves, each with its length in two bytes before it.
func EncodeBundle(leaves [][]byte) ([]byte, error) {
	if len(leaves) < 1 || len(leaves) > TileWidth {
		return nil, fmt.Errorf("encoding an entry bundle: it has %d entries, not 1 to %d", len(leaves), TileWidth)
	}
	n := 0
	for i, leaf := range leaves {
		if len(leaf) > 1<<16-1 {
			return nil, fmt.Errorf("encoding an entry bundle: entry %d takes %d bytes, more than %d", i, len(leaf), 1<<16-1)
		}
		n += 2 + len(leaf)
	}
	b := make([]byte, 0, n)
	for _, leaf := range leaves {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(leaf))), leaf...)
	}
	return b, nil
}

// DecodeBundle splits an entry bundle of exactly width leaves. They share the memory of bundle.
func DecodeBundle(bundle []byte, width int) ([][]byte, error) {
	if width < 1 || width > TileWidth {
		return nil, fmt.Errorf("decoding an entry bundle: a width of %d is not 1 to %d", width, TileWidth)
	}
	leaves := make([][]byte, 0, width)
	for len(leaves) < width {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("decoding an entry bundle: it is cut off in entry %d of %d", len(leaves), width)
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		leaves = append(leaves, bundle[2:end:end])
		bundle = bundle[end:]
	}
	if len(bundle) > 0 {
		return nil, fmt.Errorf("decoding an entry bundle: %d bytes follow its %d entries", len(bundle), width)
	}
	return leaves, nil
}
