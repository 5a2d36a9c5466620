package privacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fuzzRules are the views that payloads are rewritten with, beside one for a path of the fuzzer's own.
var fuzzRules = [][]Rule{
	nil,
	{{Path: "/a", Do: Drop}, {Path: "/b/*", Do: Mask}, {Path: "/*/c", Do: Hash}},
	{{Path: "/*", Do: Mask, Keep: 1}, {Path: "/0", Do: Drop}, {Path: "/*/*", Do: Drop}},
	{{Path: "/*/*", Do: Generalize, Step: 0.25, Unit: "day"}, {Path: "/a", Do: Hash}},
	{{Path: "", Do: Hash}},
	{{Path: "/*/*/*", Do: Drop}, {Path: "/a/0", Do: Generalize, Step: 10}},
}

func FuzzApply(f *testing.F) {
	for i, s := range []string{
		benchPayload, `{"a":{"c":1},"b":["secret",1,null],"x":{"c":"secret"}}`, `[[1,2.5,"2026-11-23T20:21:22Z"],{"a":[0.13,-7]}]`, `{"loc\u0061tion":"x","\ud83d\ude00":"\\\n"}`,
		` [ 1e5 , -0.0 , true ] `, `{"a":1,"a":2}`, `"\ud800"`, `[[[[1]]]]`, `{"a":{"b":{"c":[1,{"d":"e"}]}}}`, `{"a":[12,99,"x"],"b":{"a":{"c":1.50,"b":[]}}}`,
	} {
		f.Add([]byte(s), uint8(i), "/a/*", uint8(i))
	}
	dos := []Transform{Whole, Mask, Hash, Generalize, Drop}
	f.Fuzz(func(t *testing.T, in []byte, set uint8, path string, do uint8) {
		rules := slices.Clone(fuzzRules[int(set)%len(fuzzRules)])
		own := Rule{Path: path, Do: dos[int(do)%len(dos)], Keep: int(do) / len(dos) % (MaxKeep + 1), Step: 0.01, Unit: "month"}
		if _, err := Compile([]Rule{own}, testKey(t)); err == nil {
			rules = append(rules, own)
		}
		before := bytes.Clone(in)
		out, err := compile(t, rules...).Apply([]byte("x"), in)
		if !bytes.Equal(in, before) {
			t.Fatal("the payload was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrUnreadable) || string(out) != "x" {
				t.Fatalf("%q %v", out, err)
			}
			if readable(in) && !strings.Contains(err.Error(), "to be hashed") {
				t.Fatalf("%q is refused: %v", in, err)
			}
			return
		}
		out = out[1:]
		var plain bytes.Buffer
		if marks, _ := compile(t, rules...).Marks(in, 8); len(marks) == 0 && (json.Compact(&plain, in) != nil || !bytes.Equal(plain.Bytes(), out)) {
			t.Fatalf("%q became %q and nothing is marked", in, out)
		}
		if !json.Valid(out) || !json.Valid(in) || !utf8.Valid(out) {
			t.Fatalf("%q became %q", in, out)
		}
		if len(out) > 16*len(in)+64 {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
		c := comparison{rules: rules, hashes: map[string]string{}, values: map[string]string{}}
		x, y := decode(t, in), decode(t, out)
		if err := c.compare(x, y, true, nil); err != nil {
			t.Fatalf("%q became %q with %+v: %v", in, out, rules, err)
		}
		if again, err := compile(t, rules...).Apply(nil, in); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q, then %q %v", out, again, err)
		}
		if whole, err := compile(t).Apply(nil, out); err != nil || !bytes.Equal(whole, out) {
			t.Fatalf("the result %q reads as %q %v", out, whole, err)
		}
	})
}

func decode(t *testing.T, b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return v
}

var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// readable reports, by encoding/json, whether a payload should be accepted. It gives no answer, false, to what holds surrogates.
func readable(b []byte) bool {
	if !json.Valid(b) || !utf8.Valid(b) || surrogate.Match(b) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil in an array
		value bool            // a value is next, not a name
	}
	var open []level
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		switch tok {
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			continue
		}
		if n := len(open); n > 0 && open[n-1].names != nil {
			if !open[n-1].value {
				if open[n-1].names[tok.(string)] {
					return false
				}
				open[n-1].names[tok.(string)] = true
				open[n-1].value = true
				continue
			}
			open[n-1].value = false
		}
		switch tok {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > MaxDepth {
			return false
		}
	}
}

