package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// FileStore keeps each key in a sealed file of its own.
type FileStore struct {
	folder folder
	kek    *KEK
}

// File opens a store of sealed files in a folder, which it makes (0700) if it
// is missing. A key is PKCS #8 (RFC 5958) sealed by AES-256-GCM under a key that
// HKDF-SHA-256 derives from kek with a salt of the file's own; the name and the
// version of the format are authenticated with it, so that a sealed key cannot
// be passed off under another name.
func File(dir string, kek *KEK) (*FileStore, error) {
	if kek == nil {
		return nil, errors.New("opening a file key store: a key-encryption key is needed")
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return &FileStore{f, kek}, nil
}

// Create makes a key of any algorithm.
func (s *FileStore) Create(ctx context.Context, name string, alg Alg) (Key, error) {
	key, err := s.create(ctx, name, alg)
	if err != nil {
		return nil, fmt.Errorf("creating the key %.64q: %w", name, err)
	}
	return key, nil
}

func (s *FileStore) create(ctx context.Context, name string, alg Alg) (Key, error) {
	if err := errors.Join(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	if err := s.folder.taken(name); err != nil {
		return nil, err
	}
	signer, err := generate(alg)
	if err != nil {
		return nil, err
	}
	data, err := sealFile(s.kek, name, alg, signer)
	if err != nil {
		return nil, err
	}
	// A crash before this line has made nothing; after it, a whole key.
	if err := s.folder.write(name, data); err != nil {
		return nil, err
	}
	return s.key(name, alg, signer), nil
}

// Open unseals a key. Errors are ErrNotFound, ErrName, ErrPermissions,
// ErrWrongKEK, ErrDamaged, or the file system's.
func (s *FileStore) Open(ctx context.Context, name string) (Key, error) {
	key, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening the key %.64q: %w", name, err)
	}
	return key, nil
}

func (s *FileStore) open(ctx context.Context, name string) (Key, error) {
	if err := errors.Join(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	data, err := s.folder.read(name)
	if err != nil {
		return nil, err
	}
	alg, signer, err := unsealFile(s.kek, name, data)
	if err != nil {
		return nil, fmt.Errorf("unsealing %s: %w", s.folder.path(name), err)
	}
	return s.key(name, alg, signer), nil
}

// Delete removes the file. Flash media may keep its sealed bytes for a while:
// they are worth nothing without the key-encryption key.
func (s *FileStore) Delete(ctx context.Context, name string) error {
	err := errors.Join(ctx.Err(), checkName(name))
	if err == nil {
		err = s.folder.remove(name)
	}
	if err != nil {
		return fmt.Errorf("deleting the key %.64q: %w", name, err)
	}
	return nil
}

// fileKey is a private key in memory. It is a secret: it prints as its
// description whatever the verb.
type fileKey struct {
	signer crypto.Signer
	alg    Alg
	about  string
}

func (s *FileStore) key(name string, alg Alg, signer crypto.Signer) *fileKey {
	return &fileKey{signer, alg, fmt.Sprintf("%s key %s in the sealed file %s", alg, name, s.folder.path(name))}
}

func (k *fileKey) Public() crypto.PublicKey   { return k.signer.Public() }
func (k *fileKey) Describe() string           { return k.about }
func (k *fileKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.about) }
func (k *fileKey) LogValue() slog.Value       { return slog.StringValue(k.about) }
func (k *fileKey) MarshalJSON() ([]byte, error) {
	return nil, errors.New("marshalling a private key: it is a secret")
}

func (k *fileKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(k.alg, digest, opts); err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k.about, err)
	}
	if k.alg == Ed25519 {
		opts = crypto.Hash(0) // also when the caller passed nil
	}
	return k.signer.Sign(rand.Reader, digest, opts)
}

