package audit

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Checkpoint names one state of one log (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin    string   // the log's name, which is also the name of its key
	Size      int64    // entries, 0 to MaxSize
	Root      Hash     // root of the tree of that size
	Extension []string // further lines, normally none: nobody audits them
}

// Errors of [Open] and its relatives, to be told apart with errors.Is.
var (
	// ErrOrigin says that a well-formed checkpoint is of another log than the key's.
	ErrOrigin = errors.New("the checkpoint is of another log")
	// ErrSignature says that no signature of the key is on the checkpoint, or that it is wrong.
	ErrSignature = errors.New("the checkpoint is not signed by the log's key")
)

// text returns the note text that is signed.
func (c Checkpoint) text() string {
	var b strings.Builder
	b.WriteString(c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n")
	for _, line := range c.Extension {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Sign returns the signed note of a checkpoint, with the origin as the key's name. The signer's key is Ed25519. The
// caller has made sure that the tree continues every tree it signed before: that is the whole promise of a log.
func Sign(c Checkpoint, signer crypto.Signer) ([]byte, error) {
	pub, err := publicOf(signer)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	key, err := NewPublicKey(c.Origin, pub)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	text := c.text()
	if back, err := parseCheckpoint([]byte(text)); err != nil || back.text() != text || len(back.Extension) != len(c.Extension) {
		return nil, errors.New("signing a checkpoint: a size is out of range or an extension line is empty or holds a newline")
	}
	sig, err := sign(signer, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	signed := append([]byte(text+"\n"), signatureLine(key, sig)...)
	if _, err := Open(signed, key); err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return signed, nil
}

// Open returns the checkpoint in a signed note after verifying that the log's key signed it and that its origin is
// the key's name. Signatures by other keys are ignored. The error wraps [ErrNote], [ErrOrigin] or [ErrSignature].
func Open(signed []byte, key PublicKey) (Checkpoint, error) {
	c, _, _, err := open(signed, key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("opening a checkpoint: %w", err)
	}
	return c, nil
}

func open(signed []byte, key PublicKey) (Checkpoint, []byte, []signature, error) {
	text, sigs, err := parseNote(signed)
	if err != nil {
		return Checkpoint{}, nil, nil, err
	}
	c, err := parseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, nil, nil, err
	}
	if key.Witness() {
		return Checkpoint{}, nil, nil, fmt.Errorf("the key given is of a witness: %w", ErrSignature)
	}
	if c.Origin != key.name {
		return Checkpoint{}, nil, nil, fmt.Errorf("its origin is %q and the key is of %q: %w", c.Origin, key.name, ErrOrigin)
	}
	for _, s := range sigs {
		if key.signed(s) && len(s.data) == ed25519.SignatureSize && ed25519.Verify(key.key[:], text, s.data) {
			return c, text, sigs, nil
		}
	}
	return Checkpoint{}, nil, nil, ErrSignature
}

// parseCheckpoint reads a note's text, which ends in a newline.
func parseCheckpoint(text []byte) (Checkpoint, error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return Checkpoint{}, fmt.Errorf("it has fewer than three lines: %w", ErrNote)
	}
	lines = lines[:len(lines)-1]
	for _, line := range lines {
		if line == "" {
			return Checkpoint{}, fmt.Errorf("a line is empty: %w", ErrNote)
		}
	}
	size, ok := parseSize(lines[1])
	if !ok {
		return Checkpoint{}, fmt.Errorf("its size is not a decimal number up to %d: %w", MaxSize, ErrNote)
	}
	root, ok := parseHash(lines[2])
	if !ok {
		return Checkpoint{}, fmt.Errorf("its root is not the base64 of %d bytes: %w", HashSize, ErrNote)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if len(lines) > 3 {
		c.Extension = lines[3:]
	}
	return c, nil
}
