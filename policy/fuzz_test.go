package policy

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// FuzzJSON compares the scanner with encoding/json: what it takes is JSON, and what
// it refuses is not, or has one of the few things in which it is stricter.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, `true`, `"x"`, `-0.5e+3`, ` {"a" : [1, {"b": null}], "c": "\u00e9\n"} `, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`1e999`, `01`, `1.`, `-`, `.5`, `1e`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\x"`, `"a`, `"\u12"`, "\"\t\"", "\xff", `{"a":1,}`, `[1,]`, `[1 2]`, `{"a" 1}`, `{a:1}`, `nul`, `truefalse`, ``, ` `,
		strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65), `{"lpm":5,"pos":{"lat":1.5},"list":[1,2],"mode":"auto","n":3,"on":true}`,
		`{` + strings.Repeat(`"a":{},`, 3) + `"b":1}`,
	} {
		f.Add([]byte(s))
	}
	rule := described(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		code, detail := plainJSON.check(data)
		valid := json.Valid(data)
		if code == "" && !valid {
			t.Fatalf("%q was taken and is not JSON", data)
		}
		if code != "" && valid && !stricter(data) {
			t.Fatalf("%q was refused and is JSON: %s", data, detail)
		}
		if code == "" && stricter(data) {
			t.Fatalf("%q was taken", data)
		}
		code, detail = rule.check(data)
		if !utf8.ValidString(detail) || len(detail) > 600 {
			t.Fatalf("%q is refused with %q", data, detail)
		}
		if code == "" != fits(data) {
			t.Fatalf("%q: %s %s, by encoding/json: %v", data, code, detail, fits(data))
		}
	})
}

// described is the rule that fits judges by other means.
func described(t testing.TB) *payloadRule {
	lo, hi := 0.0, 50.0
	c := &compiler{set: &Set{}}
	r := c.compilePayload(&manifest.Payload{Format: manifest.JSON, Closed: true, Fields: []manifest.Field{
		{Path: "/lpm", Type: manifest.Number, Required: true, Min: &lo, Max: &hi},
		{Path: "/pos/lat", Type: manifest.Number}, {Path: "/list", Type: manifest.Array, Max: &hi}, {Path: "/n", Type: manifest.Integer},
		{Path: "/mode", Type: manifest.String, OneOf: []string{"auto", "hand"}}, {Path: "/on", Type: manifest.Boolean}, {Path: "/free", Type: manifest.Object},
	}})
	if len(c.problems) > 0 {
		t.Fatal(c.problems)
	}
	return r
}

func fits(data []byte) bool {
	var v map[string]any
	if !json.Valid(data) || stricter(data) || json.Unmarshal(data, &v) != nil || v == nil {
		return false
	}
	for name, x := range v {
		switch name {
		case "lpm":
			if n, ok := x.(float64); !ok || n < 0 || n > 50 {
				return false
			}
		case "n":
			if n, ok := x.(float64); !ok || n != math.Trunc(n) || math.Abs(n) > maxExact {
				return false
			}
		case "list":
			if l, ok := x.([]any); !ok || len(l) > 50 {
				return false
			}
		case "mode":
			if x != "auto" && x != "hand" {
				return false
			}
		case "on":
			if _, ok := x.(bool); !ok {
				return false
			}
		case "free":
			if _, ok := x.(map[string]any); !ok {
				return false
			}
		case "pos":
			m, ok := x.(map[string]any)
			if !ok {
				return false
			}
			for k, y := range m {
				if _, ok := y.(float64); k != "lat" || !ok {
					return false
				}
			}
		default:
			return false
		}
	}
	_, there := v["lpm"]
	return there
}

