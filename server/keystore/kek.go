package keystore

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/holdfast-iot/holdfast/internal/durable"
)

// KEK is the key-encryption key that seals key files: 32 secret bytes. It
// cannot be printed, logged, marshalled or compared.
type KEK struct {
	_      [0]func() // makes == a compile error
	secret [32]byte
}

const redacted = "[key-encryption key]"

// Format, String, GoString and LogValue hide the secret from every verb and
// logger; MarshalText and MarshalJSON refuse.
func (*KEK) Format(f fmt.State, _ rune)     { io.WriteString(f, redacted) }
func (*KEK) String() string                 { return redacted }
func (*KEK) GoString() string               { return redacted }
func (*KEK) LogValue() slog.Value           { return slog.StringValue(redacted) }
func (*KEK) MarshalText() ([]byte, error)   { return nil, errSecret }
func (*KEK) MarshalJSON() ([]byte, error)   { return nil, errSecret }
func (*KEK) MarshalBinary() ([]byte, error) { return nil, errSecret }

var errSecret = errors.New("marshalling a key-encryption key: it is a secret")

// ParseKEK reads 32 bytes written as base64 (standard or URL alphabet, with or
// without padding) or as hexadecimal; space around them is ignored. Errors do
// not repeat the text.
func ParseKEK(text []byte) (*KEK, error) {
	text = bytes.TrimSpace(text)
	var raw []byte
	var err error
	switch len(text) {
	case 64:
		raw, err = hex.DecodeString(string(text))
	case 43, 44:
		text = bytes.TrimSuffix(text, []byte("="))
		enc := base64.RawStdEncoding
		if bytes.ContainsAny(text, "-_") {
			enc = base64.RawURLEncoding
		}
		raw, err = enc.Strict().DecodeString(string(text))
	}
	if err != nil || len(raw) != 32 {
		return nil, errors.New("parsing the key-encryption key: want 32 random bytes in base64 or hexadecimal, such as `openssl rand -base64 32` prints")
	}
	k := new(KEK)
	copy(k.secret[:], raw)
	if k.secret == [32]byte{} {
		return nil, errors.New("parsing the key-encryption key: it is all zeros")
	}
	return k, nil
}

// Derive makes a 32-byte key for one purpose, the same on every server that has
// this key (HKDF-SHA-256, RFC 5869). It says nothing about the key itself.
func (k *KEK) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.secret[:], nil, "holdfast derived "+purpose, 32)
}

// LoadKEK finds the key-encryption key, in this order: the environment variable
// HOLDFAST_KEY; the systemd credential holdfast-key (a file in
// $CREDENTIALS_DIRECTORY, see systemd.exec(5) LoadCredential=); fallbackFile,
// which must not be accessible to group or others. When none of them is there it
// creates fallbackFile with a random key and returns created = true.
//
// The source says in words, for the log, where the key came from. A key in a
// file beside the keys that it seals protects copies of those keys, not the
// machine: say so to the operator.
func LoadKEK(getenv func(string) string, fallbackFile string) (kek *KEK, source string, created bool, err error) {
	if text := getenv("HOLDFAST_KEY"); text != "" {
		source = "the environment variable HOLDFAST_KEY"
		kek, err = ParseKEK([]byte(text))
		return kek, source, false, within(source, err)
	}
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, "holdfast-key")
		source = "the systemd credential " + path
		// The service manager guards this folder with an access list that makes
		// the mode look group-readable: the mode is not checked here.
		kek, err = readKEK(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return kek, source, false, within(source, err)
		}
	}
	source = "the file " + fallbackFile
	err = createKEK(fallbackFile)
	created = err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, source, false, fmt.Errorf("creating a key-encryption key in %s: %w", source, err)
	}
	if err := checkPrivate(fallbackFile, 0o600); err != nil {
		return nil, source, false, err
	}
	kek, err = readKEK(fallbackFile)
	if err == nil && created {
		source = "the new file " + fallbackFile
	}
	return kek, source, created, within(source, err)
}

func within(source string, err error) error {
	if err != nil {
		return fmt.Errorf("loading the key-encryption key from %s: %w", source, err)
	}
	return nil
}

func readKEK(path string) (*KEK, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return ParseKEK(text)
}

func createKEK(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	var raw [32]byte
	rand.Read(raw[:])
	return durable.Create(path, []byte(base64.StdEncoding.EncodeToString(raw[:])+"\n"), 0o600)
}

// derive makes a key for one purpose (RFC 5869 with SHA-256).
func (k *KEK) derive(salt []byte, purpose string, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, k.secret[:], salt, purpose, size)
}

// id tells key-encryption keys apart without revealing anything about them.
func (k *KEK) id() ([]byte, error) { return k.derive(nil, "holdfast key-encryption key id v1", 8) }