// comparison checks what became of a payload, place by place, with what encoding/json reads.
type comparison struct {
	rules          []Rule
	hashes, values map[string]string // each other's inverse
}

// at returns the rules of a place.
func (c *comparison) at(place []string) []Rule {
	var found []Rule
	for _, r := range c.rules {
		tokens := strings.Split(r.Path, "/")[1:]
		if r.Path == "" {
			tokens = nil
		}
		if r.Do != Whole && slices.EqualFunc(tokens, place, func(t, p string) bool {
			return t == "*" || strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~") == p
		}) {
			found = append(found, r)
		}
	}
	return found
}

// gone reports whether nothing of a value may be left.
func gone(v any, rules []Rule) bool {
	generalizes := 0
	for _, r := range rules {
		if r.Do == Drop {
			return true
		}
		if r.Do == Generalize {
			generalizes++
		}
	}
	return len(rules) > 0 && generalizes == len(rules) && !general(v, rules)
}

// general reports whether a value is one that these rules generalize.
func general(v any, rules []Rule) bool {
	switch v := v.(type) {
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return false
		}
		for _, r := range rules {
			if r.Step == 0 || x/r.Step > 1<<53 || x/r.Step < -1<<53 {
				return false
			}
		}
		return true
	case string:
		u, err := time.Parse(time.RFC3339, v)
		return err == nil && len(v) <= maxTime && u.UTC().Year() >= 0 && u.UTC().Year() <= 9999 && !slices.ContainsFunc(rules, func(r Rule) bool { return r.Unit == "" })
	}
	return false
}

func (c *comparison) compare(x, y any, present bool, place []string) error {
	rules := c.at(place)
	if gone(x, rules) {
		if present && (len(place) > 0 || y != nil) {
			return fmt.Errorf("%q should be gone", place)
		}
		return nil
	}
	if !present {
		return fmt.Errorf("%q is gone", place)
	}
	if len(rules) > 0 {
		return c.marked(x, y, rules, place)
	}
	switch x := x.(type) {
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok {
			return fmt.Errorf("%q is no object", place)
		}
		for name := range y {
			if _, ok := x[name]; !ok {
				return fmt.Errorf("%q has %q", place, name)
			}
		}
		for name, v := range x {
			w, present := y[name]
			if err := c.compare(v, w, present, append(slices.Clone(place), name)); err != nil {
				return err
			}
		}
	case []any:
		y, ok := y.([]any)
		if !ok {
			return fmt.Errorf("%q is no array", place)
		}
		for i, v := range x {
			inside := append(slices.Clone(place), strconv.Itoa(i))
			if gone(v, c.at(inside)) {
				continue
			}
			if len(y) == 0 {
				return fmt.Errorf("%q is short", place)
			}
			if err := c.compare(v, y[0], true, inside); err != nil {
				return err
			}
			y = y[1:]
		}
		if len(y) > 0 {
			return fmt.Errorf("%q is long", place)
		}
	default:
		if !reflect.DeepEqual(x, y) {
			return fmt.Errorf("%q is %v, was %v", place, y, x)
		}
	}
	return nil
}

