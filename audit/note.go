package audit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a signed note, so that what an outsider sends costs little to refuse.
const (
	MaxNote       = 16 << 10 // bytes
	MaxSignatures = 16       // signature lines
	maxKeyName    = 255      // bytes
)

// Key types of C2SP signed-note.
const (
	typeLog      = 0x01 // Ed25519 over the note's text: a log
	typeCosigner = 0x04 // timestamped Ed25519 (tlog-cosignature): a witness
)

// ErrNote says that bytes are not a signed note within the limits, or that its text is not a checkpoint.
var ErrNote = errors.New("it is not a well-formed signed checkpoint")

// PublicKey is a named Ed25519 verification key of a log or of a witness. The zero value verifies nothing.
type PublicKey struct {
	name string
	kind byte
	key  [ed25519.PublicKeySize]byte
}

// NewPublicKey returns the key of a log. The name is the log's origin: 1 to 255 bytes of UTF-8 without spaces,
// control characters or plus signs.
func NewPublicKey(name string, key ed25519.PublicKey) (PublicKey, error) {
	return newKey(name, typeLog, key)
}

// NewWitnessKey returns the key of a witness. One Ed25519 key must not serve two witnesses or a log besides: its
// signatures do not bind the name (C2SP tlog-cosignature).
func NewWitnessKey(name string, key ed25519.PublicKey) (PublicKey, error) {
	return newKey(name, typeCosigner, key)
}

func newKey(name string, kind byte, key []byte) (PublicKey, error) {
	if !keyName(name) {
		return PublicKey{}, errors.New("making a verification key: the name is empty, too long, or holds a space, control character or plus sign")
	}
	if len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("making a verification key: the key has %d bytes, not %d", len(key), ed25519.PublicKeySize)
	}
	return PublicKey{name, kind, [ed25519.PublicKeySize]byte(key)}, nil
}

// ParsePublicKey reads the encoding "name+hash+base64" of C2SP signed-note, of a log (type 0x01) or of a witness (type
// 0x04). A hash that does not fit the name and the key is an error: it catches a key pasted under another name.
func ParsePublicKey(vkey string) (PublicKey, error) {
	if len(vkey) > 512 {
		return PublicKey{}, errors.New("parsing a verification key: it is longer than 512 bytes")
	}
	name, rest, ok := strings.Cut(vkey, "+")
	hash, text, ok2 := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || !ok2 || err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return PublicKey{}, errors.New("parsing a verification key: it is not of the form name+hash+base64 with an Ed25519 key")
	}
	if raw[0] != typeLog && raw[0] != typeCosigner {
		return PublicKey{}, fmt.Errorf("parsing a verification key: its type 0x%02x is neither 0x01 (log) nor 0x04 (witness)", raw[0])
	}
	k, err := newKey(name, raw[0], raw[1:])
	if err != nil {
		return PublicKey{}, fmt.Errorf("parsing a verification key: %w", err)
	}
	if k.String() != vkey {
		return PublicKey{}, fmt.Errorf("parsing a verification key: its hash is %q, and the name and key make %08x", hash, k.id())
	}
	return k, nil
}

// Name returns the key's name: the origin of a log.
func (k PublicKey) Name() string { return k.name }

// Witness reports whether the key is of a witness.
func (k PublicKey) Witness() bool { return k.kind == typeCosigner }

// Key returns a copy of the bare key.
func (k PublicKey) Key() ed25519.PublicKey { return append(ed25519.PublicKey(nil), k.key[:]...) }

// String returns the encoding that [ParsePublicKey] reads.
func (k PublicKey) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.id(), base64.StdEncoding.EncodeToString(append([]byte{k.kind}, k.key[:]...)))
}

// id is the first four bytes of SHA-256 over the name, a newline, the type and the key (C2SP signed-note).
func (k PublicKey) id() uint32 {
	b := append([]byte(k.name), '\n', k.kind)
	h := sha256.Sum256(append(b, k.key[:]...))
	return binary.BigEndian.Uint32(h[:])
}

