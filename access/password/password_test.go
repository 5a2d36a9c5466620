package password

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/refusal"
)

const typed = "tr0ub4dor-visible"

// TestSecretStaysSecret tries every way by which a password gets into a log.
func TestSecretStaysSecret(t *testing.T) {
	type public struct{ Password Secret }
	type private struct{ password Secret }
	s := New(typed)
	var out bytes.Buffer
	for _, v := range []any{s, &s, public{s}, &public{s}, private{s}, &private{s}, []Secret{s}, map[string]Secret{"k": s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "v", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		_ = gob.NewEncoder(&out).Encode(v)
	}
	for _, leak := range []string{typed, typed[:6], fmt.Sprintf("%x", typed)[:12], fmt.Sprintf("%X", typed)[:12], fmt.Sprint([]byte(typed))[1:20]} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in the output:\n%s", leak, out.String())
		}
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("a secret was marshalled")
	}
	if reflect.TypeFor[Secret]().Comparable() {
		t.Error("secrets can be compared with ==")
	}
}

func TestSecretLife(t *testing.T) {
	var req struct{ Password Secret }
	if err := json.Unmarshal([]byte(`{"Password":"pässword"}`), &req); err != nil {
		t.Fatal(err)
	}
	copied, held := req.Password, *req.Password.held()
	if string(held) != "pässword" {
		t.Fatalf("the secret holds %q", held)
	}
	req.Password.Wipe()
	if !copied.Empty() || !bytes.Equal(held, make([]byte, len(held))) {
		t.Error("Wipe left something")
	}
	copied.Wipe()
	Secret{}.Wipe()
	if !(Secret{}).Empty() || New("x").Empty() {
		t.Error("Empty is wrong")
	}
}

// TestNormal shows what OpaqueString does, and why it and not NFKC.
func TestNormal(t *testing.T) {
	for _, c := range []struct{ typed, want, code string }{
		{"correct horse", "correct horse", ""},
		{"Correct Horse", "Correct Horse", ""},               // case stays
		{" spaces around ", " spaces around ", ""},           // and so do spaces
		{"pa\u0308ssword", "p\u00e4ssword", ""},              // a and dots: ä
		{"\u1113\u1161", "", CodeCharacters},                 // old Hangul letters
		{"a\u00a0b\u3000c", "a b c", ""},                     // other spaces
		{"x\u00b2\ufb01\uff21", "x\u00b2\ufb01\uff21", ""},   // ², ﬁ and full-width A stay themselves
		{"парольная фраза", "парольная фраза", ""},           //
		{"\U0001f40e\U0001f50b", "\U0001f40e\U0001f50b", ""}, // simple emoji
		{"\u2764\ufe0f", "", CodeCharacters},                 // a heart, to be shown in colour
		{"a\u200db", "", CodeCharacters},                     // a joiner where nothing joins
		{"tab\there", "", CodeCharacters},
		{"nul\x00", "", CodeCharacters},
		{"\xff\xfe", "", CodeCharacters},
		{"\u0378", "", CodeCharacters}, // not assigned
		{"lossy \ufffd", "", CodeCharacters},
		{"", "", CodeTooShort},
		{strings.Repeat("a", maxBytes+1), "", CodeTooLong},
		{strings.Repeat("\u0958", maxBytes/3), "", CodeTooLong}, // grows when it is normalized
	} {
		got, err := New(c.typed).normal()
		if string(got) != c.want || (c.code == "") != (err == nil) || err != nil && !refusal.Is(err, c.code) {
			t.Errorf("%.20q is %.20q, %v; want %.20q, %q", c.typed, got, err, c.want, c.code)
		}
	}
}