// marked checks a value that is neither whole nor gone.
func (c *comparison) marked(x, y any, rules []Rule, place []string) error {
	has := func(do Transform, all bool) (least int, found bool) {
		for _, r := range rules {
			if r.Do == do && (do != Mask || all == (r.Keep == 0)) && (!found || r.Keep < least) {
				least, found = r.Keep, true
			}
		}
		return least, found
	}
	number, isNumber := y.(json.Number)
	text, _ := y.(string)
	_, all := has(Mask, true)
	_, hashed := has(Hash, false)
	keep, some := has(Mask, false)
	switch {
	case hashed && !all:
		return c.hashed(x, text)
	case all || some:
		want := "***"
		if s, ok := x.(string); ok {
			runes := []rune(s)
			if all || len(runes) <= keep {
				keep = 0
			}
			want = strings.Repeat("*", len(runes)-keep) + string(runes[len(runes)-keep:])
		}
		if text != want {
			return fmt.Errorf("%q is %v, want %q", place, y, want)
		}
	case isNumber:
		return rounded(x, number, rules)
	default:
		was, _ := x.(string)
		from, err := time.Parse(time.RFC3339, was)
		to, err2 := time.Parse(time.RFC3339, text)
		if err != nil || err2 != nil || to.After(from) || from.Sub(to) > 31*24*time.Hour || to.Hour() != 0 {
			return fmt.Errorf("%q is %v, was %v", place, y, x)
		}
	}
	return nil
}

func (c *comparison) hashed(x any, y string) error {
	plain := canonicalText(x)
	if len(y) == 28 && y[:2] == "h:" && strings.Contains(plain, tooLarge) {
		return nil
	}
	if len(y) != 28 || y[:2] != "h:" || c.hashes[plain] != "" && c.hashes[plain] != y || c.values[y] != "" && c.values[y] != plain {
		return fmt.Errorf("%q hashes to %q", plain, y)
	}
	c.hashes[plain], c.values[y] = y, plain
	return nil
}

const tooLarge = "number with an exponent too large for big.Rat"

// canonicalText is a canonical form made in another way than the one of the package.
func canonicalText(x any) string {
	switch x := x.(type) {
	case json.Number:
		if i := strings.IndexAny(string(x), "eE"); i >= 0 && len(x)-i > 5 {
			return tooLarge
		}
		r, _ := new(big.Rat).SetString(string(x))
		return "number " + r.String()
	case []any:
		s := "["
		for _, v := range x {
			s += canonicalText(v) + ","
		}
		return s + "]"
	case map[string]any:
		var list []string
		for name, v := range x {
			list = append(list, strconv.Quote(name)+":"+canonicalText(v))
		}
		slices.Sort(list)
		return "{" + strings.Join(list, ",") + "}"
	case string:
		return strconv.Quote(x)
	}
	return fmt.Sprint(x)
}

// rounded checks that a number is a multiple of the greatest step and near what it was.
func rounded(x any, y json.Number, rules []Rule) error {
	was, ok := x.(json.Number)
	if !ok {
		return fmt.Errorf("%v became the number %s", x, y)
	}
	step := new(big.Rat)
	for _, r := range rules {
		if s, _ := new(big.Rat).SetString(strconv.FormatFloat(r.Step, 'f', -1, 64)); s.Cmp(step) > 0 {
			step = s
		}
	}
	got, ok := new(big.Rat).SetString(string(y))
	if !ok || !new(big.Rat).Quo(got, step).IsInt() {
		return fmt.Errorf("%s is no multiple of %s", y, step)
	}
	f, err := was.Float64()
	if err != nil {
		return err
	}
	from := new(big.Rat).SetFloat64(f)
	away := new(big.Rat).Sub(got, from)
	limit := new(big.Rat).Mul(step, big.NewRat(51, 100))
	size := new(big.Rat).Mul(new(big.Rat).Abs(from), big.NewRat(1, 1<<50))
	if away.Abs(away).Cmp(limit.Add(limit, size)) > 0 {
		return fmt.Errorf("%s became %s", was, y)
	}
	return nil
}

// FuzzCompile looks for rules that make a view that fails.
func FuzzCompile(f *testing.F) {
	f.Add("/a/*/b~1~0", "generalize", 3, 0.5, "day")
	f.Add("", "mask", 16, 0.0, "")
	f.Add("/", "hash", 0, -1.0, "x")
	f.Fuzz(func(t *testing.T, path, do string, keep int, step float64, unit string) {
		v, err := Compile([]Rule{{Path: path, Do: Transform(do), Keep: keep, Step: step, Unit: unit}}, testKey(t))
		if err != nil {
			return
		}
		if out, err := v.Apply(nil, []byte(benchPayload)); err != nil || !json.Valid(out) {
			t.Fatalf("%s %v", out, err)
		}
	})
}
