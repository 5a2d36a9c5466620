package manifest_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

func load(t *testing.T, text string) *manifest.Set {
	t.Helper()
	set, problems := manifest.Load([]manifest.File{{Name: "a.yaml", Data: []byte(text)}})
	for _, p := range problems {
		t.Error(p)
	}
	return set
}

// placeless is a set without places, which its text decides.
func placeless(v any) any {
	out := reflect.New(reflect.TypeOf(v)).Elem()
	out.Set(reflect.ValueOf(v))
	return strip(out).Interface()
}

func strip(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	if v.Type() == reflect.TypeFor[manifest.Pos]() {
		return out
	}
	out.Set(v)
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return out
		}
		for i := range v.NumField() {
			out.Field(i).Set(strip(v.Field(i)))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(strip(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(strip(v.Index(i)))
			}
		}
	}
	return out
}

func good(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLoad(t *testing.T) {
	set := load(t, good(t))
	d := set.DeviceTypes[0]
	r, c := d.Publish[0], d.Commands[0]
	for _, x := range []struct{ what, got, want any }{
		{"name", d.Name, "doser"},
		{"client id", d.ClientIDs[0].Text, "${device.id}"},
		{"topic", r.Topics[0], manifest.Pattern{Text: "water/${device.zone}/${device.id}/telemetry", Pos: manifest.Pos{File: "a.yaml", Line: 8, Column: 17}}},
		{"qos", *r.QoS, 1},
		{"retain", *r.Retain, false},
		{"when", r.When, "message.size < 512"},
		{"place of when", r.WhenPos.String(), "a.yaml:11:14"},
		{"rate", r.Rate, manifest.Rate{Messages: 10, Burst: 20, Bytes: 65536}},
		{"format", r.Payload.Format, manifest.JSON},
		{"max", *r.Payload.Fields[0].Max, 50.0},
		{"command rate", c.Rate.Messages, 0.1},
		{"refuse in", fmt.Sprint(c.RefuseIn), "[maintenance quarantined]"},
		{"session expiry", d.Limits.SessionExpiry, 24 * time.Hour},
		{"daily bytes", d.Limits.DailyBytes, int64(100 << 20)},
		{"total", d.Total.Rate.Messages, 1000.0},
		{"made name", set.Apps[0].Publish[0].Name, "publish-1"},
		{"step", set.Audiences[0].Sees[1].Step, 0.01},
		{"payload", string(set.Tests[0].Cases[0].Publish.Payload), `{"ml_per_min":900,"s":"a<b","z":[1,2.50,null,true]}`},
		{"rule", set.Tests[0].Cases[0].Rule, "DeviceType/doser/dose"},
		{"allow", set.Tests[0].Cases[1].Allow, true},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: got %#v, want %#v", x.what, x.got, x.want)
		}
	}
}

func TestYAML(t *testing.T) {
	set := load(t, good(t))
	text := string(set.YAML())
	again := load(t, text)
	if !reflect.DeepEqual(placeless(*set), placeless(*again)) {
		t.Errorf("loaded again the set differs:\n%s", text)
	}
	if string(again.YAML()) != text {
		t.Errorf("written again the text differs:\n%s", again.YAML())
	}
}

