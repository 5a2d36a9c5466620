package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func verify(file string, opts VerifyOptions) (Report, *VerifyError, error) {
	r, err := Verify(strings.NewReader(file), opts)
	var fault *VerifyError
	errors.As(err, &fault)
	return r, fault, err
}

func TestVerifyGood(t *testing.T) {
	for _, n := range []int{0, 1, 2, 255, 256, 257, 700} {
		l := filledLog(t, n)
		opts := VerifyOptions{Key: l.public}
		for _, size := range []int64{0, 1, 3, 256, 700} {
			if size <= l.size {
				opts.Earlier = append(opts.Earlier, l.sign(t, size))
			}
		}
		r, _, err := verify(l.export(t, 1, 2, 256), opts)
		if err != nil || r.Checkpoint.Size != int64(n) || r.Checkpoint.Root != l.root || r.Earlier != len(opts.Earlier) {
			t.Fatalf("%d entries: %+v: %v", n, r, err)
		}
		if n > 0 && (!r.First.Equal(testEvent(0).Time) || !r.Last.Equal(testEvent(n-1).Time)) {
			t.Fatalf("%d entries: from %s to %s", n, r.First, r.Last)
		}
	}
}

func TestVerifyWitnesses(t *testing.T) {
	l := filledLog(t, 4)
	w, key := testWitness(t, 1)
	signed := l.sign(t, 4)
	line, _, err := DecideWitness(WitnessState{}, AddCheckpoint{0, nil, signed}, l.public, w, testNow)
	if err != nil {
		t.Fatal(err)
	}
	signed, err = AddCosignatures(signed, line, []PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	all := lines(l.export(t))
	opts := VerifyOptions{Key: l.public, Witnesses: []PublicKey{key}, Quorum: 1}
	if _, fault, _ := verify(join(all), opts); fault == nil || fault.Kind != Unwitnessed {
		t.Fatalf("%v", fault)
	}
	note, _ := json.Marshal(checkpointLine{string(signed)})
	all[len(all)-1] = string(note)
	if r, _, err := verify(join(all), opts); err != nil || len(r.Cosignatures) != 1 {
		t.Fatalf("%+v: %v", r, err)
	}
}

// TestVerifyNames says for each deed what it is called and where.
func TestVerifyNames(t *testing.T) {
	l := filledLog(t, 20) // lines: 1 header, 2 to 11 entries 0 to 9, 12 checkpoint of 10, 13 to 22 entries 10 to 19, 23 checkpoint
	plain := lines(l.export(t, 10))
	other := filledLog(t, 25)
	other.public, _ = NewPublicKey("other.example", l.key.Public().(ed25519.PublicKey))
	forked := newLog(t)
	for i := range 20 {
		forked.add(t, testLeaf(t, i+100))
	}
	longer := filledLog(t, 30)
	foreign, err := Sign(Checkpoint{Origin: "other.example", Size: 20}, l.key)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := Sign(Checkpoint{Origin: testOrigin, Size: 20, Root: l.root}, seedKey(66))
	if err != nil {
		t.Fatal(err)
	}
	quote := func(signed []byte) string {
		b, _ := json.Marshal(checkpointLine{string(signed)})
		return string(b)
	}
	renumber := func(all []string) []string {
		i := 0
		for k, line := range all {
			if _, leaf, ok := parseEntry([]byte(line)); ok {
				all[k] = fmt.Sprintf(`{"i":%d,"leaf":%s}`, i, leaf)
				i++
			}
		}
		return all
	}
	type deed struct {
		do           func(all []string) []string
		kind         VerifyKind
		line         int
		index, until int64
	}
	replace := func(line int, old, new string) func([]string) []string {
		return func(all []string) []string {
			all[line-1] = strings.Replace(all[line-1], old, new, 1)
			return all
		}
	}
	set := func(line int, text string) func([]string) []string {
		return func(all []string) []string { all[line-1] = text; return all }
	}
	for name, d := range map[string]deed{
		"changed early":        {replace(6, `"d4"`, `"d5"`), Changed, 12, 0, 10},
		"changed late":         {replace(15, `"d12"`, `"d13"`), Changed, 23, 10, 20},
		"changed form":         {replace(15, `"node":`, `"node": `), Changed, 15, 12, 13},
		"removed":              {func(a []string) []string { return slices.Delete(a, 6, 7) }, Removed, 7, 5, 6},
		"removed three":        {func(a []string) []string { return slices.Delete(a, 13, 16) }, Removed, 14, 11, 14},
		"removed, renumbered":  {func(a []string) []string { return renumber(slices.Delete(a, 6, 7)) }, Removed, 11, 0, 10},
		"late, renumbered":     {func(a []string) []string { return renumber(slices.Delete(a, 16, 17)) }, Removed, 22, 10, 20},
		"removed last":         {func(a []string) []string { return slices.Delete(a, 21, 22) }, Removed, 22, 10, 20},
		"swapped":              {func(a []string) []string { a[5], a[8] = a[8], a[5]; return a }, Reordered, 6, 4, 8},
		"swapped neighbours":   {func(a []string) []string { a[5], a[6] = a[6], a[5]; return a }, Reordered, 6, 4, 6},
		"swapped, renumbered":  {func(a []string) []string { a[5], a[8] = a[8], a[5]; return renumber(a) }, Changed, 12, 0, 10},
		"repeated":             {func(a []string) []string { return slices.Insert(a, 7, a[4]) }, Inserted, 8, 3, 4},
		"put before":           {func(a []string) []string { return slices.Insert(a, 4, a[7]) }, Inserted, 5, 6, 7},
		"beyond the end":       {func(a []string) []string { return slices.Insert(a, 4, `{"i":99,"leaf":{}}`) }, Inserted, 5, 99, 100},
		"inserted, renumbered": {func(a []string) []string { return renumber(slices.Insert(a, 4, a[7])) }, Inserted, 13, 0, 11},
		"appended":             {func(a []string) []string { return renumber(slices.Insert(a, 22, a[7])) }, Inserted, 24, 10, 21},
		"no checkpoint":        {func(a []string) []string { return a[:22] }, Truncated, 22, 20, 20},
		"cut in the middle":    {func(a []string) []string { return a[:17] }, Truncated, 17, 15, 15},
		"cut at a checkpoint":  {func(a []string) []string { return a[:12] }, Truncated, 12, 10, 20},
		"only a header":        {func(a []string) []string { return a[:1] }, Truncated, 1, 0, 0},
		"header of another":    {replace(1, testOrigin, "other.example"), WrongLog, 1, -1, -1},
		"partial":              {replace(1, `"first":0`, `"first":5`), Malformed, 1, -1, -1},
		"other format":         {replace(1, "/1", "/2"), Malformed, 1, -1, -1},
		"fewer announced":      {replace(1, `"count":20`, `"count":19`), Malformed, 23, -1, -1},
		"more announced":       {replace(1, `"count":20`, `"count":21`), Truncated, 23, 20, 21},
		"another log's":        {set(23, quote(foreign)), WrongLog, 23, -1, -1},
		"another key's":        {set(23, quote(forged)), BadSignature, 23, -1, -1},
		"rewritten":            {set(12, quote(forked.sign(t, 10))), RolledBack, 12, 0, 10},
		"another history's":    {set(23, quote(forked.sign(t, 20))), Changed, 23, 10, 20},
		"signature changed":    {replace(23, "— ", "— x"), BadSignature, 23, -1, -1},
		"garbage":              {set(9, "garbage"), Malformed, 9, -1, -1},
		"blank line":           {set(9, ""), Malformed, 9, -1, -1},
		"long line":            {set(9, strings.Repeat("x", MaxLine)), Malformed, 9, -1, -1},
		"checkpoint garbage":   {set(12, `{"checkpoint":7}`), Malformed, 12, -1, -1},
		"checkpoint extended":  {replace(12, `}`, `,"x":1}`), Malformed, 12, -1, -1},
	} {
		_, fault, err := verify(join(d.do(slices.Clone(plain))), VerifyOptions{Key: l.public})
		if fault == nil || fault.Kind != d.kind || fault.Line != d.line || fault.Index != d.index || fault.Until != d.until {
			t.Errorf("%s: %+v (%v)", name, fault, err)
		}
	}
	whole := join(plain)
	if _, fault, _ := verify(whole[:len(whole)-1], VerifyOptions{Key: l.public}); fault == nil || fault.Kind != Truncated || fault.Line != 23 {
		t.Errorf("cut in the last line: %v", fault)
	}
	if _, fault, _ := verify("", VerifyOptions{Key: l.public}); fault == nil || fault.Kind != Truncated {
		t.Errorf("empty: %v", fault)
	}
	changed := join(replace(15, `"d12"`, `"d13"`)(slices.Clone(plain)))
	for name, c := range map[string]struct {
		file    string
		earlier []byte
		kind    VerifyKind
		index   int64
		until   int64
	}{
		"rolled back":           {whole, longer.sign(t, 30), RolledBack, 20, 30},
		"rewritten":             {whole, forked.sign(t, 15), RolledBack, 10, 15},
		"changed, narrowed":     {changed, l.sign(t, 13), Changed, 10, 13},
		"changed, narrowed low": {changed, l.sign(t, 12), Changed, 12, 20},
		"earlier of another":    {whole, foreign, WrongLog, -1, -1},
		"earlier forged":        {whole, forged, BadSignature, -1, -1},
		"earlier garbage":       {whole, []byte("x"), Malformed, -1, -1},
	} {
		_, fault, err := verify(c.file, VerifyOptions{Key: l.public, Earlier: [][]byte{c.earlier}})
		if fault == nil || fault.Kind != c.kind || fault.Index != c.index || fault.Until != c.until {
			t.Errorf("%s: %+v (%v)", name, fault, err)
		}
	}
	if _, err := Verify(iotest.TimeoutReader(strings.NewReader(whole)), VerifyOptions{Key: l.public}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader's error: %v", err)
	}
	gap := strings.NewReader(join(slices.Delete(slices.Clone(plain), 6, 7)))
	if _, err := Verify(iotest.TimeoutReader(gap), VerifyOptions{Key: l.public}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader's error after a gap: %v", err)
	}
}

// TestTamperingIsDetected does one random deed to a random log's export, renumbering or not, and requires a fault.
func TestTamperingIsDetected(t *testing.T) {
	l := filledLog(t, 130)
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 130).Draw(r, "entries")
		part := &testLog{store: l.store, key: l.key, public: l.public, leaves: l.leaves[:n], size: int64(n)}
		var points []int64
		if rapid.Bool().Draw(r, "with earlier checkpoint") {
			points = append(points, rapid.Int64Range(0, int64(n)-1).Draw(r, "at"))
		}
		good := lines(part.export(t, points...))
		var entries []int
		for i, line := range good {
			if strings.HasPrefix(line, entryPrefix) {
				entries = append(entries, i)
			}
		}
		pick := rapid.SampledFrom(entries)
		a, b := pick.Draw(r, "a"), pick.Filter(func(i int) bool { return true }).Draw(r, "b")
		bad := slices.Clone(good)
		deed := rapid.SampledFrom([]string{"change", "remove", "swap", "insert", "truncate"}).Draw(r, "deed")
		switch deed {
		case "change":
			at := rapid.IntRange(len(entryPrefix), len(bad[a])-1).Draw(r, "byte")
			bit := byte(1) << rapid.IntRange(0, 6).Draw(r, "bit")
			line := []byte(bad[a])
			line[at] ^= bit
			bad[a] = string(line)
		case "remove":
			bad = slices.Delete(bad, a, a+1)
		case "swap":
			if a == b {
				return
			}
			bad[a], bad[b] = bad[b], bad[a]
		case "insert":
			bad = slices.Insert(bad, a, bad[b])
		case "truncate":
			bad = bad[:rapid.IntRange(1, len(bad)-1).Draw(r, "to")]
		}
		if deed != "change" && deed != "truncate" && rapid.Bool().Draw(r, "renumber") {
			i := 0
			for k, line := range bad {
				if _, leaf, ok := parseEntry([]byte(line)); ok {
					bad[k] = fmt.Sprintf(`{"i":%d,"leaf":%s}`, i, leaf)
					i++
				}
			}
		}
		if _, fault, err := verify(join(bad), VerifyOptions{Key: l.public}); fault == nil {
			r.Fatalf("%s goes unnoticed: %v", deed, err)
		}
		if _, _, err := verify(join(good), VerifyOptions{Key: l.public}); err != nil {
			r.Fatal(err)
		}
	})
}

func TestExportWriterRefuses(t *testing.T) {
	l := filledLog(t, 3)
	begin := func(n int64) *ExportWriter {
		x, err := NewExportWriter(&bytes.Buffer{}, l.public, n)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := begin(1)
	if err := x.Close(); err == nil {
		t.Error("an export without its entries closes")
	}
	x = begin(1)
	if err := errors.Join(x.Entry(l.leaves[0]), x.Entry(l.leaves[1])); err == nil {
		t.Error("more entries than announced are written")
	}
	if err := begin(1).Entry([]byte("a\nb")); err == nil {
		t.Error("an entry of two lines is written")
	}
	if err := begin(1).Checkpoint(l.sign(t, 1)); !errors.Is(err, ErrSize) {
		t.Errorf("a checkpoint out of place is written: %v", err)
	}
	if err := begin(1).Checkpoint([]byte("x")); !errors.Is(err, ErrNote) {
		t.Errorf("a bad checkpoint is written: %v", err)
	}
	if _, err := NewExportWriter(&bytes.Buffer{}, l.public, -1); !errors.Is(err, ErrSize) {
		t.Errorf("a negative count: %v", err)
	}
}
