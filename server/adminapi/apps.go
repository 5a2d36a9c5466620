package adminapi

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
)

// App is a program that uses the data: declared by a manifest, or left over with
// tokens that do nothing any more.
type App struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Audience    string `json:"audience,omitempty" doc:"what it sees of marked fields; empty: nothing of them"`
	Declared    bool   `json:"declared" doc:"the active policy has a manifest of it; without one it may do nothing"`
	Tokens      int    `json:"tokens" doc:"that can be used now"`
}

// AppToken is a token of an app, without its secret.
type AppToken struct {
	ID        string    `json:"id"`
	App       string    `json:"app"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at"`
	LastUsed  string    `json:"last_used,omitempty" doc:"the day in UTC, such as 2026-03-01"`
	Note      string    `json:"note,omitempty"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// AppTokenInput asks for a token.
type AppTokenInput struct {
	ValidFor Duration `json:"valid_for,omitempty" doc:"default 2160h, at most 8784h"`
	Note     string   `json:"note,omitempty" maxLength:"1024"`
}

// AppCertificateInput asks for an app's certificate.
type AppCertificateInput struct {
	CSR      string   `json:"csr" doc:"PKCS #10 as PEM"`
	Validity Duration `json:"validity,omitempty" doc:"default 2160h"`
}

// Apps manages what apps sign in with. An app has to be declared by the active
// policy before it gets anything.
type Apps interface {
	Apps(ctx context.Context) ([]App, error)
	AppTokens(ctx context.Context, app string) ([]AppToken, error)
	CreateAppToken(ctx context.Context, by access.Actor, app string, validFor time.Duration, note string) (AppToken, enroll.Secret, error)
	RevokeAppToken(ctx context.Context, by access.Actor, app, id string) error
	IssueAppCertificate(ctx context.Context, by access.Actor, app string, csr []byte, validity time.Duration) (Certificate, []string, error) // and the chain as PEM
}
