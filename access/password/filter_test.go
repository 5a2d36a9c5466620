package password

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadListOfText(t *testing.T) {
	f, err := ReadList(strings.NewReader("\ufeffFirst Password\r\n#!comment: not a password\r\nshort\nsecond-password\nsecond-password\n\xff\xfe\xfd not text\n\n0000000000000000000000000000000000000000\nthe last line"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Len() != 4 {
		t.Errorf("%d entries, want 4", f.Len())
	}
	for text, want := range map[string]bool{
		"first password": true, "FIRST PASSWORD": true, "first password1!": true, "second-password": true,
		"the last line": true, "the last line of it": false, "short": false, "!comment: not a password": false, "third password": false,
		"0000000000000000000000000000000000000000": true,
	} {
		if f.holds([]byte(text)) != want {
			t.Errorf("holds(%q) = %v", text, !want)
		}
	}
}

func TestReadListOfHashes(t *testing.T) {
	line := func(text string) string { return fmt.Sprintf("%X", sha1.Sum([]byte(text))) }
	f, err := ReadList(strings.NewReader(line("Correct Horse") + ":42\r\n" + strings.ToLower(line("battery-staple")) + "\n\n" + line("пароль и слово") + ":1"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"Correct Horse": true, "correct horse": false, "battery-staple": true, "Battery-Staple99": true, "пароль и слово": true, "Пароль и слово": true, "other": false,
	} {
		if f.holds([]byte(text)) != want {
			t.Errorf("holds(%q) = %v", text, !want)
		}
	}
}

func TestReadListErrors(t *testing.T) {
	const hash = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8"
	for name, c := range map[string]struct {
		list io.Reader
		want string
	}{
		"text among hashes": {strings.NewReader(hash + ":1\n" + hash + "\nnot a hash"), "line 3: it is not a SHA-1 hash"},
		"a short hash":      {strings.NewReader(hash + "\n" + hash[1:]), "line 2"},
		"a long hash":       {strings.NewReader(hash + "\n" + hash + "0"), "line 2"},
		"no count":          {strings.NewReader(hash + "\n" + hash + ":"), "line 2"},
		"a bad count":       {strings.NewReader(hash + "\n" + hash + ":1x"), "line 2"},
		"NTLM":              {strings.NewReader(hash[:32] + ":12\n"), "line 1: this looks like NTLM"},
		"a long line":       {strings.NewReader("first password\n" + strings.Repeat("x", 5000)), "line 2: it has more than 1024 bytes"},
		"too many lines":    {newlines(MaxListEntries + 1), "line 10000001: it has more lines"},
		"a broken file":     {io.MultiReader(strings.NewReader("first password\n"), iotest.ErrReader(errors.New("disk on fire"))), "after line 1: disk on fire"},
	} {
		f, err := ReadList(c.list)
		if err == nil || !strings.Contains(err.Error(), c.want) || f.Len() != 0 {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "not a hash"+"\"") {
			t.Errorf("%s: the error repeats the line: %v", name, err)
		}
	}
	for _, empty := range []string{"", "\n", "\r\n\r\n"} {
		if f, err := ReadList(strings.NewReader(empty)); err != nil || f.Len() != 0 || f.holds([]byte("any password")) {
			t.Errorf("an empty list: %v", err)
		}
	}
}

// newlines is n empty lines.
func newlines(n int) io.Reader { return io.LimitReader(endless{}, int64(n)) }

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestVariants(t *testing.T) {
	for text, want := range map[string][]string{
		"Password":                  {"Password", "password"},
		"Password24!":               {"Password24!", "password24!", "password24", "password2", "password"},
		"12password34":              {"12password34", "12password3", "12password", "password"},
		"1234password567":           {"1234password567", "1234password56", "1234password5", "1234password"},
		"Correct Horse_1":           {"Correct Horse_1", "correct horse_1", "correct horse_", "correct horse", "correcthorse1", "correcthorse"},
		"rainbow837462910":          {"rainbow837462910", "rainbow83746291", "rainbow8374629", "rainbow837462", "rainbow83746", "rainbow8374", "rainbow837"},
		"dragon1234":                {"dragon1234", "dragon123", "dragon12"}, // the core is too short to be listed
		"12345678":                  {"12345678"},
		"":                          {""},
		"Schl\u00fcsselbl\u00fcte7": {"Schl\u00fcsselbl\u00fcte7", "schl\u00fcsselbl\u00fcte7", "schl\u00fcsselbl\u00fcte"},
	} {
		var got []string
		for _, v := range variants([]byte(text)) {
			got = append(got, string(v))
		}
		if !slices.Equal(got, want) {
			t.Errorf("variants(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestEmbedded(t *testing.T) {
	f := Embedded()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(common)); !strings.Contains(string(readme), sum) {
		t.Errorf("README.md does not name the SHA-256 of the list, %s", sum)
	}
	if f.Len() != 474_742 {
		t.Errorf("%d entries", f.Len())
	}
	if len(common) > 1_500_000 {
		t.Errorf("%d bytes are built in", len(common))
	}
	for _, text := range []string{"password", "Password1", "iloveyou", "trustno1!", "qwertyuiop", "football2026", "1qaz2wsx3edc"} {
		if !f.holds([]byte(text)) {
			t.Errorf("%q is not on the list", text)
		}
	}
	// A chance hit is expected less than once in 30,000 passwords; the numbers are
	// fixed, so this cannot fail by chance.
	hits := 0
	for i := range 100_000 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(i))
		if f.holds(fmt.Appendf(nil, "Holds %x Fast", sha1.Sum(b[:]))) {
			hits++
		}
	}
	if hits > 5 {
		t.Errorf("%d of 100,000 random passwords are taken for listed ones", hits)
	}
}

func TestFilters(t *testing.T) {
	a, err := ReadList(strings.NewReader("first password"))
	if err != nil {
		t.Fatal(err)
	}
	all := Filters(a, Filter{}, Embedded())
	if all.Len() != 1+Embedded().Len() || !all.holds([]byte("first password")) || !all.holds([]byte("iloveyou")) || a.holds([]byte("iloveyou")) {
		t.Error("joined filters do not hold what each holds")
	}
	if Filters().holds([]byte("iloveyou")) {
		t.Error("nothing holds something")
	}
	if Embedded().WriteCompact(io.Discard) == nil {
		t.Error("a shortened list was shortened again")
	}
}

// TestCompact writes lists and reads them back; the same entries in another
// order give the same bytes.
func TestCompact(t *testing.T) {
	one, _ := ReadList(strings.NewReader("first password\nsecond password\nthird password\n"))
	two, _ := ReadList(strings.NewReader("third password\nFIRST password\n"))
	three, _ := ReadList(strings.NewReader("second password"))
	var a, b bytes.Buffer
	if err := one.WriteCompact(&a); err != nil {
		t.Fatal(err)
	}
	if err := Filters(two, three).WriteCompact(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same entries are written differently")
	}
	f, err := readCompact(a.Bytes())
	if err != nil || f.Len() != 3 || !f.holds([]byte("second password")) || f.holds([]byte("fourth password")) {
		t.Errorf("reading it back: %d entries, %v", f.Len(), err)
	}
	zero := Filter{sets: []set{{keys: []uint64{0, 1, 1 << 40}}}}
	a.Reset()
	if err := zero.WriteCompact(&a); err != nil {
		t.Fatal(err)
	}
	if f, err := readCompact(a.Bytes()); err != nil || f.Len() != 1 {
		t.Errorf("hashes that start with zeros: %v, %v", f, err)
	}
	if one.WriteCompact(brokenPipe{}) == nil {
		t.Error("a list was written to a broken pipe")
	}
	for _, bad := range []string{"", "holdfast passwords 2\n", compactMagic + "\x00", compactMagic + "\x80", compactMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", compactMagic + "\xff\xff\xff\xff\xff\x07\x01"} {
		if _, err := readCompact([]byte(bad)); err == nil {
			t.Errorf("readCompact takes %q", bad)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzReadList(f *testing.F) {
	f.Add([]byte("first password\nSecond Password\r\n#!comment: x\n"), "second password")
	f.Add([]byte("5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3\n5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8\n"), "password")
	f.Add([]byte("5BAA61E4C9B93F3F0682250B6CF8331B:3\n"), "p")
	f.Add([]byte("\ufeffp\u0308assword\u3000x\n\xff\xff\n"), "12-p\u0308assword x-34")
	f.Fuzz(func(t *testing.T, list []byte, text string) {
		filter, err := ReadList(bytes.NewReader(list))
		if err != nil {
			if filter.Len() != 0 {
				t.Fatalf("a list with an error has %d entries", filter.Len())
			}
			return
		}
		if lines := bytes.Count(list, []byte{'\n'}) + 1; filter.Len() > lines {
			t.Fatalf("%d lines give %d entries", lines, filter.Len())
		}
		// Whoever can type a listed line is found out.
		normal, err := New(text).normal()
		if err != nil {
			return
		}
		if _, ok := listed(normal); ok {
			with, err := ReadList(strings.NewReader("first line\n" + string(normal) + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if !with.holds(normal) && !bytes.ContainsAny(normal, "\r\n") {
				t.Fatalf("%q is listed and not found", normal)
			}
		}
	})
}

func FuzzReadCompact(f *testing.F) {
	f.Add([]byte(compactMagic + "\x01\x02\xff\x7f"))
	f.Add([]byte(compactMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		filter, err := readCompact(data)
		if err == nil && filter.Len() > len(data) {
			t.Fatalf("%d bytes give %d entries", len(data), filter.Len())
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	f := Embedded()
	for b.Loop() {
		f.holds([]byte("Velvet Orbit Mango 42!"))
	}
}

func BenchmarkEmbedded(b *testing.B) {
	for b.Loop() {
		if _, err := readCompact(common); err != nil {
			b.Fatal(err)
		}
	}
}