func (k PublicKey) signed(s signature) bool {
	return k.name != "" && s.name == k.name && s.id == k.id()
}

func keyName(s string) bool {
	return s != "" && len(s) <= maxKeyName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '+' || unicode.IsSpace(r) || unprintable(r) })
}

// signature is one line below a note's text.
type signature struct {
	name string
	id   uint32
	data []byte // after the key id
	line []byte // whole, with its newline
}

const linePrefix = "— "

// parseNote splits a signed note. It verifies nothing.
func parseNote(signed []byte) (text []byte, sigs []signature, err error) {
	if len(signed) > MaxNote {
		return nil, nil, fmt.Errorf("it has %d bytes, more than %d: %w", len(signed), MaxNote, ErrNote)
	}
	if !utf8.Valid(signed) || bytes.ContainsFunc(signed, func(r rune) bool { return r < 0x20 && r != '\n' }) {
		return nil, nil, fmt.Errorf("it holds control characters or is not UTF-8: %w", ErrNote)
	}
	cut := bytes.LastIndex(signed, []byte("\n\n"))
	if cut < 0 {
		return nil, nil, fmt.Errorf("no empty line is between text and signatures: %w", ErrNote)
	}
	text = signed[: cut+1 : cut+1]
	sigs, err = parseSignatures(signed[cut+2:])
	return text, sigs, err
}

func parseSignatures(lines []byte) ([]signature, error) {
	if len(lines) == 0 || lines[len(lines)-1] != '\n' {
		return nil, fmt.Errorf("its signatures are missing or cut off: %w", ErrNote)
	}
	var sigs []signature
	for line := range bytes.Lines(lines) {
		if len(sigs) == MaxSignatures {
			return nil, fmt.Errorf("it has more than %d signatures: %w", MaxSignatures, ErrNote)
		}
		rest, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), linePrefix)
		name, text, ok2 := strings.Cut(rest, " ")
		raw, err := base64.StdEncoding.DecodeString(text)
		if !ok || !ok2 || err != nil || len(raw) < 5 || !keyName(name) {
			return nil, fmt.Errorf("signature line %d is malformed: %w", len(sigs)+1, ErrNote)
		}
		sigs = append(sigs, signature{name, binary.BigEndian.Uint32(raw), raw[4:], line})
	}
	return sigs, nil
}

// signatureLine renders a signature by the key.
func signatureLine(k PublicKey, data []byte) []byte {
	raw := append(binary.BigEndian.AppendUint32(nil, k.id()), data...)
	return []byte(linePrefix + k.name + " " + base64.StdEncoding.EncodeToString(raw) + "\n")
}

// sign makes an Ed25519 signature and checks it, so that a faulty signer is found before its signature is published.
func sign(signer crypto.Signer, message []byte) ([]byte, error) {
	pub, err := publicOf(signer)
	if err != nil {
		return nil, err
	}
	sig, err := signer.Sign(nil, message, crypto.Hash(0)) // Ed25519 is deterministic: it takes no randomness
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(pub, message, sig) {
		return nil, errors.New("the signer made a signature that its public key does not verify")
	}
	return sig, nil
}

func publicOf(signer crypto.Signer) (ed25519.PublicKey, error) {
	if signer == nil {
		return nil, errors.New("there is no signer")
	}
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, errors.New("the signer's key is not Ed25519")
	}
	return pub, nil
}

// parseSize reads a decimal tree size or index: no sign, no leading zero, at most MaxSize.
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 16 || s[0] == '0' && s != "0" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n <= MaxSize
}

// parseHash reads the one base64 spelling of a hash.
func parseHash(s string) (h Hash, ok bool) {
	if len(s) != base64.StdEncoding.EncodedLen(HashSize) {
		return h, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != HashSize {
		return h, false
	}
	return Hash(raw), true
}
