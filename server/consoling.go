package server

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console"
	"github.com/holdfast-iot/holdfast/server/console/signin"
)

// consoleHandler serves the console. It reaches the fleet through api alone, in
// process, as the person who is signed in.
func (s *Server) consoleHandler(api http.Handler) (http.Handler, error) {
	seal, err := newSealer(s.kek, "console")
	if err != nil {
		return nil, err
	}
	return console.New(console.Config{
		People: s.people, Identity: s.consoleIdentity,
		API:       func(_ context.Context, id access.Identity) *adminapi.Client { return adminapi.As(api, id) },
		Providers: s.providers.list, Devices: commandLines{s}, Seal: seal.seal, Open: seal.open, Source: s.sourceOf, Now: s.now, Log: s.log.With("part", "console"),
		Closing: s.taps.Done(), Version: Version, Place: s.cfg.TrustDomain,
	})
}

// commandLines lets people decide about command lines that ask to be let in.
type commandLines struct{ s *Server }

// Pending implements signin.Devices.
func (c commandLines) Pending(ctx context.Context, by access.Identity, userCode string) (signin.DeviceRequest, error) {
	r, err := c.s.tokens.Pending(ctx, by, userCode)
	return signin.DeviceRequest{Code: r.Code, Client: r.Client, Source: addrText(r.Source), Agent: r.Agent, At: r.At, Until: r.Until, Scope: r.Scope}, err
}

// Approve implements signin.Devices.
func (c commandLines) Approve(ctx context.Context, by access.Identity, userCode string) error {
	return c.s.tokens.Approve(ctx, by, userCode)
}

// Deny implements signin.Devices.
func (c commandLines) Deny(ctx context.Context, by access.Identity, userCode string) error {
	return c.s.tokens.Deny(ctx, by, userCode)
}
