package device

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func each(devices []Device) iter.Seq2[Device, error] {
	return func(yield func(Device, error) bool) {
		for _, d := range devices {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func TestReadCSV(t *testing.T) {
	const file = "\ufeffzone, TYPE ,id,labels,notes,state,version\r\n" +
		"plant,sensor,d1,\"a=1; b=x y ,c=\",\"two\r\nlines, \"\"quoted\"\"\",retired,9\r\n" +
		"\r\n" +
		"plant,sensor,d2,,'=cmd,,\n" +
		"plant,sensor,d3,,'it is so,,"
	rows, bad := ReadCSV(strings.NewReader(file), 10)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	want := []Row{
		{2, Device{ID: "d1", Type: "sensor", Zone: "plant", Labels: map[string]string{"a": "1", "b": "x y", "c": ""}, Notes: "two\nlines, \"quoted\""}},
		{5, Device{ID: "d2", Type: "sensor", Zone: "plant", Notes: "=cmd"}},
		{6, Device{ID: "d3", Type: "sensor", Zone: "plant", Notes: "'it is so"}},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got %+v", rows)
	}
}

// TestBadFiles names for each file the lines, fields and words of its errors.
func TestBadFiles(t *testing.T) {
	long := strings.Repeat("x", MaxRowBytes+1)
	for _, c := range []struct {
		read func(io.Reader, int) ([]Row, []RowError)
		file string
		want []string // "line field words"
	}{
		{ReadCSV, "", []string{"0  the file is empty"}},
		{ReadCSV, "id;type;zone\na;b;c\n", []string{"1  not separated by commas"}},
		{ReadCSV, "id,type,zome,zone,id\n", []string{`1 zome did you mean "zone"?`, "1 id stands twice"}},
		{ReadCSV, "id,whatsoever\n", []string{"1 whatsoever known are id, type", "1 type is missing", "1 zone is missing"}},
		{ReadCSV, "id,type,zone\na,b\na,b,c,d\na,b,c\n", []string{"2  2 cells and the header 3", "3  4 cells"}},
		{ReadCSV, "id,type,zone\na,b,c\nx,b,c\na,b,c\n", []string{"4 id stands already in line 2"}},
		{ReadCSV, "id,type,zone,owner\na b,,c\x01,\xff\n", []string{"2 id not allowed", "2 type is empty", "2 zone not allowed", "2 owner not valid UTF-8"}},
		{ReadCSV, "id,type,zone,labels\na,b,c,novalue\nb,b,c,A=1\nc,b,c,a=1;a=2\n", []string{"2 labels has no =", "3 labels is not valid", "4 labels stands twice"}},
		{ReadCSV, "id,type,zone\na\"b,c,d\n\"a\"b,c,d\n\"a,\n", []string{"2  quote stands inside", "3  quote stands inside", "4  never closed"}},
		{ReadCSV, "id,type,zone\n\"" + long, []string{"2  longer than"}},
		{ReadCSV, "id,type,zone\na,b,c\nb,b,c\nc,b,c\nd,b,c\n", []string{"5  more than 3 rows"}},
		{ReadCSV, "id,type,zone,notes\na,b,c," + strings.Repeat("x", MaxNotes+1) + "\n", []string{"2 notes 2049 bytes"}},
		{ReadJSON, "", []string{"0  the file is empty"}},
		{ReadJSON, "[", []string{"1  not closed"}},
		{ReadJSON, "[\n{\"id\":\"a\"", []string{"2  not closed"}},
		{ReadJSON, "id,type", []string{"1  'i' is out of place"}},
		{ReadJSON, "[{},,{}]", []string{"1 id is empty", "1 type is empty", "1 zone is empty", "1  ',' is out of place"}},
		{ReadJSON, "[]]", []string{"1  ']' is out of place"}},
		{ReadJSON, `{"id":"a","type":"b","zone":"c","onwer":"x"}`, []string{`1 onwer did you mean "owner"?`}},
		{ReadJSON, `{"id":"a","type":"b","zone":"c","labels":"x=1"}`, []string{"1 labels holds a JSON string"}},
		{ReadJSON, `{"id":7,"type":"b","zone":"c"}`, []string{"1 id holds a JSON number"}},
		{ReadJSON, "{\"id\":\"a\",}\n{\"id\":\"b\",\"type\":\"b\",\"zone\":\"c\"}\n{\"id\":\"b\",\"type\":\"b\",\"zone\":\"c\"}", []string{"1  not valid JSON", "3 id stands already in line 2"}},
		{ReadJSON, `{"notes":"` + long, []string{"1  longer than"}},
	} {
		rows, bad := c.read(strings.NewReader(c.file), 3)
		if rows != nil {
			t.Errorf("%.40q: got rows %v", c.file, rows)
		}
		if len(bad) != len(c.want) {
			t.Errorf("%.40q: got %v", c.file, bad)
			continue
		}
		for i, e := range bad {
			place := fmt.Sprintf("%d %s ", e.Line, e.Field)
			if words, ok := strings.CutPrefix(c.want[i], place); !ok || !strings.Contains(e.Message, words) {
				t.Errorf("%.40q: got %q, want %q", c.file, place+e.Message, c.want[i])
			}
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	csv := "id,type,zone\n" + strings.Repeat("a b,c d,e f\n", 5000)
	jsonl := strings.Repeat("{}\n", 5000)
	for _, read := range []func() ([]Row, []RowError){
		func() ([]Row, []RowError) { return ReadCSV(strings.NewReader(csv), 10_000) },
		func() ([]Row, []RowError) { return ReadJSON(strings.NewReader(jsonl), 10_000) },
	} {
		rows, bad := read()
		if len(rows) != 0 || len(bad) != MaxRowErrors+1 || !strings.HasPrefix(bad[MaxRowErrors].Message, "and more") {
			t.Errorf("got %d rows and %d errors, the last %+v", len(rows), len(bad), bad[len(bad)-1])
		}
	}
}

func TestReaderFails(t *testing.T) {
	for _, read := range []func(io.Reader, int) ([]Row, []RowError){ReadCSV, ReadJSON} {
		rows, bad := read(io.MultiReader(strings.NewReader("[{"), broken{}), 10)
		if rows != nil || len(bad) == 0 {
			t.Errorf("got %v, %v", rows, bad)
		}
	}
	for _, write := range []func(io.Writer, iter.Seq2[Device, error]) error{WriteCSV, WriteJSON, WriteJSONLines} {
		if err := write(broken{}, each(slices.Repeat([]Device{{ID: "a"}}, 5000))); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
		if err := write(io.Discard, func(yield func(Device, error) bool) { yield(Device{}, errBroken) }); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, errBroken }
func (broken) Write([]byte) (int, error) { return 0, errBroken }

// TestRoundTrip: what an export wrote, an import reads as it was.
func TestRoundTrip(t *testing.T) {
	text := func(limit int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			head := rapid.SampledFrom([]string{"", "", "=", "+", "-", "@", "\t", "'", "''=", "'@", "\n", "\"", ";", ","}).Draw(t, "head")
			rest := rapid.StringOfN(rapid.SampledFrom([]rune("ab=;,\\ '\"\t\n@é世")), 0, 20, limit-len(head)).Draw(t, "rest")
			return head + rest
		})
	}
	name := rapid.StringMatching(`[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		devices := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Device {
			d := Device{ID: ID(name.Draw(t, "id")), Type: TypeName(name.Draw(t, "type")), Zone: ZoneName(name.Draw(t, "zone")),
				Owner: text(MaxOwner).Draw(t, "owner"), Serial: text(MaxField).Draw(t, "serial"), Manufacturer: text(MaxField).Draw(t, "manufacturer"),
				Notes: text(MaxNotes).Draw(t, "notes"), State: Active, CreatedAt: time.Unix(1e9, 0).UTC()}
			if labels := rapid.MapOfN(rapid.StringMatching(`[a-z][a-z0-9._-]{0,5}`), text(MaxLabel), 0, 4).Draw(t, "labels"); len(labels) > 0 {
				d.Labels = labels
			}
			return d
		}), 0, 6, func(d Device) ID { return d.ID }).Draw(t, "devices")
		for what, x := range map[string]struct {
			write func(io.Writer, iter.Seq2[Device, error]) error
			read  func(io.Reader, int) ([]Row, []RowError)
		}{"csv": {WriteCSV, ReadCSV}, "json": {WriteJSON, ReadJSON}, "lines": {WriteJSONLines, ReadJSON}} {
			if what == "lines" && len(devices) == 0 {
				continue // an empty file is refused on import
			}
			var file bytes.Buffer
			if err := x.write(&file, each(devices)); err != nil {
				t.Fatal(err)
			}
			written := file.String()
			rows, bad := x.read(&file, 10)
			if len(bad) > 0 || len(rows) != len(devices) {
				t.Fatalf("%s: %d rows, %v, of\n%s", what, len(rows), bad, written)
			}
			for i, d := range devices {
				d.State, d.CreatedAt = "", time.Time{} // not taken over
				if !reflect.DeepEqual(rows[i].Device, d) {
					t.Fatalf("%s: got %+v, want %+v, of\n%s", what, rows[i].Device, d, written)
				}
			}
		}
	})
}

// TestNoFormula: no cell of an export starts with what a spreadsheet would run.
func TestNoFormula(t *testing.T) {
	for _, s := range []string{"=1", "+1", "-1", "@x", "\tx", "\rx", "'=1"} {
		if g := guard(s); g[0] != '\'' || unguard(g) != s {
			t.Errorf("guard(%q) is %q", s, g)
		}
	}
	for _, s := range []string{"", "x", "'x", "''"} {
		if guard(s) != s || unguard(s) != s {
			t.Errorf("%q is not left alone", s)
		}
	}
	var file bytes.Buffer
	if err := WriteCSV(&file, each([]Device{{ID: "-d", Type: "t", Zone: "z", Owner: "=HYPERLINK(1)"}})); err != nil || !strings.Contains(file.String(), "\n'-d,t,z,'=HYPERLINK(1),") {
		t.Errorf("wrote %q, %v", file.String(), err)
	}
}

// TestLabelCell: the cell reads what ParseLabels reads, and more.
func TestLabelCell(t *testing.T) {
	for _, s := range []string{"", "a=1", "a=1;b=2", " a=1 , b=2 ;", "a=x=y"} {
		got, err := parseLabelCell(s)
		want, wantErr := ParseLabels(s)
		if (err == nil) != (wantErr == nil) || !maps.Equal(got, want) {
			t.Errorf("%q: got %v %v, want %v %v", s, got, err, want, wantErr)
		}
	}
	if got, err := parseLabelCell(`path=C:\dir;b=1\;2\\`); err != nil || got["path"] != `C:\dir` || got["b"] != `1;2\` {
		t.Errorf("got %v %v", got, err)
	}
}

func seed(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds for %s: %v", pattern, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func fuzz(f *testing.F, read func(io.Reader, int) ([]Row, []RowError), write func(io.Writer, iter.Seq2[Device, error]) error) {
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, bad := read(bytes.NewReader(file), 100)
		if len(rows) > 0 && len(bad) > 0 || len(rows) > 100 || len(bad) > MaxRowErrors+1 {
			t.Fatalf("%d rows and %d errors", len(rows), len(bad))
		}
		var devices []Device
		for _, r := range rows {
			if err := r.Device.Validate(); err != nil || r.Line < 1 {
				t.Fatalf("line %d: %v", r.Line, err)
			}
			devices = append(devices, r.Device)
		}
		var out bytes.Buffer
		if err := write(&out, each(devices)); err != nil {
			t.Fatal(err)
		}
		again, bad := read(bytes.NewReader(out.Bytes()), 100)
		if len(devices) > 0 && (len(bad) > 0 || len(again) != len(rows)) {
			t.Fatalf("reading again: %v\n%s", bad, out.Bytes())
		}
		for i := range again {
			if !reflect.DeepEqual(again[i].Device, rows[i].Device) {
				t.Fatalf("reading again: got %+v, want %+v", again[i].Device, rows[i].Device)
			}
		}
	})
}

func FuzzReadCSV(f *testing.F) {
	seed(f, "testdata/exchange/*.csv")
	fuzz(f, ReadCSV, WriteCSV)
}

func FuzzReadJSON(f *testing.F) {
	seed(f, "testdata/exchange/*json*")
	fuzz(f, ReadJSON, WriteJSON)
}

func fleet(n int) []Device {
	devices := make([]Device, n)
	for i := range devices {
		devices[i] = Device{ID: ID(fmt.Sprintf("sensor-%06d", i)), Type: "sensor", Zone: "plant-1", Owner: "line-team", Serial: fmt.Sprintf("SN-%08d", i),
			Manufacturer: "Example Devices", Labels: map[string]string{"hall": "b", "line": "1"}, State: Registered, CreatedAt: time.Unix(1e9, 0), UpdatedAt: time.Unix(1e9, 0)}
	}
	return devices
}

func BenchmarkRead100000(b *testing.B) {
	devices := fleet(100_000)
	for what, x := range map[string]struct {
		write func(io.Writer, iter.Seq2[Device, error]) error
		read  func(io.Reader, int) ([]Row, []RowError)
	}{"csv": {WriteCSV, ReadCSV}, "json": {WriteJSON, ReadJSON}} {
		var file bytes.Buffer
		if err := x.write(&file, each(devices)); err != nil {
			b.Fatal(err)
		}
		b.Run(what, func(b *testing.B) {
			b.SetBytes(int64(file.Len()))
			for b.Loop() {
				if rows, bad := x.read(bytes.NewReader(file.Bytes()), 200_000); len(rows) != len(devices) {
					b.Fatal(bad)
				}
			}
		})
	}
}
