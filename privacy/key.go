package privacy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// HashKey is the secret of hashed fields. It cannot be printed, marshalled or
// compared: it sits in a function, where nothing that walks values gets to it.
// The zero value is no key.
//
// Views with the same key hash the same value to the same text. With a key for
// each audience, two audiences cannot match what they see.
type HashKey struct {
	secret func() []byte
}

const minKey = 32 // bytes

// NewHashKey makes a key of at least 32 random bytes, which it copies.
func NewHashKey(secret []byte) (HashKey, error) {
	if len(secret) < minKey {
		return HashKey{}, errors.New("making a hash key: it has fewer than 32 bytes")
	}
	secret = bytes.Clone(secret)
	return HashKey{secret: func() []byte { return secret }}, nil
}

const hidden = "[hash key]"

// String, GoString, Format and MarshalText hide the key.
func (HashKey) String() string               { return hidden }
func (HashKey) GoString() string             { return hidden }
func (HashKey) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (HashKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }
