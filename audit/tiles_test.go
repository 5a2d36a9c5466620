package audit

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func TestPaths(t *testing.T) {
	for text, want := range map[string]Path{
		"checkpoint":                  {Resource: ResourceCheckpoint},
		"tile/0/x001/234":             {ResourceTile, 0, 1234, 256},
		"tile/1/x001/x234/067.p/112":  {ResourceTile, 1, 1234067, 112},
		"tile/entries/000":            {ResourceEntries, 0, 0, 256},
		"tile/entries/x001/000.p/255": {ResourceEntries, 0, 1000, 255},
		"tile/63/999":                 {ResourceTile, 63, 999, 256},
	} {
		p, err := ParsePath(text)
		if err != nil || p != want || p.String() != text {
			t.Errorf("%s: %+v %s: %v", text, p, p, err)
		}
	}
	for _, bad := range []string{"", "/checkpoint", "checkpoint/", "tile", "tile/", "tile/0", "tile/0/", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/0/1", "tile/0/0000",
		"tile/0/x000/001", "tile/0/x001", "tile/0/x001/", "tile/0/001/234", "tile/0/x001/x234", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p/1/2",
		"tile/0/000.p", "tile/data/000", "tile/0/+01", "tile/0/ 01", "tile/0/0x1", "tile/0/../000", "tile/0/x100/x000/x000/x000/x000/000", "tile/0/x035/x184/x372/x088/833"} {
		if p, err := ParsePath(bad); err == nil {
			t.Errorf("%s is accepted as %+v", bad, p)
		}
	}
}

func TestPathsAgainstOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		p := Path{ResourceTile, random.IntN(7), random.Int64N(1 << (1 + random.IntN(40))), 1 + random.IntN(256)}
		// The reference writes the height of its tiles into the path, and a full tile without its width.
		want := "tile/" + (tlog.Tile{H: 8, L: p.Level, N: p.N, W: p.Width}).Path()[len("tile/8/"):]
		if p.String() != want {
			t.Fatalf("%+v: %s, want %s", p, p, want)
		}
		if got, err := ParsePath(want); err != nil || got != p {
			t.Fatalf("%s: %+v: %v", want, got, err)
		}
	}
}

// TestWithin checks the example of 70,000 entries: 273 full tiles and one of 112 at level 0, one full and one of 17 at
// level 1, one of 1 at level 2.
func TestWithin(t *testing.T) {
	for text, want := range map[string]bool{
		"checkpoint": true, "tile/0/272": true, "tile/0/273": false, "tile/0/273.p/112": true, "tile/0/273.p/113": false, "tile/0/274.p/1": false,
		"tile/1/000": true, "tile/1/001.p/17": true, "tile/1/001.p/18": false, "tile/2/000.p/1": true, "tile/2/000.p/2": false, "tile/3/000.p/1": false,
		"tile/63/000.p/1": false, "tile/entries/272": true, "tile/entries/273.p/112": true, "tile/entries/273": false,
	} {
		p, err := ParsePath(text)
		if err != nil || p.Within(70_000) != want {
			t.Errorf("%s within 70,000: %v: %v", text, !want, err)
		}
	}
}

func TestBundles(t *testing.T) {
	var leaves [][]byte
	for i := range 256 {
		leaves = append(leaves, bytes.Repeat([]byte{byte(i)}, i*7))
	}
	leaves[255] = make([]byte, 65535)
	b, err := EncodeBundle(leaves)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBundle(b, 256)
	if err != nil || len(got) != 256 {
		t.Fatal(err)
	}
	for i := range got {
		if !bytes.Equal(got[i], leaves[i]) {
			t.Fatalf("entry %d differs", i)
		}
	}
	for name, err := range map[string]error{
		"empty":     second(EncodeBundle(nil)),
		"257":       second(EncodeBundle(make([][]byte, 257))),
		"long":      second(EncodeBundle([][]byte{make([]byte, 65536)})),
		"narrow":    second(DecodeBundle(b, 255)),
		"cut":       second(DecodeBundle(b[:len(b)-1], 256)),
		"no length": second(DecodeBundle([]byte{0}, 1)),
		"width 0":   second(DecodeBundle(nil, 0)),
		"width 257": second(DecodeBundle(make([]byte, 514), 257)),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
