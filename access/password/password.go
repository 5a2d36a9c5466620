// Package password holds the rules for people's passwords and the form in which
// they are stored.
//
// It promises that a Secret cannot be printed, marshalled or compared by
// accident; that the stored form is Argon2id in the PHC string format, compared
// in constant time; that reading a stored form never costs more than MaxMemory,
// whatever the row says; and that every refusal says what is wrong with a
// password without repeating any of it.
//
// It trusts the random reader that it is given, and the caller to keep the
// number of hashes that run at once within its memory (Cost.Memory). Whoever can
// write a stored form can set a person's password; whoever can write the
// operator's list of breached passwords can forbid a password but allow none,
// because lists are only ever added up. Neither can make a check run for long.
//
// Passwords are normalized with the OpaqueString profile of RFC 8265 section
// 4.2: Unicode normalization form C, every kind of space made a plain one, letter
// case kept, control characters and code points without a meaning refused. So the
// same keys give the same password on every keyboard and system. The
// compatibility forms (NFKC) are not used: they make different things equal, such
// as "²" and "2", which takes choices away and gains nothing that C does not give.
package password

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/holdfast-iot/holdfast/refusal"
)

// maxBytes bounds what is normalized, in bytes: four times the longest password
// that any rules allow, since a character has at most four bytes.
const maxBytes = 4 * maxCharacters

// Secret is a password as a person typed it. It prints as "[password]", refuses
// to be marshalled, and does not compile under ==. Copies share their memory.
type Secret struct {
	// held is a function because fmt follows pointers in fields that it may not
	// call methods on, but never a function, and because functions do not compare.
	held func() *[]byte
}

// New takes a password as it was typed. Go cannot erase text itself: decode
// straight into a Secret (UnmarshalText) where that is possible.
func New(text string) Secret {
	b := []byte(text)
	return Secret{held: func() *[]byte { return &b }}
}

// UnmarshalText keeps a copy of text, so that a request can be decoded into a
// structure with a Secret in it.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}

// Wipe overwrites the password in this Secret and in every copy of it.
func (s Secret) Wipe() {
	if s.held != nil {
		b := s.held()
		clear(*b)
		*b = nil
	}
}

// Empty tells whether there is no password: nothing was typed, or it was wiped.
func (s Secret) Empty() bool { return s.held == nil || len(*s.held()) == 0 }

const hidden = "[password]"

// String is the same for every Secret.
func (s Secret) String() string { return hidden }

// GoString is the same for every Secret.
func (s Secret) GoString() string { return hidden }

// Format writes the same for every Secret and verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

var errMarshal = errors.New("marshalling a password: passwords are never written out")

// MarshalText always returns an error.
func (s Secret) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalJSON always returns an error.
func (s Secret) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalBinary always returns an error.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, errMarshal }

// normal returns the normalized password in memory of its own, which the caller
// clears. Its refusals are those of Check.
func (s Secret) normal() ([]byte, error) {
	switch {
	case s.Empty():
		return nil, refusal.New(refusal.Invalid, CodeTooShort, "type one", "the password is empty")
	case len(*s.held()) > maxBytes:
		return nil, refusal.New(refusal.Invalid, CodeTooLong, "shorten it", "the password is longer than any that Holdfast takes")
	}
	text, err := precis.OpaqueString.Bytes(*s.held())
	// What is not UTF-8 becomes U+FFFD, here or before: many texts for one.
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return nil, refusal.New(refusal.Invalid, CodeCharacters,
			"use letters, digits, punctuation, spaces and simple symbols; leave out control characters and joined emoji",
			"the password has a character that cannot be relied on to stay the same from one keyboard to another")
	}
	if len(text) > maxBytes {
		return nil, refusal.New(refusal.Invalid, CodeTooLong, "shorten it", "the password is longer than any that Holdfast takes")
	}
	return text, nil
}
