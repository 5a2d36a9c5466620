package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func written(list []fileDiff) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s +%d -%d\n", f.name, f.what, f.added, f.removed)
		for _, h := range f.hunks {
			for _, l := range h {
				fmt.Fprintf(&b, "%s%d,%d:%s ", map[string]string{"same": "=", "add": "+", "del": "-"}[l.kind], l.old, l.new, l.text)
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

func file(name, text string) adminapi.PolicyFile { return adminapi.PolicyFile{Name: name, Text: text} }

func TestDiffFiles(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []adminapi.PolicyFile
		want          string
	}{
		"the same": {[]adminapi.PolicyFile{file("a", "x\n")}, []adminapi.PolicyFile{file("a", "x\n")}, ""},
		"a line":   {[]adminapi.PolicyFile{file("a", "1\n2\n3\n")}, []adminapi.PolicyFile{file("a", "1\n9\n3\n")}, "a changed +1 -1\n=1,1:1 -2,0:2 +0,2:9 =3,3:3 |\n"},
		"added":    {nil, []adminapi.PolicyFile{file("b", "1\n2")}, "b added +2 -0\n+0,1:1 +0,2:2 |\n"},
		"removed":  {[]adminapi.PolicyFile{file("b", "1\n")}, nil, "b removed +0 -1\n-1,0:1 |\n"},
		"moved":    {[]adminapi.PolicyFile{file("a", "1\n2\n3\n4\n")}, []adminapi.PolicyFile{file("a", "2\n3\n4\n1\n")}, "a changed +1 -1\n-1,0:1 =2,1:2 =3,2:3 =4,3:4 +0,4:1 |\n"},
		"far apart": {[]adminapi.PolicyFile{file("a", "a\n1\n2\n3\n4\n5\n6\n7\n8\nb\n")}, []adminapi.PolicyFile{file("a", "A\n1\n2\n3\n4\n5\n6\n7\n8\nB\n")},
			"a changed +2 -2\n-1,0:a +0,1:A =2,2:1 =3,3:2 =4,4:3 |\n=7,7:6 =8,8:7 =9,9:8 -10,0:b +0,10:B |\n"},
	} {
		if got := written(diffFiles(c.before, c.after)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	long := strings.Repeat("a\nb\n", 2000)
	if d := diffFiles([]adminapi.PolicyFile{file("a", "x\n"+long+"y")}, []adminapi.PolicyFile{file("a", "z\n"+long+"w")}); d[0].added < 2 || d[0].removed < 2 {
		t.Errorf("a long one: %d and %d", d[0].added, d[0].removed)
	}
}

// FuzzDiff: what is the same and what was removed is the old text, what is the same
// and what was added the new one.
func FuzzDiff(f *testing.F) {
	f.Add("a\nb\nc", "a\nc\nd")
	f.Add("", "\n\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		var old, new []string
		for _, l := range diffLines(split(before), split(after)) {
			if l.kind != "add" {
				old = append(old, l.text)
			}
			if l.kind != "del" {
				new = append(new, l.text)
			}
		}
		if strings.Join(old, "\n") != strings.Join(split(before), "\n") || strings.Join(new, "\n") != strings.Join(split(after), "\n") {
			t.Errorf("%q and %q: %q, %q", before, after, old, new)
		}
	})
}

func TestPairs(t *testing.T) {
	d := diffFiles([]adminapi.PolicyFile{file("a", "1\n2\n3\n")}, []adminapi.PolicyFile{file("a", "1\n8\n9\n")})
	var b strings.Builder
	for _, p := range pairs(d[0].hunks[0]) {
		for _, l := range []*diffLine{p.left, p.right} {
			if l == nil {
				b.WriteString("_")
			} else {
				b.WriteString(l.text)
			}
		}
		b.WriteString(" ")
	}
	if b.String() != "11 28 39 " {
		t.Errorf("got %s", b.String())
	}
}

// A name of a file in an archive leads nowhere else.
func TestArchived(t *testing.T) {
	for name, want := range map[string]string{"a.yaml": "a.yaml", "policy/a.yaml": "policy/a.yaml", "../../etc/passwd": "etc/passwd", "/abs": "abs", `..\..\x`: "x", `C:\x`: "file-1.yaml", "": "file-1.yaml", "..": "file-1.yaml", "a\nb": "file-1.yaml"} {
		if got := archived(name, 0); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}
