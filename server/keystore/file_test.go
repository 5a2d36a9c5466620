package keystore

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fileStore(t testing.TB) (*FileStore, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	s, err := File(dir, testKEK(t))
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestFilesArePrivate(t *testing.T) {
	s, dir := fileStore(t)
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, filepath.Join(dir, "a.key"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode of %s = %v, %v", path, info.Mode(), err)
		}
	}
	chmod(t, filepath.Join(dir, "a.key"), 0o604)
	_, err := s.Open(t.Context(), "a")
	if !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 0600 "+dir) {
		t.Errorf("a file that others can read: %v", err)
	}
	chmod(t, dir, 0o750)
	_, err = File(dir, testKEK(t))
	if !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 0700 "+dir) {
		t.Errorf("a folder that others can read: %v", err)
	}
}

func TestWrongKEK(t *testing.T) {
	s, dir := fileStore(t)
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	other, err := ParseKEK([]byte(strings.Repeat("ab", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s, err = File(dir, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Open(t.Context(), "a"); !errors.Is(err, ErrWrongKEK) || !strings.Contains(err.Error(), "HOLDFAST_KEY") {
		t.Errorf("error = %v", err)
	}
	if _, err := File(dir, nil); err == nil {
		t.Error("opened without a key-encryption key")
	}
}

// TestDamageIsFound changes every byte of a key file, one at a time.
func TestDamageIsFound(t *testing.T) {
	s, dir := fileStore(t)
	made, err := s.Create(t.Context(), "a", Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		// A change that JSON does not see (space) or that the seal does not
		// cover (the name that is there for people) may pass, with the same key.
		if alg, signer, err := unsealFile(s.kek, "a", bad); err == nil && (alg != Ed25519 || !signer.Public().(equaler).Equal(made.Public())) {
			t.Errorf("byte %d: another key came out", i)
		} else if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrWrongKEK) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n := range good {
		if _, _, err := unsealFile(s.kek, "a", good[:n]); err == nil && n < len(good)-1 {
			t.Errorf("the first %d bytes are taken for a key", n)
		}
	}
	var f sealedFile
	if err := json.Unmarshal(good, &f); err != nil {
		t.Fatal(err)
	}
	f.Sealed[len(f.Sealed)-1] ^= 1
	bad, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, bad, 0o600)
	if _, err := s.Open(t.Context(), "a"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("error = %v", err)
	}
	put(t, path, make([]byte, maxFile+1), 0o600)
	if _, err := s.Open(t.Context(), "a"); err == nil {
		t.Error("read a huge file")
	}
}

func TestAKeyDoesNotPassUnderAnotherName(t *testing.T) {
	s, dir := fileStore(t)
	if _, err := s.Create(t.Context(), "test", P256); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "test.key"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "issuing.key"), bytes.Replace(data, []byte(`"test"`), []byte(`"issuing"`), 1), 0o600)
	if _, err := s.Open(t.Context(), "issuing"); !errors.Is(err, ErrDamaged) {
		t.Errorf("error = %v", err)
	}
}

func TestCrashLeftovers(t *testing.T) {
	s, dir := fileStore(t)
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(dir, ".durable-b.key-1.tmp"), filepath.Join(dir, ".durable-b.key-2.tmp")
	for _, path := range []string{old, young} {
		put(t, path, []byte("half a k"), 0o600)
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a leftover is taken for a key: %v", err)
	}
	s, err := File(dir, testKEK(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old leftover is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("what may still be written was removed: %v", err)
	}
	if _, err := s.Create(t.Context(), "b", P256); err != nil {
		t.Errorf("a leftover is in the way: %v", err)
	}
	if _, err := s.Open(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// TestFileVector pins the format: a file that a release wrote opens in all
// later ones.
func TestFileVector(t *testing.T) {
	for _, c := range []struct {
		name string
		alg  Alg
	}{{"vector-p256", P256}, {"vector-p384", P384}, {"vector-ed25519", Ed25519}} {
		data, err := os.ReadFile(filepath.Join("testdata", c.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		alg, signer, err := unsealFile(testKEK(t), c.name, data)
		if err != nil || alg != c.alg {
			t.Errorf("%s: %v, %v", c.name, alg, err)
			continue
		}
		signAll(t, &fileKey{signer: signer, alg: alg}, alg)
	}
}

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]spec{
		"file:/var/lib/holdfast/keys":     {kind: "file", path: "/var/lib/holdfast/keys"},
		"file:keys":                       {kind: "file", path: "keys"},
		"tpm:/dev/tpmrm0?keys=/var/keys":  {kind: "tpm", path: "/dev/tpmrm0", keys: "/var/keys"},
		"tpm:/run/t.sock?keys=a%20b":      {kind: "tpm", path: "/run/t.sock", keys: "a b"},
		"signer:/run/holdfast/signer.soc": {kind: "signer", path: "/run/holdfast/signer.soc"},
	} {
		if got, err := parseSpec(text); got != want || err != nil {
			t.Errorf("%q = %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                          "is not file:DIR",
		"/var/keys":                 "is not file:DIR",
		"pkcs11:token=x":            "is not file:DIR",
		"file:":                     "names no path",
		"file:a?keys=b":             "takes no options",
		"signer:run/s":              "must be absolute, such as signer:/run",
		"tpm:dev/tpmrm0?keys=a":     "must be absolute, such as tpm:/dev",
		"tpm:/dev/tpmrm0":           "add ?keys=DIR",
		"tpm:/dev/tpmrm0?keys=":     "add ?keys=DIR",
		"tpm:/dev/tpmrm0?key=a":     "the only option is keys=DIR",
		"tpm:/d?keys=a&keys=b":      "the only option is keys=DIR",
		"tpm:/dev/tpmrm0?keys=%zz":  "parsing its options",
		"tpm:/dev/null?keys=":       "add ?keys=DIR",
		"file:a\x00b":               "zero byte",
		"signer:/" + longPath(4000): "at most 107 bytes",
	} {
		s, err := Open(text, testKEK(t))
		if err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, %v, want %q", text, s, err, want)
		}
	}
}

type equaler = interface{ Equal(crypto.PublicKey) bool }

func longPath(n int) string { return strings.Repeat("a", n) }

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
