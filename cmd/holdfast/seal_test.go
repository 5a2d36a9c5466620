package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func rootKey(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSealWithPassphrase(t *testing.T) {
	dir := t.TempDir()
	file, out := filepath.Join(dir, "pass"), filepath.Join(dir, "root-key.age")
	if err := os.WriteFile(file, []byte("correct horse battery\nignored"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newApp(strings.NewReader(""), os.Stdout, os.Stderr, nil)
	p, err := a.choosePassphrase(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p, p); strings.Contains(s, "horse") {
		t.Errorf("the passphrase prints as %s", s)
	}
	to, err := sealWithPassphrase(p)
	if err != nil {
		t.Fatal(err)
	}
	key := rootKey(t)
	if err := to.seal(out, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left %v", entries)
	}
	signer, err := a.openRootKey(rotation{rootKey: out, passphraseFile: file})
	if err != nil || signer.Public() == nil {
		t.Fatalf("opening: %v", err)
	}
	if err := to.seal(out, key); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting gave %v", err)
	}
	if err := os.WriteFile(file, []byte("correct horse batterz"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.openRootKey(rotation{rootKey: out, passphraseFile: file}); err == nil || !strings.Contains(err.Error(), "wrong passphrase") {
		t.Errorf("a wrong passphrase gave %v", err)
	}
}

func TestSealForRecipients(t *testing.T) {
	dir := t.TempDir()
	out, idFile := filepath.Join(dir, "root-key.age"), filepath.Join(dir, "id")
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealForRecipients([]string{x.Recipient().String(), pq.Recipient().String()}); err == nil {
		t.Log("mixed recipients are accepted by age")
	}
	for i, id := range []interface{ String() string }{x, pq} {
		recipient := x.Recipient().String()
		if i == 1 {
			recipient = pq.Recipient().String()
		}
		to, err := sealForRecipients([]string{recipient})
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprint(out, i)
		if err := to.seal(path, rootKey(t)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(idFile, []byte("# comment\n"+id.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := newApp(strings.NewReader(""), os.Stdout, os.Stderr, nil)
		if _, err := a.openRootKey(rotation{rootKey: path, identity: idFile}); err != nil {
			t.Error(err)
		}
		sealed, _ := os.ReadFile(path)
		if bytes.Contains(sealed, rootKey(t)) || bytes.Contains(sealed, []byte("PRIVATE KEY")) {
			t.Error("the file holds the key in the clear")
		}
	}
	if _, err := sealForRecipients([]string{"age1nonsense"}); err == nil {
		t.Error("a bad recipient was accepted")
	}
}

func TestOpensPlainAgeFiles(t *testing.T) {
	dir := t.TempDir()
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, x.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rootKey(t)})); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "k.age")
	if err := os.WriteFile(path, sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if plain, err := openSealed(path, x); err != nil || !bytes.Contains(plain, []byte("PRIVATE KEY")) {
		t.Errorf("opening a binary age file: %v", err)
	}
}

func TestPassphraseRules(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pass")
	a := newApp(strings.NewReader(""), os.Stdout, os.Stderr, nil)
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("short\n", 0o600)
	if _, err := a.choosePassphrase(file); err == nil || !strings.Contains(err.Error(), "fewer than 12") {
		t.Errorf("a short one gave %v", err)
	}
	write("correct horse battery\n", 0o644)
	if _, err := a.choosePassphrase(file); err == nil || !strings.Contains(err.Error(), "other users can read") {
		t.Errorf("a readable file gave %v", err)
	}
	if _, err := a.choosePassphrase(""); err == nil || !strings.Contains(err.Error(), "no terminal") {
		t.Errorf("no terminal gave %v", err)
	}
	out := filepath.Join(dir, "root-key.age")
	if err := os.WriteFile(out, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	runIn(t, "", nil, "ca", "init", "--data", filepath.Join(dir, "data"), "--out", out, "--passphrase-file", file).check(t, 1, "exists already", "never overwritten")
}
