package keystore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseKEK(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(0xf8 + i)
	}
	for _, text := range []string{
		fmt.Sprintf("%x", raw), fmt.Sprintf("  %X\n", raw),
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw) + "\r\n",
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		kek, err := ParseKEK([]byte(text))
		if err != nil || string(kek.secret[:]) != string(raw) {
			t.Errorf("parsing %q: %v", text, err)
		}
	}
	for _, text := range []string{"", "short", strings.Repeat("0", 64), strings.Repeat("g", 64), string(raw), strings.Repeat("x", 1<<16), "correct horse battery staple 1234"} {
		if kek, err := ParseKEK([]byte(text)); err == nil || kek != nil {
			t.Errorf("accepted %.40q", text)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the text: %v", err)
		}
	}
}

func TestLoadKEK(t *testing.T) {
	dir := t.TempDir()
	fallback := filepath.Join(dir, "kek")
	env := map[string]string{}
	load := func() (*KEK, string, bool) {
		t.Helper()
		kek, source, created, err := LoadKEK(func(name string) string { return env[name] }, fallback)
		if err != nil {
			t.Fatal(err)
		}
		return kek, source, created
	}
	first, source, created := load()
	if !created || source != "the new file "+fallback {
		t.Errorf("source = %q, created = %v", source, created)
	}
	if info, err := os.Stat(fallback); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	again, source, created := load()
	if created || again.secret != first.secret || source != "the file "+fallback {
		t.Errorf("source = %q, created = %v", source, created)
	}
	env["CREDENTIALS_DIRECTORY"] = filepath.Join(dir, "credentials")
	if again, _, _ := load(); again.secret != first.secret {
		t.Error("a missing credential hides the file")
	}
	if err := os.Mkdir(env["CREDENTIALS_DIRECTORY"], 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(env["CREDENTIALS_DIRECTORY"], "holdfast-key"), []byte(strings.Repeat("ab", 32)), 0o440)
	if kek, source, _ := load(); kek.secret[0] != 0xab || !strings.Contains(source, "systemd credential") {
		t.Errorf("source = %q", source)
	}
	env["HOLDFAST_KEY"] = strings.Repeat("cd", 32)
	if kek, source, _ := load(); kek.secret[0] != 0xcd || !strings.Contains(source, "HOLDFAST_KEY") {
		t.Errorf("source = %q", source)
	}
	env["HOLDFAST_KEY"] = "hunter2"
	if kek, _, _, err := LoadKEK(func(name string) string { return env[name] }, fallback); err == nil || kek != nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong key is not an error: %v", err)
	}
}

func TestLoadKEKRefusesAReadableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	put(t, path, []byte(strings.Repeat("ab", 32)), 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := LoadKEK(func(string) string { return "" }, path)
	if !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 0600 "+path) {
		t.Errorf("error = %v", err)
	}
	_, _, _, err = LoadKEK(func(string) string { return "" }, filepath.Join(t.TempDir(), "missing", "kek"))
	if err == nil {
		t.Error("created a key in a folder that is not there")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	kek := testKEK(t)
	files, err := File(t.TempDir()+"/keys", kek)
	if err != nil {
		t.Fatal(err)
	}
	made, err := files.Create(t.Context(), "hidden", P256)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "kek", kek, "key", made)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "kek", kek, "key", made)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		log.WriteString(fmt.Sprintf(verb+verb+verb, kek, struct{ K *KEK }{kek}, made))
	}
	for _, secret := range []string{"0x1", "000102", "1617", "[0 1 2 3", "0 1 2", "D:", "&ecdsa"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is printed: %s", secret, log.String())
		}
	}
	for _, v := range []any{kek, made} {
		if out, err := json.Marshal(v); err == nil {
			t.Errorf("marshalled: %s", out)
		}
	}
}
