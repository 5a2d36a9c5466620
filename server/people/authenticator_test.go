package people

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"

	"github.com/fxamacker/cbor/v2"
)

// authenticator is a passkey in software: ES256, user verified, resident, as a
// browser at origin would use it.
type authenticator struct {
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32

	// What an attacker or a poor device does differently.
	origin   string
	rpID     string
	flags    byte // user present 1, user verified 4
	typ      string
	mangle   func(clientData map[string]any)
	spoil    bool // signs something else
	noHandle bool
}

func newAuthenticator() *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	a := &authenticator{key: key, id: make([]byte, 32), origin: origin, rpID: rpID, flags: 5}
	rand.Read(a.id)
	return a
}

var b64 = base64.RawURLEncoding

// challengeOf reads options as a browser does.
func challengeOf(options json.RawMessage) (challenge string, user []byte, allowed []string) {
	var o struct {
		PublicKey struct {
			Challenge string
			User      struct{ ID string }
			Allow     []struct{ ID string } `json:"allowCredentials"`
		}
	}
	if err := json.Unmarshal(options, &o); err != nil {
		panic(err)
	}
	user, _ = b64.DecodeString(o.PublicKey.User.ID)
	for _, c := range o.PublicKey.Allow {
		allowed = append(allowed, c.ID)
	}
	return o.PublicKey.Challenge, user, allowed
}

func (a *authenticator) clientData(typ, challenge string) []byte {
	if a.typ != "" {
		typ = a.typ
	}
	data := map[string]any{"type": typ, "challenge": challenge, "origin": a.origin, "crossOrigin": false}
	if a.mangle != nil {
		a.mangle(data)
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return text
}

func (a *authenticator) authData(flags byte) []byte {
	rp := sha256.Sum256([]byte(a.rpID))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), a.count)
}

// create answers navigator.credentials.create.
func (a *authenticator) create(options json.RawMessage) []byte {
	challenge, user, _ := challengeOf(options)
	a.handle = user
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
	if err != nil {
		panic(err)
	}
	data := a.authData(a.flags | 0x40)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(append(data, a.id...), cose...)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		panic(err)
	}
	return a.credential(map[string]any{"clientDataJSON": b64.EncodeToString(a.clientData("webauthn.create", challenge)), "attestationObject": b64.EncodeToString(object), "transports": []string{"internal"}})
}

// get answers navigator.credentials.get.
func (a *authenticator) get(options json.RawMessage) []byte {
	challenge, _, _ := challengeOf(options)
	a.count++
	data, client := a.authData(a.flags), a.clientData("webauthn.get", challenge)
	sum := sha256.Sum256(client)
	signed := sha256.Sum256(append(bytes.Clone(data), sum[:]...))
	if a.spoil {
		signed[0] ^= 1
	}
	sig, err := ecdsa.SignASN1(rand.Reader, a.key, signed[:])
	if err != nil {
		panic(err)
	}
	response := map[string]any{"clientDataJSON": b64.EncodeToString(client), "authenticatorData": b64.EncodeToString(data), "signature": b64.EncodeToString(sig)}
	if !a.noHandle {
		response["userHandle"] = b64.EncodeToString(a.handle)
	}
	return a.credential(response)
}

func (a *authenticator) credential(response map[string]any) []byte {
	text, err := json.Marshal(map[string]any{"id": b64.EncodeToString(a.id), "rawId": b64.EncodeToString(a.id), "type": "public-key", "authenticatorAttachment": "platform",
		"clientExtensionResults": map[string]any{}, "response": response})
	if err != nil {
		panic(err)
	}
	return text
}

// addKey gives the person of a sign-in a passkey.
func (h *house) addKey(in SignIn, a *authenticator) (Secret, SignIn) {
	h.Helper()
	c, err := h.BeginAddPasskey(h.Context(), in)
	h.ok(err)
	cookie, out, err := h.AddPasskey(h.Context(), in, "laptop", c.Flow, a.create(c.Options), office)
	h.ok(err)
	return cookie, out
}

// byKey signs in with a passkey alone.
func (h *house) byKey(a *authenticator, at Where) (Secret, SignIn, error) {
	h.Helper()
	c, err := h.BeginPasskey(h.Context())
	h.ok(err)
	return h.Passkey(h.Context(), c.Flow, a.get(c.Options), at)
}
