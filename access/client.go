package access

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// APIClient is a program that uses the API: it has keys, or signs in with OAuth 2
// client credentials.
type APIClient struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Owner       string         `json:"owner,omitempty" doc:"person or team answerable for it"`
	Disabled    bool           `json:"disabled"`
	Networks    []netip.Prefix `json:"networks,omitempty" doc:"it may call from these only; absent: from anywhere"`
	Rate        int            `json:"rate,omitempty" doc:"requests a minute; absent: the server's"`
	JWKS        string         `json:"jwks,omitempty" doc:"public keys for private_key_jwt (RFC 7523), a JSON Web Key Set"`
	HasSecret   bool           `json:"has_secret" doc:"may use a client secret"`
	CreatedAt   time.Time      `json:"created_at"`
	CreatedBy   string         `json:"created_by" doc:"kind:id"`
	UsedDay     string         `json:"used,omitempty" doc:"the last day it called on"`
	Version     int64          `json:"version"`
}

// Validate names the field at fault.
func (c APIClient) Validate() error {
	if !roleName.MatchString(c.Name) {
		return refusal.New(refusal.Invalid, "bad-client-name", "use a lower-case letter, then letters, digits and hyphens, at most 63", "the client's name %.64q is not valid", c.Name)
	}
	if !shown(c.Description, 256) || !shown(c.Owner, 128) {
		return refusal.New(refusal.Invalid, "bad-description", "use printable characters, at most 256 for the description and 128 for the owner", "the description or owner is not valid")
	}
	if len(c.Networks) > 32 || slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() }) {
		return refusal.New(refusal.Invalid, "bad-networks", "write at most 32 networks as 192.0.2.0/24", "the networks are not valid")
	}
	if c.Rate < 0 || c.Rate > 1_000_000 {
		return refusal.New(refusal.Invalid, "bad-rate", "use 1 to 1000000 requests a minute, or 0 for the server's", "the rate is out of range")
	}
	return nil
}

// Admits tells whether the client may call from an address.
func (c APIClient) Admits(from netip.Addr) bool {
	return len(c.Networks) == 0 || slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
}

// Key is a long-lived secret of a client, as it may be shown.
type Key struct {
	ID          string       `json:"id" doc:"also the visible part of the key"`
	Client      string       `json:"client"`
	Note        string       `json:"note,omitempty"`
	Permissions []Permission `json:"permissions,omitempty" doc:"of the client's, these only; absent: all of them"`
	CreatedAt   time.Time    `json:"created_at"`
	CreatedBy   string       `json:"created_by" doc:"kind:id"`
	ExpiresAt   time.Time    `json:"expires_at"`
	UsedDay     string       `json:"used,omitempty" doc:"the last day it was used on"`
	RevokedAt   time.Time    `json:"revoked_at,omitzero"`
}

// MaxKeyLife bounds the life of a key.
const MaxKeyLife = 366 * 24 * time.Hour
