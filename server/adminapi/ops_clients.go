package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

type clientName struct {
	ID string `path:"id" maxLength:"64" example:"c4k2m9qd7xna3bfe"`
}

type clientPost struct {
	Body struct {
		Name string `json:"name" maxLength:"63"`
		ClientInput
	}
}

type clientPut struct {
	ID   string `path:"id" maxLength:"64" example:"c4k2m9qd7xna3bfe"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		ClientInput
	}
}

type clientCreate struct {
	Name string `json:"name"`
	ClientInput
}

type clientUpdate struct {
	Version int64 `json:"version"`
	ClientInput
}

type clientMove struct {
	ID   string `path:"id" maxLength:"64" example:"c4k2m9qd7xna3bfe"`
	Body reasoned
}

type keyPost struct {
	ID   string `path:"id" maxLength:"64" example:"c4k2m9qd7xna3bfe"`
	Body KeyInput
}

type keyName struct {
	ID  string `path:"id" maxLength:"64" example:"c4k2m9qd7xna3bfe"`
	Key string `path:"key" maxLength:"64" example:"q7mzk3a2bfxe9hgt"`
}

// ClientDetails is a client with its keys.
type ClientDetails struct {
	access.APIClient
	Keys []access.Key `json:"keys"`
}

// CreatedKey is a new key; the secret is shown this once.
type CreatedKey struct {
	Key    access.Key `json:"key"`
	Secret string     `json:"secret" doc:"the bearer token; it is never shown again"`
}

// ClientSecret is a new client secret, shown this once.
type ClientSecret struct {
	ClientID string `json:"client_id"`
	Secret   string `json:"secret" doc:"for the token endpoint; it is never shown again"`
}

func (in ClientInput) noun() access.APIClient {
	return access.APIClient{Description: in.Description, Owner: in.Owner, Networks: in.Networks, Rate: in.Rate, JWKS: in.JWKS}
}

func (a *api) clientOperations() {
	const tag = "clients"
	register(a, operation{id: "list-clients", allow: access.ClientRead, method: http.MethodGet, path: "/clients", tag: tag, summary: "List API clients",
		description: "Programs that use this API, by name.", response: list[access.APIClient]{[]access.APIClient{exampleClient}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[access.APIClient]], error) {
			clients, err := a.cfg.Clients.Clients(ctx)
			return &body[list[access.APIClient]]{list[access.APIClient]{present(clients)}}, err
		})
	register(a, operation{id: "create-client", allow: access.ClientWrite, fresh: true, second: access.CreateClients, method: http.MethodPost, path: "/clients", tag: tag, status: http.StatusCreated, summary: "Create an API client",
		description: "It may do nothing until it has a role, and cannot call until it has a key, a client secret or a public key.",
		request:     clientCreate{exampleClient.Name, exampleClientInput}, response: exampleClient},
		func(ctx context.Context, by access.Actor, in *clientPost) (*body[access.APIClient], error) {
			c := in.Body.ClientInput.noun()
			c.Name = in.Body.Name
			if err := c.Validate(); err != nil {
				return nil, err
			}
			c, err := a.cfg.Clients.CreateClient(ctx, by, c)
			return &body[access.APIClient]{c}, err
		})
	register(a, operation{id: "show-client", allow: access.ClientRead, method: http.MethodGet, path: "/clients/{id}", tag: tag, summary: "Show an API client",
		description: "One client with its keys, without their secrets.", response: ClientDetails{exampleClient, []access.Key{exampleKey}}},
		func(ctx context.Context, _ access.Actor, in *clientName) (*body[ClientDetails], error) {
			c, keys, err := a.cfg.Clients.Client(ctx, in.ID)
			return &body[ClientDetails]{ClientDetails{c, present(keys)}}, err
		})
	register(a, operation{id: "update-client", allow: access.ClientWrite, fresh: true, method: http.MethodPut, path: "/clients/{id}", tag: tag, summary: "Update an API client",
		description: "Writes every field but the name: one left out is emptied.", request: clientUpdate{1, exampleClientInput}, response: exampleClient},
		func(ctx context.Context, by access.Actor, in *clientPut) (*body[access.APIClient], error) {
			old, _, err := a.cfg.Clients.Client(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			c := in.Body.ClientInput.noun()
			c.ID, c.Name, c.Version = in.ID, old.Name, in.Body.Version
			if err := c.Validate(); err != nil {
				return nil, err
			}
			c, err = a.cfg.Clients.UpdateClient(ctx, by, c)
			return &body[access.APIClient]{c}, err
		})
	for _, v := range []struct {
		verb, summary, description string
		off                        bool
	}{
		{"disable", "Disable an API client", "Its keys and tokens are refused at once.", true},
		{"enable", "Enable an API client", "Its keys and tokens that have not expired count again.", false},
	} {
		register(a, operation{id: v.verb + "-client", allow: access.ClientWrite, fresh: !v.off, method: http.MethodPost, path: "/clients/{id}/" + v.verb, tag: tag, summary: v.summary,
			description: v.description, request: reasoned{"key found in a public repository"}, response: exampleClient},
			func(ctx context.Context, by access.Actor, in *clientMove) (*body[access.APIClient], error) {
				c, err := a.cfg.Clients.SetClientDisabled(ctx, by, in.ID, v.off, in.Body.Reason)
				return &body[access.APIClient]{c}, err
			})
	}
	a.keyOperations()
}

// defaultKeyLife is how long a key lives when nothing is said.
const defaultKeyLife = 90 * 24 * time.Hour

func (a *api) keyOperations() {
	const tag = "clients"
	register(a, operation{id: "create-key", allow: access.ClientWrite, fresh: true, method: http.MethodPost, path: "/clients/{id}/keys", tag: tag, status: http.StatusCreated, summary: "Create a key for an API client",
		description: "A bearer token. The answer is the only place that its secret is ever shown in.",
		request:     KeyInput{Permissions: []access.Permission{access.DeviceRead}, ValidFor: Duration(defaultKeyLife), Note: "inventory export"}, response: CreatedKey{exampleKey, "hfk_q7mzk3a2bfxe9hgt_..."}},
		func(ctx context.Context, by access.Actor, in *keyPost) (*body[CreatedKey], error) {
			if in.Body.ValidFor == 0 {
				in.Body.ValidFor = Duration(defaultKeyLife)
			}
			if d := time.Duration(in.Body.ValidFor); d < time.Minute || d > access.MaxKeyLife {
				return nil, refusal.New(refusal.Invalid, "bad-expiry", "use 1m to 8784h", "a key cannot be valid for %s", d)
			}
			k, secret, err := a.cfg.Clients.CreateKey(ctx, by, in.ID, in.Body)
			if err != nil {
				return nil, err
			}
			return &body[CreatedKey]{CreatedKey{k, secret.Reveal()}}, nil
		})
	register(a, operation{id: "revoke-key", allow: access.ClientWrite, method: http.MethodDelete, path: "/clients/{id}/keys/{key}", tag: tag, status: http.StatusNoContent, summary: "Revoke a key",
		description: "It is refused at once, on every node within a second."},
		func(ctx context.Context, by access.Actor, in *keyName) (*none, error) {
			return nil, a.cfg.Clients.RevokeKey(ctx, by, in.ID, in.Key)
		})
	register(a, operation{id: "create-client-secret", allow: access.ClientWrite, fresh: true, method: http.MethodPost, path: "/clients/{id}/secret", tag: tag, status: http.StatusCreated, summary: "Create a client secret",
		description: "For OAuth 2.0 client credentials at /oauth/token. The one before ends. The request has no body.", response: ClientSecret{exampleClient.ID, "hfc_..."}},
		func(ctx context.Context, by access.Actor, in *clientName) (*body[ClientSecret], error) {
			secret, err := a.cfg.Clients.NewSecret(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			return &body[ClientSecret]{ClientSecret{in.ID, secret.Reveal()}}, nil
		})
	register(a, operation{id: "delete-client-secret", allow: access.ClientWrite, method: http.MethodDelete, path: "/clients/{id}/secret", tag: tag, status: http.StatusNoContent, summary: "Remove a client secret",
		description: "The client cannot use it any more; access tokens that it got live for some minutes, unless the client is disabled."},
		func(ctx context.Context, by access.Actor, in *clientName) (*none, error) {
			return nil, a.cfg.Clients.RemoveSecret(ctx, by, in.ID)
		})
}