func generate(alg Alg) (crypto.Signer, error) {
	if curve := alg.curve(); curve != nil {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if alg == Ed25519 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("%w: %.32q", ErrUnsupported, alg)
}

// sealedFile is the content of a key file, in JSON.
type sealedFile struct {
	Version int    `json:"holdfast_key"`
	Name    string `json:"name"`
	Alg     Alg    `json:"alg"`
	Public  []byte `json:"public"` // PKIX, for people and tools; the sealed key is what counts
	KEK     []byte `json:"kek"`    // which key-encryption key, 8 bytes
	Salt    []byte `json:"salt"`   // 32 bytes
	Nonce   []byte `json:"nonce"`  // 12 bytes
	Sealed  []byte `json:"sealed"`
}

const fileVersion = 1

func sealFile(kek *KEK, name string, alg Alg, signer crypto.Signer) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(plain)
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	id, err := kek.id()
	if err != nil {
		return nil, fmt.Errorf("identifying the key-encryption key: %w", err)
	}
	f := sealedFile{Version: fileVersion, Name: name, Alg: alg, Public: public, KEK: id, Salt: make([]byte, 32), Nonce: make([]byte, 12)}
	rand.Read(f.Salt)
	rand.Read(f.Nonce)
	aead, err := fileCipher(kek, f.Salt)
	if err != nil {
		return nil, err
	}
	f.Sealed = aead.Seal(nil, f.Nonce, plain, fileContext(name))
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// unsealFile returns the key in a file that was sealed for this name.
func unsealFile(kek *KEK, name string, data []byte) (Alg, crypto.Signer, error) {
	var f sealedFile
	if err := decodeStrict(data, &f); err != nil {
		return "", nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if f.Version != fileVersion {
		return "", nil, fmt.Errorf("%w: its version is %d, and this program reads version %d", ErrDamaged, f.Version, fileVersion)
	}
	id, err := kek.id()
	if err != nil {
		return "", nil, fmt.Errorf("identifying the key-encryption key: %w", err)
	}
	if !bytes.Equal(id, f.KEK) {
		return "", nil, fmt.Errorf("%w (its id is %x, the given one is %x): start with the key in HOLDFAST_KEY, the systemd credential or the key file that was in use when the key was made", ErrWrongKEK, f.KEK, id)
	}
	if len(f.Salt) != 32 || len(f.Nonce) != 12 {
		return "", nil, fmt.Errorf("%w: its salt or nonce has the wrong length", ErrDamaged)
	}
	aead, err := fileCipher(kek, f.Salt)
	if err != nil {
		return "", nil, err
	}
	plain, err := aead.Open(nil, f.Nonce, f.Sealed, fileContext(name))
	if err != nil {
		return "", nil, fmt.Errorf("%w, or was sealed under another name than %s; restore it from a backup", ErrDamaged, name)
	}
	defer clear(plain)
	return parsePrivate(plain, f.Alg, f.Public)
}

// parsePrivate also checks that what the file says in the clear is true.
func parsePrivate(plain []byte, alg Alg, public []byte) (Alg, crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return "", nil, fmt.Errorf("%w: decoding the key: %v", ErrDamaged, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return "", nil, fmt.Errorf("%w: it holds a key that cannot sign", ErrDamaged)
	}
	real, err := algOf(signer.Public())
	if err != nil || real != alg {
		return "", nil, fmt.Errorf("%w: it says %.32q and holds another kind of key", ErrDamaged, alg)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(der, public) {
		return "", nil, fmt.Errorf("%w: its public key does not belong to its private key", ErrDamaged)
	}
	return real, signer, nil
}

func fileCipher(kek *KEK, salt []byte) (cipher.AEAD, error) {
	key, err := kek.derive(salt, "holdfast key file v1", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the file's key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing the cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// fileContext is authenticated with the key. A name has no zero byte.
func fileContext(name string) []byte { return []byte("holdfast key file v1\x00" + name) }

// decodeStrict reads exactly one JSON value without unknown fields.
func decodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decoding JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("decoding JSON: something follows the value")
	}
	return nil
}
