package sso

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a text that cannot be printed, logged, marshalled or
// compared with ==. The zero value is empty.
type Secret struct {
	_    [0]func() // makes == a compile error
	text string
}

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return s.text }

// Empty tells whether there is no secret.
func (s Secret) Empty() bool { return s.text == "" }

// String says whether there is a secret, not which.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return "[secret]"
}

var errSecret = errors.New("marshalling a client secret: it stays here")

func (s Secret) Format(f fmt.State, _ rune)     { io.WriteString(f, s.String()) }
func (s Secret) GoString() string               { return s.String() }
func (s Secret) LogValue() slog.Value           { return slog.StringValue(s.String()) }
func (s Secret) MarshalText() ([]byte, error)   { return nil, errSecret }
func (s Secret) MarshalJSON() ([]byte, error)   { return nil, errSecret }
func (s Secret) MarshalBinary() ([]byte, error) { return nil, errSecret }
