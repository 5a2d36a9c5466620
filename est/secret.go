package est

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

const hidden = "[secret]"

// Kind says which form a Credential has.
type Kind int

// The forms of a credential in the Authorization header.
const (
	KindNone   Kind = iota // no header was sent
	KindBasic              // RFC 7617: a username, perhaps empty, and a password
	KindBearer             // RFC 6750: a token
)

// String returns the name of the scheme in lower case, or "none".
func (k Kind) String() string {
	switch k {
	case KindBasic:
		return "basic"
	case KindBearer:
		return "bearer"
	}
	return "none"
}

// Credential is what a client sent beside its certificate: HTTP Basic, Bearer, or nothing (the zero value). It cannot
// be printed, logged, marshalled or compared with ==; Reveal is the one way to the secret, so that a search for it finds
// every use.
type Credential struct {
	_        [0]func()
	kind     Kind
	username string
	secret   *string // behind a pointer: fmt shows an address where it cannot call Format
}

// BasicCredential is a username and password for HTTP Basic (RFC 7617). An empty username is legal: a token alone is
// sent as the password.
func BasicCredential(username, password string) Credential {
	return Credential{kind: KindBasic, username: username, secret: &password}
}

// BearerCredential is a token for the Bearer scheme (RFC 6750).
func BearerCredential(token string) Credential {
	return Credential{kind: KindBearer, secret: &token}
}

// Kind tells the form; KindNone for the zero value.
func (c Credential) Kind() Kind { return c.kind }

// IsZero reports whether there is no credential.
func (c Credential) IsZero() bool { return c.kind == KindNone }

// Username is the user-id of HTTP Basic, which is no secret; empty for the other forms.
func (c Credential) Username() string { return c.username }

// Reveal returns the password or token; empty when there is none. Compare it in constant time.
func (c Credential) Reveal() string {
	if c.secret == nil {
		return ""
	}
	return *c.secret
}

// String returns "[secret]", as do the other ways to print a Credential.
func (c Credential) String() string { return hidden }

// GoString returns "[secret]".
func (c Credential) GoString() string { return hidden }

// Format writes "[secret]" whatever the verb.
func (c Credential) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(hidden)) }

// LogValue returns "[secret]".
func (c Credential) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON returns "[secret]" in quotes.
func (c Credential) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText returns "[secret]".
func (c Credential) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// PrivateKey is a private key as PKCS#8 DER (RFC 5958). It cannot be printed, logged or marshalled; convert it to []byte
// to use it. Whoever owns it erases it with Erase.
type PrivateKey []byte

// Erase overwrites the key with zeros.
func (k PrivateKey) Erase() { clear(k) }

// String returns "[secret]", as do the other ways to print a PrivateKey.
func (k PrivateKey) String() string { return hidden }

// GoString returns "[secret]".
func (k PrivateKey) GoString() string { return hidden }

// Format writes "[secret]" whatever the verb.
func (k PrivateKey) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(hidden)) }

// LogValue returns "[secret]".
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON returns "[secret]" in quotes.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText returns "[secret]".
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// ParseCredential reads the Authorization header. No header gives the zero Credential. Several headers, a value longer
// than MaxCredential, or one that does not follow RFC 7617 or RFC 6750 is a *Problem with status 400; a scheme other than
// Basic and Bearer is one with status 401.
func ParseCredential(h http.Header) (Credential, error) {
	values := h.Values("Authorization")
	switch {
	case len(values) == 0:
		return Credential{}, nil
	case len(values) > 1:
		return Credential{}, badCredential("The request carries more than one Authorization header.",
			"Send one Authorization header, either Basic or Bearer.")
	case len(values[0]) > MaxCredential:
		return Credential{}, badCredential(fmt.Sprintf("The Authorization header is longer than %d bytes.", MaxCredential),
			"Check that the header carries one username and password, or one token.")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.Trim(rest, " ")
	switch strings.ToLower(scheme) {
	case "basic":
		return parseBasic(rest)
	case "bearer":
		if !isToken(rest) {
			return Credential{}, badCredential("The Bearer token is empty or has characters that a token cannot have.",
				"Send the token exactly as it was given, with no quotes and nothing after it.")
		}
		return BearerCredential(rest), nil
	}
	return Credential{}, &Problem{Status: http.StatusUnauthorized, Code: "credential-scheme",
		Title:  "Unsupported authentication scheme",
		Detail: "The Authorization header uses a scheme other than Basic and Bearer.",
		Fix:    "Authenticate with HTTP Basic, a Bearer token, or a client certificate."}
}

// parseBasic decodes the credentials of RFC 7617: base64 of user-id ":" password, in UTF-8 without control characters.
func parseBasic(s string) (Credential, error) {
	const fix = "Send base64 of username, a colon and the password (curl: -u USER:PASSWORD)."
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) == 0 {
		return Credential{}, badCredential("The Basic credentials are not base64.", fix)
	}
	user, password, found := strings.Cut(string(raw), ":")
	clear(raw)
	switch {
	case !found:
		return Credential{}, badCredential("The Basic credentials have no colon between username and password.", fix)
	case !clean(user) || !clean(password):
		return Credential{}, badCredential("The Basic credentials hold control characters or are not UTF-8.", fix)
	}
	return BasicCredential(user, password), nil
}

func badCredential(detail, fix string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: "bad-credential", Title: "Malformed credentials", Detail: detail, Fix: fix}
}

// clean reports whether s is UTF-8 without control characters.
func clean(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// isToken reports whether s is a b64token of RFC 6750 section 2.1.
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		c := body[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// authorize puts the credential into a request's header.
func (c Credential) authorize(h http.Header) error {
	switch c.kind {
	case KindBasic:
		if strings.Contains(c.username, ":") || !clean(c.username) || !clean(c.Reveal()) {
			return fmt.Errorf("authorizing the request: the username holds a colon, or username or password a control character")
		}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.username+":"+c.Reveal())))
	case KindBearer:
		if !isToken(c.Reveal()) {
			return fmt.Errorf("authorizing the request: the token is empty or has characters that a Bearer token cannot have")
		}
		h.Set("Authorization", "Bearer "+c.Reveal())
	}
	return nil
}
