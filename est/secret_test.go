package est

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func TestSecretsDoNotPrint(t *testing.T) {
	type inner struct {
		hidden Credential
		Shown  Credential
		Key    PrivateKey
	}
	v := inner{BasicCredential("u", "hunter2"), BearerCredential("hunter2"), PrivateKey("hunter2")}
	var out bytes.Buffer
	for _, x := range []any{v, &v, v.Shown, &v.Shown, v.Key, Request{Credential: v.Shown}, Issued{PrivateKey: v.Key}, Client{Credential: v.Shown}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
	}
	for _, x := range []any{v, v.Shown, v.Key, map[string]any{"k": v.Key}} {
		out.Write(must(json.Marshal(x)))
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "x", x)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "x", x)
	}
	out.WriteString(v.Shown.String() + v.Shown.GoString() + v.Key.String() + v.Key.GoString())
	out.Write(must(v.Shown.MarshalText()))
	out.Write(must(v.Key.MarshalText()))
	for _, secret := range []string{"hunter2", "68756e7465723", "104 117 110", base64.StdEncoding.EncodeToString([]byte("hunter2")), "h u n", "U+0068", "'h'"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(secret)) {
			t.Errorf("the output holds %q", secret)
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing says [secret]")
	}
}

func TestParseCredential(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		headers            []string
		kind               Kind
		username, password string
		status             int
	}{
		{nil, KindNone, "", "", 0},
		{[]string{basic("dev:tok:en")}, KindBasic, "dev", "tok:en", 0},
		{[]string{basic(":tok")}, KindBasic, "", "tok", 0},
		{[]string{basic("ü:é")}, KindBasic, "ü", "é", 0},
		{[]string{"bEARER  abc.DEF-1_~+/=="}, KindBearer, "", "abc.DEF-1_~+/==", 0},
		{[]string{basic("a:b"), "Bearer abc"}, 0, "", "", 400},
		{[]string{basic("a:b"), basic("a:b")}, 0, "", "", 400},
		{[]string{basic("a:b") + ", Bearer abc"}, 0, "", "", 400},
		{[]string{""}, 0, "", "", 401},
		{[]string{"Digest username=x"}, 0, "", "", 401},
		{[]string{"Basic"}, 0, "", "", 400},
		{[]string{"Basic !!!"}, 0, "", "", 400},
		{[]string{basic("nocolon")}, 0, "", "", 400},
		{[]string{basic("a:b\n")}, 0, "", "", 400},
		{[]string{basic("a:\xff")}, 0, "", "", 400},
		{[]string{"Bearer"}, 0, "", "", 400},
		{[]string{"Bearer ="}, 0, "", "", 400},
		{[]string{"Bearer a b"}, 0, "", "", 400},
		{[]string{"Bearer a=b"}, 0, "", "", 400},
		{[]string{"Bearer " + strings.Repeat("a", MaxCredential)}, 0, "", "", 400},
	} {
		got, err := ParseCredential(http.Header{"Authorization": c.headers})
		if c.status != 0 {
			p, ok := errors.AsType[*Problem](err)
			if !ok || p.Status != c.status || p.Fix == "" {
				t.Errorf("%q: %v, want status %d", c.headers, err, c.status)
			}
			continue
		}
		if err != nil || got.Kind() != c.kind || got.Username() != c.username || got.Reveal() != c.password || got.IsZero() != (c.kind == KindNone) {
			t.Errorf("%q: %v %q, %v", c.headers, got.Kind(), got.Username(), err)
		}
	}
	if KindNone.String()+KindBasic.String()+KindBearer.String() != "nonebasicbearer" {
		t.Error("names of the kinds")
	}
}
