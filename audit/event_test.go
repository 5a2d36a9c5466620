package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawEvent(t *rapid.T) Event {
	text := func(name string, limit int) string {
		return Text(rapid.StringN(0, limit/4, limit).Draw(t, name), limit)
	}
	e := Event{
		ID:      rapid.StringMatching(`[!-~]{1,64}`).Draw(t, "id"),
		Time:    time.UnixMicro(rapid.Int64Range(0, 253402300799_000000).Draw(t, "time")).UTC(),
		Node:    text("node", MaxNode),
		Actor:   Actor{rapid.StringMatching(`[a-z_]{1,32}`).Draw(t, "kind"), "a" + text("actor", 200), rapid.SampledFrom([]string{"", "192.0.2.1", "2001:db8::1", "fe80::1%eth0"}).Draw(t, "source")},
		Action:  rapid.StringMatching(`[a-z_]{1,20}\.[a-z_]{1,20}`).Draw(t, "action"),
		Subject: Subject{rapid.StringMatching(`[a-z_]{0,32}`).Draw(t, "subject kind"), text("subject", 200)},
		Outcome: rapid.SampledFrom([]Outcome{Success, Refused, Failed}).Draw(t, "outcome"),
		Reason:  text("reason", MaxReason), Request: text("request", MaxRequest),
	}
	details := rapid.MapOfN(rapid.StringMatching(`[A-Za-z0-9_.-]{1,32}`), rapid.StringN(0, 40, 160), 0, 20).Draw(t, "details")
	for k, v := range details {
		if e.Details == nil {
			e.Details = map[string]string{}
		}
		e.Details[k] = Text(v, 200)
	}
	return e
}

func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		b, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if !got.Time.Equal(e.Time) || !maps.Equal(got.Details, e.Details) {
			t.Fatalf("got %+v\nwant %+v", got, e)
		}
		got.Time, got.Details, e.Time, e.Details = time.Time{}, nil, time.Time{}, nil
		if got.ID != e.ID || got.Actor != e.Actor || got.Subject != e.Subject || got.Reason != e.Reason || got.Node != e.Node || got.Action != e.Action || got.Outcome != e.Outcome || got.Request != e.Request {
			t.Fatalf("got %+v\nwant %+v", got, e)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil || !bytes.Equal(compact.Bytes(), b) {
			t.Fatalf("it is not compact JSON: %v", err)
		}
	})
}

func TestEncodeGolden(t *testing.T) {
	e := testEvent(1)
	e.Time = time.Date(2026, 3, 4, 7, 6, 7, 8009, time.FixedZone("", 2*3600))
	const want = `{"id":"01J0000001","time":"2026-03-04T05:06:07.000008Z","node":"node-1","actor":{"kind":"token","id":"boot-7","source":"2001:db8::1"},` +
		`"action":"device.enroll","subject":{"kind":"device","id":"d1"},"outcome":"refused","reason":"the token \"x\\y\" is used up","request":"r-1",` +
		`"details":{"profile":"device","serial":"00000000000000000000000000000001","type":"meter"}}`
	if b, err := Encode(e); err != nil || string(b) != want {
		t.Fatalf("%v\n%s\n%s", err, b, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Event){
		"no id":            func(e *Event) { e.ID = "" },
		"id with space":    func(e *Event) { e.ID = "a b" },
		"early":            func(e *Event) { e.Time = time.Time{} },
		"late":             func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no actor":         func(e *Event) { e.Actor.ID = "" },
		"actor kind":       func(e *Event) { e.Actor.Kind = "User" },
		"no actor kind":    func(e *Event) { e.Actor.Kind = "" },
		"source":           func(e *Event) { e.Actor.Source = "host:80" },
		"action":           func(e *Event) { e.Action = "enroll" },
		"action dot":       func(e *Event) { e.Action = "device." },
		"action dots":      func(e *Event) { e.Action = "device..enroll" },
		"action long":      func(e *Event) { e.Action = "device." + strings.Repeat("x", 58) },
		"outcome":          func(e *Event) { e.Outcome = "ok" },
		"newline":          func(e *Event) { e.Reason = "a\nb" },
		"C1 control":       func(e *Event) { e.Reason = "a\u0085b" },
		"delete":           func(e *Event) { e.Node = "a\x7fb" },
		"line separator":   func(e *Event) { e.Request = "\u2028" },
		"direction":        func(e *Event) { e.Subject.ID = "\u202e" },
		"not UTF-8":        func(e *Event) { e.Details = map[string]string{"a": "\xff"} },
		"detail key":       func(e *Event) { e.Details = map[string]string{"a b": ""} },
		"empty detail key": func(e *Event) { e.Details = map[string]string{"": ""} },
		"long detail":      func(e *Event) { e.Details = map[string]string{"a": strings.Repeat("x", 4097)} },
		"long in all":      func(e *Event) { e.Details = fill(5, 4000) },
		"many details":     func(e *Event) { e.Details = fill(65, 1) },
		"long after escape": func(e *Event) {
			e.Details = fill(3, 4096)
			e.Reason = strings.Repeat(`"`, 1024)
			e.Node = ""
			e.Details["q"] = strings.Repeat(`\`, 3000)
		},
	} {
		e := testEvent(0)
		spoil(&e)
		if b, err := Encode(e); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: %v: %s", name, err, b)
		}
	}
}

func fill(n, length int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[strings.Repeat("k", i/26+1)+string(rune('a'+i%26))] = strings.Repeat("x", length)
	}
	return m
}

func TestDecodeIsStrict(t *testing.T) {
	good := string(testLeaf(t, 1))
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string][2]string{
		"space":           {`"node":`, `"node": `},
		"unknown field":   {`,"node":`, `,"extra":"","node":`},
		"repeated field":  {`,"node":`, `,"node":"","node":`},
		"missing field":   {`,"node":"node-1"`, ``},
		"escaped letter":  {`"node-1"`, `"\u006eode-1"`},
		"escaped slash":   {`"node-1"`, `"node\/1"`},
		"repeated detail": {`"profile":`, `"profile":"","profile":`},
		"unsorted detail": {`"profile":`, `"zzz":"","profile":`},
		"time digits":     {`.234567Z`, `.234Z`},
		"time comma":      {`.234567Z`, `,234567Z`},
		"time zone":       {`.234567Z`, `.234567+00:00`},
		"time impossible": {`2026-03-04`, `2026-02-30`},
		"lower z":         {`.234567Z`, `.234567z`},
		"trailing":        {`}}`, `}} `},
		"cut":             {`}}`, `}`},
		"control":         {`node-1`, "node\t1"},
		"null details":    {`"details":{`, `"details":null,{`},
		"number":          {`"meter"`, `7`},
		"detail comma":    {`"meter"`, `"meter",`},
	} {
		bad := strings.Replace(good, r[0], r[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := Decode([]byte(bad)); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good {
		if _, err := Decode([]byte(good[:i])); err == nil {
			t.Fatalf("cut at %d is accepted", i)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"}, {"a\nb\x00", 10, "a\ufffdb\ufffd"[:5] + "\ufffd"}, {"äöü", 3, "ä"}, {"\xff", 10, "\ufffd"}, {"abc", 0, ""},
		{strings.Repeat("\n", 100), 10, "\ufffd\ufffd\ufffd"},
	} {
		if got := Text(c.in, c.limit); got != c.want || len(got) > c.limit {
			t.Errorf("Text(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}
