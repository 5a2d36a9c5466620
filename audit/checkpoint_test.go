package audit

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// TestSignAgainstOracle opens our checkpoint with the reference implementation of signed notes, and a note signed by
// the reference with ours.
func TestSignAgainstOracle(t *testing.T) {
	l := filledLog(t, 7)
	signed := l.sign(t, 7)
	v, err := note.NewVerifier(l.public.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := note.Sign(&note.Note{Text: n.Text + "an extension\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePublicKey(vkey)
	if err != nil || key.String() != vkey {
		t.Fatalf("%v: %s", err, key)
	}
	c, err := Open(theirs, key)
	if err != nil || c.Size != 7 || c.Root != l.root || len(c.Extension) != 1 || c.Extension[0] != "an extension" {
		t.Fatalf("%+v: %v", c, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	l := filledLog(t, 7)
	good := string(l.sign(t, 7))
	other, _ := NewPublicKey("other.example", l.key.Public().(ed25519.PublicKey))
	wrong, _ := NewPublicKey(testOrigin, seedKey(2).Public().(ed25519.PublicKey))
	witness, _ := NewWitnessKey(testOrigin, l.key.Public().(ed25519.PublicKey))
	line := lines(good)[4]
	for name, c := range map[string]struct {
		signed string
		key    PublicKey
		want   error
	}{
		"another origin":  {good, other, ErrOrigin},
		"another key":     {good, wrong, ErrSignature},
		"witness key":     {good, witness, ErrSignature},
		"no key":          {good, PublicKey{}, ErrOrigin},
		"changed size":    {strings.Replace(good, "\n7\n", "\n8\n", 1), l.public, ErrSignature},
		"leading zero":    {strings.Replace(good, "\n7\n", "\n07\n", 1), l.public, ErrNote},
		"negative":        {strings.Replace(good, "\n7\n", "\n-7\n", 1), l.public, ErrNote},
		"too large":       {strings.Replace(good, "\n7\n", "\n9007199254740993\n", 1), l.public, ErrNote},
		"no root":         {strings.Replace(good, "\n7\n", "\n7\n\n", 1), l.public, ErrNote},
		"no signature":    {strings.Split(good, "\n\n")[0] + "\n\n", l.public, ErrNote},
		"no newline":      {strings.TrimSuffix(good, "\n"), l.public, ErrNote},
		"carriage return": {strings.ReplaceAll(good, "\n", "\r\n"), l.public, ErrNote},
		"too long":        {strings.Repeat("x", MaxNote) + good, l.public, ErrNote},
		"17 signatures":   {good + strings.Repeat(line+"\n", 16), l.public, ErrNote},
		"not UTF-8":       {good + "\xff\n", l.public, ErrNote},
		"bad line":        {good + "- x y\n", l.public, ErrNote},
		"empty":           {"", l.public, ErrNote},
	} {
		if _, err := Open([]byte(c.signed), c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Open([]byte(good+line+"\n"), l.public); err != nil {
		t.Errorf("a signature twice: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Origin: testOrigin}
	if _, err := Sign(c, ec); err == nil {
		t.Error("an ECDSA key signs")
	}
	if _, err := Sign(c, nil); err == nil {
		t.Error("nobody signs")
	}
	if _, err := Sign(c, ed25519.PrivateKey(append(seedKey(1)[:32:32], seedKey(2)[32:]...))); err == nil {
		t.Error("a signer with another public key is not noticed")
	}
	for _, bad := range []Checkpoint{{Origin: "a b"}, {Origin: ""}, {Origin: "a+b"}, {Origin: "a", Size: -1}, {Origin: "a", Size: MaxSize + 1}, {Origin: "a", Extension: []string{""}}, {Origin: "a", Extension: []string{"x\ny"}}, {Origin: "a", Extension: []string{"x\n\n— y"}}, {Origin: "a", Extension: []string{"x\x00"}}} {
		if signed, err := Sign(bad, seedKey(1)); err == nil {
			t.Errorf("%q is signed", signed)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	good := newLog(t).public.String()
	for _, bad := range []string{"", "a", "a+b", "a+b+c", strings.Replace(good, "log.", "lag.", 1), good + "=", strings.ToUpper(good), "x" + good, strings.Repeat("x", 600),
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX", "a b+00000000+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := ParsePublicKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"); err != nil {
		t.Error(err)
	}
}
