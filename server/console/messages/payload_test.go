package messages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func laidOut(payload string, marks ...adminapi.TapMark) (form, text string) {
	s := show(&adminapi.TapMessage{Payload: []byte(payload), Marks: marks}, 1)
	var b strings.Builder
	for _, l := range s.lines {
		fmt.Fprintf(&b, "%d %s|%s\n", l.indent, l.text, l.mark)
	}
	return s.form, b.String() + s.text
}

func TestPayloads(t *testing.T) {
	for payload, want := range map[string]string{
		``:                         "empty ",
		`{"b":1.50,"a":[true,{}]}`: "JSON 0 {|\n1 \"b\": 1.50,|\n1 \"a\": [|\n2 true,|\n2 {}|\n1 ]|\n0 }|\n",
		`{"<b>":"&"}`:              "JSON 0 {|\n1 \"<b>\": \"&\"|\n0 }|\n",
		`{"a":1} x`:                `text {"a":1} x`,
		`{"a":`:                    `text {"a":`,
		`21.5`:                     "text 21.5",
		"on\noff":                  "text on\noff",
		"\x00\xff":                 "binary 00000000  00 ff                                             |..|",
		"a\x1b[31m":                "binary 00000000  61 1b 5b 33 31 6d                                 |a.[31m|",
	} {
		form, text := laidOut(payload)
		if got := form + " " + text; got != want {
			t.Errorf("%q:\n got %q\nwant %q", payload, got, want)
		}
	}
	for name, payload := range map[string]string{"deep": strings.Repeat("[", 40) + strings.Repeat("]", 40), "many": "[" + strings.Repeat("1,", 1000) + "1]", "long": `{"a":"` + strings.Repeat("x", maxJSON) + `"}`} {
		form, text := laidOut(payload)
		if form != "text" || len(text) > maxText+len("…") {
			t.Errorf("%s is %s of %d bytes", name, form, len(text))
		}
	}
	if s := show(&adminapi.TapMessage{Payload: make([]byte, 5000)}, 1); s.form != "binary" || s.more != 5000-maxHex || len(s.line) > maxLine+3 {
		t.Errorf("of 5000 bytes %d are left, %q", s.more, s.line)
	}
	if s := show(&adminapi.TapMessage{Hidden: "it is not JSON", Payload: nil}, 1); s.form != "hidden" {
		t.Errorf("hidden is %s", s.form)
	}
}

// What a view rewrote is marked where it stands; where elements were left out, what
// follows has moved and nothing is marked wrongly.
func TestMarkedPayloads(t *testing.T) {
	_, text := laidOut(`{"operator":{"name":"h:abc"},"at":"2026-11"}`, adminapi.TapMark{Path: "/operator/badge", Do: "drop"}, adminapi.TapMark{Path: "/operator/name", Do: "hash"}, adminapi.TapMark{Path: "/at", Do: "generalize"})
	want := "0 {|\n1 \"operator\": {|\n2 \"name\": \"h:abc\"|replaced by a hash\n2 \"badge\"|left out\n1 },|\n1 \"at\": \"2026-11\"|rounded or left out\n0 }|\n"
	if text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	_, text = laidOut(`{"list":[{"x":"***"}],"only":{}}`, adminapi.TapMark{Path: "/list/0", Do: "drop"}, adminapi.TapMark{Path: "/list/1/x", Do: "mask"}, adminapi.TapMark{Path: "/only/a~1b", Do: "drop"})
	want = "0 {|\n1 \"list\": [|\n2 {|\n3 \"x\": \"***\"|\n2 }|\n2 element 0|left out\n1 ],|\n1 \"only\": {|\n2 \"a/b\"|left out\n1 }|\n0 }|\n"
	if text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	if _, text := laidOut(`"h:abc"`, adminapi.TapMark{Path: "", Do: "hash"}); text != `"h:abc"` {
		t.Errorf("got %s", text)
	}
}

func FuzzShow(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2]}}`), "/a/b/0", "drop")
	f.Add([]byte("[[[[{}]]]]"), "/0/0", "mask")
	f.Add([]byte("\xff\x00"), "", "hash")
	f.Fuzz(func(t *testing.T, payload []byte, path, do string) {
		s := show(&adminapi.TapMessage{Payload: payload, Marks: []adminapi.TapMark{{Path: path, Do: do}}}, 1)
		if len(s.lines) > maxLines || len(s.text) > 8*maxText || s.more < 0 || len(s.line) > maxLine+3 {
			t.Errorf("%d lines, %d bytes of text, %d more, a line of %d", len(s.lines), len(s.text), s.more, len(s.line))
		}
		for _, l := range s.lines {
			if l.indent > maxDeep {
				t.Errorf("a line is %d deep", l.indent)
			}
		}
	})
}