// TestPlaces: expressions are placed by their first character, however they are quoted.
func TestPlaces(t *testing.T) {
	const head = "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: a}\nspec:\n  publish:\n    - topic: t\n      when: "
	for text, want := range map[string]string{
		"true":                       "a.yaml:7:13",
		"'message.size < 1'":         "a.yaml:7:14",
		"\"message.size < 1\"":       "a.yaml:7:14",
		"|\n        a\n        b":    "a.yaml:8:9",
		">-\n         a\n         b": "a.yaml:8:10",
	} {
		if text == "true" {
			text = "message.size < 1"
		}
		if got := load(t, head+text+"\n").DeviceTypes[0].Publish[0].WhenPos.String(); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, text := range []string{"", "---\n", "# nothing\n", "---\n---\n...\n"} {
		if set := load(t, text); !reflect.DeepEqual(set, &manifest.Set{}) || len(set.YAML()) != 0 {
			t.Errorf("%q is not empty", text)
		}
	}
	load(t, "apiVersion: holdfast.dev/v1\nkind: Zone\nmetadata: {name: Hall_A}\nspec:\n  publish:\n  subscribe: []\n")
}

// TestOrder: how documents are spread over files and in which order means nothing.
func TestOrder(t *testing.T) {
	doc := func(kind, name string) string {
		return "apiVersion: holdfast.dev/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\n"
	}
	a, problems := manifest.Load([]manifest.File{{Name: "1", Data: []byte(doc("Zone", "b") + "---\n" + doc("DeviceType", "x"))}, {Name: "2", Data: []byte(doc("Zone", "a"))}})
	b, more := manifest.Load([]manifest.File{{Name: "0", Data: []byte(doc("Zone", "a") + "---\n" + doc("Zone", "b") + "---\n" + doc("DeviceType", "x"))}})
	if len(problems)+len(more) > 0 || !reflect.DeepEqual(placeless(*a), placeless(*b)) {
		t.Errorf("sets differ: %v %v", problems, more)
	}
}

func TestBounds(t *testing.T) {
	one := func(name string, data []byte) []manifest.File { return []manifest.File{{Name: name, Data: data}} }
	var many []manifest.File
	for i := range 18 {
		many = append(many, manifest.File{Name: fmt.Sprint(i), Data: []byte(strings.Repeat("#\n", manifest.MaxFile/2))})
	}
	for _, x := range []struct {
		name  string
		files []manifest.File
		want  string
	}{
		{"file", one("big", make([]byte, manifest.MaxFile+1)), "big: the file has 1048577 bytes, more than 1MiB: split it"},
		{"total", many, "16: the manifests are more than 16MiB or 10000 files"},
		{"NUL", one("n", []byte("a: 1\nb: \x00")), "n:2:4: the file has a NUL byte: write manifests as text in UTF-8"},
		{"UTF-8", one("n", []byte("a: \xff")), "n:1:4: the file is not UTF-8 here"},
		{"UTF-16", one("n", []byte("\xfe\xff\x20a")), "n:1:1: the file is not UTF-8 here"},
		{"twice", append(one("n", nil), one("n", nil)...), "n: the file is given twice"},
		{"depth", one("n", []byte(strings.Repeat("[", 70)+strings.Repeat("]", 70))), "n:1:66: the nesting is deeper than 64 levels"},
		{"syntax", one("n", []byte("a: [\nb: c\n")), "n:2:1: this is not YAML: "},
		{"anchor", one("n", []byte("a: &x 1")), "n:1:4: anchors (&x) are not supported: take the anchor away"},
		{"tag", one("n", []byte("a: !!binary aGk=")), "n:1:4: tags (!!binary) are not supported: take the tag away"},
	} {
		_, problems := manifest.Load(x.files)
		if len(problems) == 0 || !strings.HasPrefix(problems[0].String(), x.want) {
			t.Errorf("%s: got %v, want %s", x.name, problems, x.want)
		}
	}
}

// TestHostile: input made to cost much more than its size is refused in time.
func TestHostile(t *testing.T) {
	for name, text := range map[string]string{
		"brackets": strings.Repeat("[", manifest.MaxFile),
		"keys":     strings.Repeat("? ", manifest.MaxFile/2),
		"dashes":   strings.Repeat("- ", manifest.MaxFile/2),
		"commas":   "[" + strings.Repeat("a,", manifest.MaxFile/2-1) + "]",
		"braces":   strings.Repeat("{a: ", manifest.MaxFile/4),
		"comments": strings.Repeat("#\n", manifest.MaxFile/2),
		"papers":   strings.Repeat("---\n", manifest.MaxFile/4),
		"indents":  strings.Repeat("-\n", manifest.MaxFile/2),
		"quotes":   `"` + strings.Repeat("\n", manifest.MaxFile-2) + `"`,
		"bomb":     "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
		"keymap":   "{" + strings.Repeat("apiVersio: 1,", manifest.MaxFile/13-1) + "}",
	} {
		_, problems := manifest.Load([]manifest.File{{Name: name, Data: []byte(text)}})
		if len(problems) == 0 && name != "comments" && name != "papers" {
			t.Errorf("%s: accepted", name)
		}
		if len(problems) > manifest.MaxProblems {
			t.Errorf("%s: %d problems", name, len(problems))
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good(f))
	for _, c := range problemCases {
		f.Add(c.text())
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, problems := manifest.Load([]manifest.File{{Name: "a", Data: []byte(text)}})
		if len(problems) > manifest.MaxProblems {
			t.Fatalf("%d problems", len(problems))
		}
		for i, p := range problems {
			if p.Text == "" || strings.ContainsAny(p.String(), "\n\x00") {
				t.Fatalf("problem %q", p.String())
			}
			if i > 0 && p.Pos.Line < problems[i-1].Pos.Line {
				t.Fatalf("%s is after %s", p.Pos, problems[i-1].Pos)
			}
		}
		if len(problems) > 0 {
			return
		}
		out := set.YAML()
		again, problems := manifest.Load([]manifest.File{{Name: "b", Data: out}})
		if len(problems) > 0 || !reflect.DeepEqual(placeless(*set), placeless(*again)) {
			t.Fatalf("loaded again: %v\n%s", problems, out)
		}
	})
}
