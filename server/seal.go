package server

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/holdfast-iot/holdfast/server/keystore"
)

// sealer encrypts small secrets for the database, with a key that all servers of
// an installation derive from the key-encryption key. What is sealed for one
// thing cannot be opened for another.
type sealer struct{ aead cipher.AEAD }

func newSealer(kek *keystore.KEK, purpose string) (sealer, error) {
	key, err := kek.Derive(purpose)
	if err != nil {
		return sealer{}, err
	}
	defer clear(key)
	aead, err := chacha20poly1305.NewX(key)
	return sealer{aead}, err
}

// seal is nonce and ciphertext; about is what it is bound to.
func (s sealer) seal(plain, about []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	rand.Read(nonce) // never fails (Go 1.24)
	return s.aead.Seal(nonce, nonce, plain, about), nil
}

func (s sealer) open(sealed, about []byte) ([]byte, error) {
	if len(sealed) < s.aead.NonceSize() {
		return nil, errors.New("opening a sealed secret: it is cut short")
	}
	plain, err := s.aead.Open(nil, sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():], about)
	if err != nil {
		return nil, fmt.Errorf("opening a sealed secret: it was sealed with another key, or changed: %w", err)
	}
	return plain, nil
}
