package sso

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// maxFlow bounds a flow value, in bytes.
const maxFlow = 8 << 10

// flow is what must be known when the browser comes back. It holds secrets
// (verifier), so it stays on the server.
type flow struct {
	Provider string    `json:"provider"`
	Kind     string    `json:"kind"`     // "oidc" or "saml"
	Peer     string    `json:"peer"`     // the issuer or entity ID that was asked
	State    string    `json:"state"`    // state (RFC 6749 section 10.12), or RelayState
	Nonce    string    `json:"nonce"`    // OpenID Connect Core section 3.1.2.1
	Verifier string    `json:"verifier"` // RFC 7636 section 4.1
	Request  string    `json:"request"`  // the ID of the AuthnRequest
	ReturnTo string    `json:"return_to"`
	Begun    time.Time `json:"begun"`
}

// marshal returns the opaque form.
func (f flow) marshal() ([]byte, error) { return json.Marshal(f) }

// readFlow reads what Begin returned, and checks that it is of this provider
// and that the person did not take too long.
func readFlow(data []byte, name, kind string, now time.Time) (flow, error) {
	var f flow
	if len(data) == 0 {
		return f, fail(CodeFlow, "there is no sign-in under way")
	}
	if len(data) > maxFlow || json.Unmarshal(data, &f) != nil {
		return f, fail(CodeFlow, "the kept state of the sign-in cannot be read")
	}
	if f.Provider != name || f.Kind != kind || f.State == "" {
		return f, fail(CodeFlow, "the kept state of the sign-in is of another provider")
	}
	if now.Before(f.Begun.Add(-skew)) || now.After(f.Begun.Add(flowLife)) {
		return f, fail(CodeFlow, "the sign-in was begun at %s, too long ago", f.Begun.UTC().Format(time.RFC3339))
	}
	return f, nil
}

// token returns 256 random bits in 43 characters that need no escaping.
func token() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// same compares two secrets in constant time; empty ones are never the same.
func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// once makes the identifier for SeenFunc: of fixed length, and distinct for
// each provider and kind of message.
func once(kind, provider, id string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + provider + "\x00" + id))
	return hex.EncodeToString(sum[:])
}

// safeReturn keeps a path of this site, and turns everything else into "/":
// other hosts in each of the forms that browsers accept (//host, /\host, tabs
// within), and what is too long.
func safeReturn(s string) string {
	if len(s) > 2048 || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\\t\r\n") {
		return "/"
	}
	for _, c := range []byte(s) {
		if c < 0x21 || c >= 0x7f {
			return "/"
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host != "" || u.Scheme != "" || u.Opaque != "" || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return "/"
	}
	return s
}
