package privacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func testKey(t testing.TB) HashKey {
	t.Helper()
	key, err := NewHashKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func compile(t testing.TB, rules ...Rule) *View {
	t.Helper()
	v, err := Compile(rules, testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestApply(t *testing.T) {
	const pump = ` { "operator" : {"name": "Ada", "pin":1234}, "flow": 1.50, "at":"2026-11-23T20:21:22.5+02:00", "position":{"lat":51.50735, "lon":-0.12776}, "tags":["a","b","c"] } `
	for _, c := range []struct {
		name  string
		rules []Rule
		in    string
		want  string
	}{
		{"nothing", nil, pump, `{"operator":{"name":"Ada","pin":1234},"flow":1.50,"at":"2026-11-23T20:21:22.5+02:00","position":{"lat":51.50735,"lon":-0.12776},"tags":["a","b","c"]}`},
		{"drop first", []Rule{{Path: "/operator", Do: Drop}}, `{"operator":{},"a":1}`, `{"a":1}`},
		{"drop last", []Rule{{Path: "/operator", Do: Drop}}, `{"a":1,"operator":{}}`, `{"a":1}`},
		{"drop only", []Rule{{Path: "/operator", Do: Drop}}, `{"operator":{}}`, `{}`},
		{"drop elements", []Rule{{Path: "/0", Do: Drop}, {Path: "/2", Do: Drop}}, `[0,1,2,3]`, `[1,3]`},
		{"drop every element", []Rule{{Path: "/*", Do: Drop}}, `[0,[1],{}]`, `[]`},
		{"drop all", []Rule{{Path: "", Do: Drop}}, ` "x" `, `null`},
		{"mask all", []Rule{{Path: "", Do: Mask}}, `{"a":1}`, `"***"`},
		{"mask", []Rule{{Path: "/operator/name", Do: Mask}, {Path: "/operator/pin", Do: Mask, Keep: 4}}, ` {"operator":{"name" : "Ada", "pin":1234}}`, `{"operator":{"name":"***","pin":"***"}}`},
		{"mask keeps runes", []Rule{{Path: "/*", Do: Mask, Keep: 2}}, `["secret","\u00e9\ud83d\ude00\n","äöü","ab","","x",null]`, `["****et","*\ud83d\ude00\n","*öü","**","","*","***"]`},
		{"generalize", []Rule{{Path: "/position/*", Do: Generalize, Step: 0.01}, {Path: "/at", Do: Generalize, Unit: "hour"}, {Path: "/operator", Do: Generalize, Step: 1, Unit: "day"}}, pump,
			`{"flow":1.50,"at":"2026-11-23T18:00:00Z","position":{"lat":51.51,"lon":-0.13},"tags":["a","b","c"]}`},
		{"stronger wins", []Rule{{Path: "/*", Do: Mask, Keep: 2}, {Path: "/a", Do: Drop}, {Path: "/b", Do: Mask}, {Path: "/c", Do: Whole}, {Path: "/c", Do: Generalize, Step: 1}}, `{"a":"12345","b":"12345","c":"12345"}`, `{"b":"*****","c":"***45"}`},
		{"parent wins", []Rule{{Path: "/a", Do: Mask}, {Path: "/a/b", Do: Whole}}, `{"a":{"b":1}}`, `{"a":"***"}`},
		{"star and name", []Rule{{Path: "/*/x", Do: Drop}, {Path: "/a/y", Do: Drop}}, `{"a":{"x":1,"y":2,"z":3},"b":{"x":1,"y":2}}`, `{"a":{"z":3},"b":{"y":2}}`},
		{"escaped name", []Rule{{Path: "/location", Do: Drop}, {Path: "/a~1b~0", Do: Drop}, {Path: "/😀", Do: Drop}}, `{"loc\u0061tion":1,"a\/b~":2,"\ud83d\ude00":3,"\"":4}`, `{"\"":4}`},
		{"index is not a name with zeros", []Rule{{Path: "/00", Do: Drop}, {Path: "/-", Do: Drop}}, `[1,2]`, `[1,2]`},
		{"index as a name", []Rule{{Path: "/0", Do: Drop}}, `{"0":1,"1":2}`, `{"1":2}`},
		{"empty name", []Rule{{Path: "/", Do: Drop}}, `{"":1,"a":2}`, `{"a":2}`},
		{"numbers as written", []Rule{{Path: "/x", Do: Drop}}, `[-0,1E+2,0.10,1e999,12345678901234567890]`, `[-0,1E+2,0.10,1e999,12345678901234567890]`},
	} {
		got, err := compile(t, c.rules...).Apply([]byte("before"), []byte(c.in))
		if err != nil || string(got) != "before"+c.want {
			t.Errorf("%s: %s %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	v := compile(t, Rule{Path: "/a", Do: Drop}, Rule{Path: "/h", Do: Hash})
	deep := strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1)
	many := `{"a":1`
	for i := range 40 {
		many += fmt.Sprintf(`,"m%d":1`, i)
	}
	for _, in := range []string{
		``, ` `, `{`, `[`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1 "b":2}`, `[1,]`, `[,1]`, `[1 2]`, `1 2`, `{}x`, `tru`, `nul`, `True`, `NaN`,
		`01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `0x1`, `"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00"`, `"\ud800\ud800"`, "\"\x01\"", "\"\xff\"", "\"\xed\xa0\x80\"",
		"\ufeff{}", `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"b":1,"b":1}}`, `{"a":{"b":1,"b":1}}`, many + `,"m7":2}`, many + `,"a":2}`, deep, `{"a":` + deep + `}`, `{"a":1e}`, `'a'`, `{"h":1e9999999999}`,
	} {
		got, err := v.Apply([]byte("x"), []byte(in))
		if !errors.Is(err, ErrUnreadable) || string(got) != "x" {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	if _, err := v.Apply(nil, []byte(many+"}")); err != nil {
		t.Error(err)
	}
	if got, err := v.Apply(nil, []byte(deep[1:len(deep)-1])); err != nil || string(got) != deep[1:len(deep)-1] {
		t.Error(err)
	}
	if _, err := v.Apply(nil, []byte(`{"secret" 1}`)); err == nil || err.Error() != "reading the payload at byte 10: a colon is missing" {
		t.Error(err)
	}
}

// TestSpareRoom shows that a marked value does not even get into memory behind the result.
func TestSpareRoom(t *testing.T) {
	v := compile(t, Rule{Path: "/a", Do: Drop}, Rule{Path: "/b", Do: Hash}, Rule{Path: "/c", Do: Mask})
	buf := make([]byte, 0, 1024)
	out, err := v.Apply(buf, []byte(`{"c":"SECRET","b":["SECRET"],"a":{"x":"SECRET"}}`))
	if err != nil || bytes.Contains(out[:cap(out)], []byte("SECRET")) {
		t.Errorf("%s %v", out[:cap(out)], err)
	}
}

func TestHash(t *testing.T) {
	v := compile(t, Rule{Path: "/*", Do: Hash})
	equal := [][]string{
		{`1`, `1.0`, `1e0`, `10e-1`, `0.1E+1`, `100e-2`, `1e-0000000000000000`},
		{`0`, `-0`, `0.0`, `0e99999999999`, `-0.000e-5`}, // zero
		{`-1`, `-1.00`}, {`10`, `1e1`}, {`9007199254740992`}, {`9007199254740993`}, {`1e400`, `10e399`},
		{`"a"`, `"\u0061"`}, {`"1"`}, {`"/"`, `"\/"`}, {`""`}, {`"é"`, `"\u00e9"`}, {`true`}, {`false`}, {`null`}, {`"null"`},
		{`{"a":1,"b":[true, null]}`, `{ "b":[true,null] , "\u0061":1.0 }`}, {`{"a":1,"b":[null,true]}`}, {`{"a":1}`}, {`{}`}, {`[]`}, {`[[]]`}, {`[1,2]`, `[ 1.0 ,2]`}, {`[12]`}, {`["1","2"]`}, {`["12"]`}, {`["a",{"a":"b"}]`}, {`[{"a":"b"},"a"]`},
	}
	seen := map[string]string{}
	for _, group := range equal {
		var first string
		for _, in := range group {
			out, err := v.Apply(nil, []byte("["+in+"]"))
			if in == `0e99999999999` && err != nil { // an exponent too long to compare
				continue
			}
			if err != nil || len(out) != 32 || !strings.HasPrefix(string(out), `["h:`) {
				t.Fatalf("%s: %s %v", in, out, err)
			}
			if first == "" {
				first = string(out)
				if other, ok := seen[first]; ok {
					t.Errorf("%s and %s have one hash", in, other)
				}
				seen[first] = in
			}
			if string(out) != first {
				t.Errorf("%s and %s have different hashes", in, group[0])
			}
		}
	}
	// Made with: printf 's3:Ada' | openssl dgst -sha256 -hmac KEY, its first 16 bytes in base 32.
	out, err := v.Apply(nil, []byte(`["Ada"]`))
	if want := `["h:ivrve63bnpw2obhfbu65fj2yh4"]`; err != nil || string(out) != want {
		t.Errorf("%s %v, want %s", out, err, want)
	}
	other, err := NewHashKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	w, err := Compile([]Rule{{Path: "/*", Do: Hash}}, other)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.Apply(nil, []byte(`["Ada"]`)); err != nil || bytes.Equal(again, out) {
		t.Errorf("another key gave %s %v", again, err)
	}
}

func TestCompile(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Path: "a", Do: Drop}, `compiling a view: the rule for "a": a path begins with /`},
		{Rule{Path: "/a~2", Do: Drop}, "~0"},
		{Rule{Path: "/a~", Do: Drop}, "~0"},
		{Rule{Path: strings.Repeat("/a", MaxDepth+1), Do: Drop}, "64 levels"},
		{Rule{Path: "/a", Do: "blur"}, `there is no transform "blur"`},
		{Rule{Path: "/a"}, "there is no transform"},
		{Rule{Path: "/a", Do: Mask, Keep: -1}, "0 to 16"},
		{Rule{Path: "/a", Do: Mask, Keep: 17}, "0 to 16"},
		{Rule{Path: "/a", Do: Generalize}, "a step for numbers or a unit"},
		{Rule{Path: "/a", Do: Generalize, Step: -1}, "between"},
		{Rule{Path: "/a", Do: Generalize, Step: math.NaN()}, "between"},
		{Rule{Path: "/a", Do: Generalize, Step: math.Inf(1)}, "between"},
		{Rule{Path: "/a", Do: Generalize, Step: 1e-10}, "between"},
		{Rule{Path: "/a", Do: Generalize, Unit: "minute"}, `there is no unit "minute"`},
		{Rule{Path: "/a", Do: Hash}, "hashing needs a key"},
	} {
		_, err := Compile([]Rule{c.rule}, HashKey{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.rule, err)
		}
	}
	if _, err := Compile(make([]Rule, MaxRules+1), HashKey{}); err == nil {
		t.Error("too many rules are accepted")
	}
	if v := compile(t, Rule{Path: "/a", Do: Whole}); !v.Whole() {
		t.Error("a view of whole fields is not whole")
	}
	for _, path := range []string{"", "/a", "/*"} {
		if v := compile(t, Rule{Path: path, Do: Drop}); v.Whole() {
			t.Errorf("a view that drops %q is whole", path)
		}
	}
}

func TestKeyIsHidden(t *testing.T) {
	if _, err := NewHashKey(make([]byte, 31)); err == nil {
		t.Error("a short key is accepted")
	}
	secret := "0123456789abcdef0123456789abcdef"
	key := testKey(t)
	v := compile(t, Rule{Path: "/a", Do: Hash})
	if _, err := v.Apply(nil, []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	inside := struct{ k HashKey }{key}
	for _, x := range []any{key, &key, inside, &inside, []HashKey{key}, v} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, x)
			if strings.Contains(text, secret[:8]) || strings.Contains(text, fmt.Sprintf("%x", secret[:8])) || strings.Contains(text, "48 49 50 51") {
				t.Errorf("%s of %T shows the key: %s", verb, x, text)
			}
		}
	}
	if b, err := json.Marshal(key); err != nil || string(b) != `"[hash key]"` {
		t.Errorf("%s %v", b, err)
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		step     float64
		in, want string
	}{
		{0.01, "51.50735", "51.51"}, {0.01, "-0.004", "0"}, {0.01, "-0.006", "-0.01"}, {0.1, "0.3", "0.3"}, {0.1, "0.30000000000000004", "0.3"}, {0.25, "1.13", "1.25"}, {0.25, "1e0", "1"},
		{5, "12", "10"}, {5, "13", "15"}, {1000, "123456", "123000"}, {1e12, "6e11", "1000000000000"}, {1e-9, "0.1234567891", "0.123456789"}, {0.003, "1", "0.999"}, {2.5, "6", "5"}, {10, "1e300", ""}, {10, "1e999", ""}, {1e-9, "12345678", ""},
		{0.1, "900719925474099.1", "900719925474099.1"}, {1.0 / 3, "1", "0.9999999999999999"},
	} {
		r, err := Rule{Do: Generalize, Step: c.step}.compile()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := r.step.appendRound(nil, []byte(c.in))
		if ok != (c.want != "") || string(got) != c.want {
			t.Errorf("%s to %v: %s %t, want %s", c.in, c.step, got, ok, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ unit, in, want string }{
		{"year", "2026-11-23T20:21:22Z", "2026-01-01T00:00:00Z"},
		{"month", "2026-11-23T20:21:22.123456789Z", "2026-11-01T00:00:00Z"},
		{"day", "2026-11-23T20:21:22-08:00", "2026-11-24T00:00:00Z"},
		{"hour", "2026-11-23T20:21:22+05:30", "2026-11-23T14:00:00Z"},
		{"year", "0000-01-01T00:00:00+01:00", ""}, {"year", "9999-12-31T23:00:00-02:00", ""},
		{"day", "2026-11-23", ""}, {"day", "yesterday", ""}, {"day", "", ""}, {"", "2026-11-23T20:21:22Z", ""}, {"day", "2026-02-30T00:00:00Z", ""}, {"day", "2026-11-23T20:21:22." + strings.Repeat("0", 99) + "Z", ""},
	} {
		v := compile(t, Rule{Path: "/t", Do: Generalize, Unit: c.unit, Step: 1})
		want := `{"t":"` + c.want + `"}`
		if c.want == "" {
			want = "{}"
		}
		if got, err := v.Apply(nil, []byte(`{"t":"`+c.in+`"}`)); err != nil || string(got) != want {
			t.Errorf("%s of %s: %s %v, want %s", c.unit, c.in, got, err, want)
		}
	}
}

// TestStronger shows that which of two rules comes first does not matter, and that together they protect at least as much as each.
func TestStronger(t *testing.T) {
	one := rapid.Map(rapid.Custom(func(t *rapid.T) Rule {
		return Rule{Do: rapid.SampledFrom([]Transform{Whole, Mask, Hash, Generalize, Drop}).Draw(t, "do"), Keep: rapid.IntRange(0, 2).Draw(t, "keep"),
			Step: rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "step"), Unit: rapid.SampledFrom(units).Draw(t, "unit")}
	}), func(r Rule) rule {
		c, err := r.compile()
		if err != nil { // neither step nor unit
			return rule{do: drop}
		}
		return c
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := one.Draw(t, "a"), one.Draw(t, "b")
		x := stronger(a, b)
		if x != stronger(b, a) || x != stronger(x, a) || x != stronger(x, b) || x.do < a.do || x.do < b.do {
			t.Fatalf("%+v of %+v and %+v", x, a, b)
		}
	})
}

func TestConcurrent(t *testing.T) {
	v := compile(t, benchRules...)
	want, err := v.Apply(nil, []byte(benchPayload))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, err := v.Apply(nil, []byte(benchPayload)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %v", got, err)
				}
				if _, err := v.Apply(nil, []byte(benchPayload[:200])); !errors.Is(err, ErrUnreadable) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
