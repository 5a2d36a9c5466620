package keystore

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openTPMStore(t testing.TB, tpm *softTPM, dir string) *TPMStore {
	t.Helper()
	s, err := TPM(tpm.socket, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTPMRestarts(t *testing.T) {
	tpm, dir := startTPM(t), t.TempDir()
	chmodTest(t, dir)
	s := openTPMStore(t, tpm, dir)
	defer s.Close()
	key, err := s.Create(t.Context(), "a", P256)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, key, P256, crypto.SHA256)
	tpm.kill(t)
	if _, err := key.Sign(nil, sha("x"), crypto.SHA256); err == nil || !strings.Contains(err.Error(), tpm.socket) {
		t.Errorf("signing without a TPM: %v", err)
	}
	for range 3 {
		tpm.start(t)
		sign(t, key, P256, crypto.SHA256)
		if _, err := s.Create(t.Context(), "b", P384); err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		tpm.kill(t)
	}
	tpm.start(t)
}

func TestTPMMakesRoomAfterAKill(t *testing.T) {
	tpm, dir := startTPM(t), t.TempDir()
	chmodTest(t, dir)
	var first Key
	for range 5 { // a killed program frees nothing
		s := openTPMStore(t, tpm, dir)
		defer s.Close()
		key, err := s.Open(t.Context(), "a")
		if errors.Is(err, ErrNotFound) {
			key, err = s.Create(t.Context(), "a", P256)
			first = key
		}
		if err != nil {
			t.Fatal(err)
		}
		sign(t, key, P256, crypto.SHA256)
	}
	sign(t, first, P256, crypto.SHA256)
}

func TestAnotherTPM(t *testing.T) {
	dir := t.TempDir()
	chmodTest(t, dir)
	s := openTPMStore(t, startTPM(t), dir)
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Create(t.Context(), "b", P256); err == nil {
		t.Error("a closed store made a key")
	}
	s = openTPMStore(t, startTPM(t), dir)
	defer s.Close()
	if _, err := s.Open(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "another TPM") {
		t.Errorf("error = %v", err)
	}
	if _, err := s.Create(t.Context(), "a", P256); !errors.Is(err, ErrExists) {
		t.Errorf("error = %v", err)
	}
}

func TestTPMKeyFiles(t *testing.T) {
	tpm, dir := startTPM(t), t.TempDir()
	chmodTest(t, dir)
	s := openTPMStore(t, tpm, dir)
	defer s.Close()
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpmBlob){
		"version":          func(b *tpmBlob) { b.Version = 2 },
		"name":             func(b *tpmBlob) { b.Name = "b" },
		"algorithm":        func(b *tpmBlob) { b.Alg = P384 },
		"no algorithm":     func(b *tpmBlob) { b.Alg = Ed25519 },
		"attributes":       func(b *tpmBlob) { b.Public[7] ^= 2 }, // fixedTPM
		"point":            func(b *tpmBlob) { b.Public[len(b.Public)-1] ^= 1 },
		"cut public":       func(b *tpmBlob) { b.Public = b.Public[:20] },
		"no public":        func(b *tpmBlob) { b.Public = nil },
		"something behind": func(b *tpmBlob) { b.Public = append(b.Public, 0) },
		"private":          func(b *tpmBlob) { b.Private[len(b.Private)-1] ^= 1 },
		"no private":       func(b *tpmBlob) { b.Private = nil },
		"root":             func(b *tpmBlob) { b.Root = nil },
	} {
		var b tpmBlob
		if err := json.Unmarshal(good, &b); err != nil {
			t.Fatal(err)
		}
		change(&b)
		bad, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, bad, 0o600)
		if key, err := s.Open(t.Context(), "a"); !errors.Is(err, ErrDamaged) || key != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, path, bytes.TrimSpace(good), 0o600)
	if _, err := s.Open(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestTPMThatIsNone(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "f")
	put(t, plain, nil, 0o600)
	for device, want := range map[string]string{
		"/nonexistent/tpmrm0": "no such file",
		plain:                 "neither a device nor a socket",
		"/dev/zero":           "preparing the TPM /dev/zero",
	} {
		s, err := Open("tpm:"+device+"?keys="+filepath.Join(t.TempDir(), "keys"), nil)
		if err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", device, err, want)
		}
	}
}

// chmodTest makes a test's folder as private as a store wants it.
func chmodTest(t *testing.T, dir string) {
	t.Helper()
	chmod(t, dir, 0o700)
}
