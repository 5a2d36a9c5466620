package adminapi

import (
	"context"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Unused is a permission that was given and not used.
type Unused struct {
	Kind       access.SubjectKind `json:"kind" enum:"person,client"`
	Subject    string             `json:"subject"`
	Permission access.Permission  `json:"permission"`
	Roles      []string           `json:"roles" doc:"that give it"`
	LastUsed   string             `json:"last_used,omitempty" doc:"day; absent: never"`
	Since      time.Time          `json:"since" doc:"when the oldest of these roles was given"`
}

// GrantInput gives a role.
type GrantInput struct {
	Kind      access.SubjectKind `json:"kind" enum:"person,client"`
	Subject   string             `json:"subject" maxLength:"64" doc:"id of the person or client"`
	Role      string             `json:"role" maxLength:"63"`
	Scope     access.Scope       `json:"scope,omitzero"`
	Reason    string             `json:"reason" maxLength:"1024" doc:"why, for the audit log and for a second person"`
	ExpiresAt time.Time          `json:"expires_at,omitzero"`
}

// RoleInput describes a custom role.
type RoleInput struct {
	Description string              `json:"description,omitempty" maxLength:"256"`
	Permissions []access.Permission `json:"permissions" maxItems:"100"`
}

// Roles manages roles and who has them.
type Roles interface {
	Roles(ctx context.Context) ([]access.Role, error)
	CreateRole(ctx context.Context, by access.Actor, r access.Role) (access.Role, error)
	UpdateRole(ctx context.Context, by access.Actor, r access.Role) (access.Role, error)
	DeleteRole(ctx context.Context, by access.Actor, name string) error
	Grants(ctx context.Context, kind access.SubjectKind, subject string) ([]access.Grant, error) // empty: all
	Grant(ctx context.Context, by access.Actor, g GrantInput) (access.Grant, error)
	RevokeGrant(ctx context.Context, by access.Actor, id, reason string) error
	Unused(ctx context.Context, days int) ([]Unused, error)
}

// ClientInput describes an API client.
type ClientInput struct {
	Description string         `json:"description,omitempty" maxLength:"256"`
	Owner       string         `json:"owner,omitempty" maxLength:"128" doc:"person or team answerable for it"`
	Networks    []netip.Prefix `json:"networks,omitempty" maxItems:"32" doc:"it may call from these only, as 192.0.2.0/24"`
	Rate        int            `json:"rate,omitempty" minimum:"0" maximum:"1000000" doc:"requests a minute; 0: the server's"`
	JWKS        string         `json:"jwks,omitempty" maxLength:"16384" doc:"public keys for private_key_jwt, a JSON Web Key Set"`
}

// KeyInput asks for a key of a client.
type KeyInput struct {
	Permissions []access.Permission `json:"permissions,omitempty" maxItems:"100" doc:"of the client's, these only; absent: all of them"`
	ValidFor    Duration            `json:"valid_for,omitempty" doc:"1m to 8784h; default 2160h"`
	Note        string              `json:"note,omitempty" maxLength:"256"`
}

// Clients manages programs that use the API. CreateKey and NewSecret return a
// secret once.
type Clients interface {
	Clients(ctx context.Context) ([]access.APIClient, error)
	Client(ctx context.Context, id string) (access.APIClient, []access.Key, error)
	CreateClient(ctx context.Context, by access.Actor, c access.APIClient) (access.APIClient, error)
	UpdateClient(ctx context.Context, by access.Actor, c access.APIClient) (access.APIClient, error)
	SetClientDisabled(ctx context.Context, by access.Actor, id string, disabled bool, reason string) (access.APIClient, error)
	CreateKey(ctx context.Context, by access.Actor, client string, in KeyInput) (access.Key, enroll.Secret, error)
	RevokeKey(ctx context.Context, by access.Actor, client, key string) error
	NewSecret(ctx context.Context, by access.Actor, client string) (enroll.Secret, error) // for client_secret_basic; ends the old one
	RemoveSecret(ctx context.Context, by access.Actor, client string) error
}