// stricter finds in valid JSON what the scanner refuses beyond the standard.
func stricter(data []byte) bool {
	if !utf8.Valid(data) {
		return true
	}
	var v any
	if json.Unmarshal(data, &v) != nil { // numbers out of range
		return true
	}
	if halves(data) {
		return true
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var open []map[string]bool // nil for arrays
	isName := false
	for {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		switch x := tok.(type) {
		case json.Delim:
			switch x {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return true
			}
			isName = len(open) > 0 && open[len(open)-1] != nil
			continue
		case string:
			if isName {
				if open[len(open)-1][x] {
					return true
				}
				open[len(open)-1][x] = true
				isName = false
				continue
			}
		}
		isName = len(open) > 0 && open[len(open)-1] != nil
	}
}

// halves finds \u escapes of surrogates that are no pair; data is valid JSON.
func halves(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if data[i+1] != 'u' {
			i++
			continue
		}
		digit := func(at int) string {
			if at+6 > len(data) || data[at] != '\\' || data[at+1] != 'u' {
				return ""
			}
			return strings.ToLower(string(data[at+2 : at+6]))
		}
		switch d := digit(i); {
		case d >= "dc00" && d <= "dfff":
			return true
		case d >= "d800" && d < "dc00":
			if low := digit(i + 6); low < "dc00" || low > "dfff" {
				return true
			}
			i += 6
		}
		i += 5
	}
	return false
}

// FuzzContain compares containment with brute force where the patterns are made of
// the letters of its alphabet, and elsewhere looks for panics and false witnesses.
func FuzzContain(f *testing.F) {
	f.Add("a/#", "a\na/+\na/+/#")
	f.Add("+/b", "#")
	f.Add("#", "+\n+/#")
	f.Add("/#", "/+\n/\n/+/+/#")
	f.Add("$x/+", "+/+\n$x/#")
	f.Fuzz(func(t *testing.T, filter, text string) {
		if mqtt.ValidFilter(filter) != nil || len(text) > 1000 {
			return
		}
		var patterns []string
		small := depth(filter) <= bruteDepth-1
		for _, p := range strings.Split(text, "\n") {
			if mqtt.ValidFilter(p) == nil {
				patterns = append(patterns, p)
				small = small && depth(p) <= bruteDepth-1
			}
		}
		for _, level := range strings.Split(strings.Join(append(patterns, filter), "/"), "/") {
			small = small && (level == "a" || level == "b" || level == "" || level == "$x" || level == "+" || level == "#")
		}
		if small {
			checkContain(t, patterns, filter)
			return
		}
		if first, _, witness := contain(onlyAt(patterns), filter); first == nil && (!mqtt.Match(filter, witness) || matchesAny(patterns, witness)) {
			t.Fatalf("%q within %q: %q shows nothing", filter, patterns, witness)
		}
		for _, p := range patterns {
			topic, meets := intersect(filter, p)
			if meets != overlap(filter, p) || meets && (!mqtt.Match(filter, topic) || !mqtt.Match(p, topic)) {
				t.Fatalf("%q and %q: %q is not in both", filter, p, topic)
			}
		}
	})
}

func depth(filter string) int { return strings.Count(filter, "/") + 1 }

// FuzzPublish looks for panics and for a fast way that differs from the slow one.
func FuzzPublish(f *testing.F) {
	set := compile(f, plant, Config{PayloadMax: 200})
	f.Add("water/north/doser-1/cmd/dose", []byte(`{"ml_per_min":1}`), byte(1), false)
	f.Add("water/north/pump-1/flow", []byte(`{"lpm":1}`), byte(0), true)
	f.Add("site/s1/up", []byte(`{"bad":1}`), byte(2), false)
	f.Fuzz(func(t *testing.T, topic string, payload []byte, qos byte, retain bool) {
		m := Message{Topic: topic, Payload: payload, QoS: qos % 3, Retain: retain}
		for _, who := range []Principal{pump, doser, scada, tool} {
			for _, v := range []*Verdict{set.For(who).Publish(topic), set.For(who).Receive(topic)} {
				d := v.Check(m, noon, nil, inventory(pump, doser))
				if v.Fast(m.QoS, retain, len(payload)) && !d.Allowed || d.Allowed && !v.Allowed || !d.Allowed && d.Detail == "" {
					t.Fatalf("%s: verdict %+v, decision %+v", who.ID, v, d)
				}
			}
		}
	})
}
