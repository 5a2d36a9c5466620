package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// The devices that the story tells of by name.
const (
	clonedID    = "level-plant-1"
	cloneName   = "level-plant-9"
	technicians = "pump-plant-2" // whose one-time token is tried again
	stolenID    = "level-intake-2"
)

// mustRefuse turns success into an error and a refusal into a line.
func (s *stage) mustRefuse(err error, what string) error {
	code := ""
	if p := problemOf(err); p != nil {
		code = p.Code
	} else if p, ok := errors.AsType[*adminapi.Problem](err); ok {
		code = p.Code
	}
	switch {
	case err == nil:
		return fmt.Errorf("trying what must be refused: %s: the server let it through", what)
	case code == "":
		return fmt.Errorf("trying what must be refused: %s: %w", what, err)
	}
	s.tale.line("refused", "%s: %s", what, code)
	return nil
}

// refuseClone lets a copied key try to become another device.
func (s *stage) refuseClone(ctx context.Context) error {
	t, err := s.thing(clonedID)
	if err != nil {
		return err
	}
	token := s.tokens[tokenUse{zone: t.row.Zone}]
	if token == nil || t.cert == nil {
		return nil // an earlier run has shown it; tokens are not kept
	}
	_, err = s.ask(ctx, t.row.Type, cloneName, t.key, nil, est.BearerCredential(token.secret.Reveal()))
	return s.mustRefuse(err, fmt.Sprintf("%s, a clone, shows the key of %s", cloneName, clonedID))
}

// refuseUsedToken lets somebody who copied a one-time token try it again.
func (s *stage) refuseUsedToken(ctx context.Context) error {
	t, err := s.thing(technicians)
	if err != nil {
		return err
	}
	token := s.tokens[tokenUse{device: t.row.ID}]
	if token == nil {
		return nil
	}
	list, err := s.api.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("listing tokens: %w", err)
	}
	for _, made := range list {
		if made.ID == token.id && made.Used < made.Quota {
			return nil // the device needed it only to get a lost answer again
		}
	}
	key, err := pki.P256.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, t.row.Type, string(t.row.ID), key, nil, est.BearerCredential(token.secret.Reveal()))
	return s.mustRefuse(err, fmt.Sprintf("the one-time token of %s, copied and used again", t.row.ID))
}

// refusePrototype tries to place a type without sign-off in production.
func (s *stage) refusePrototype(ctx context.Context) error {
	kind, zone := s.fleet.prototype(), s.fleet.production()
	t, err := s.api.Type(ctx, kind)
	if err != nil {
		return fmt.Errorf("looking at type %s: %w", kind, err)
	}
	z, err := s.api.Zone(ctx, zone)
	if err != nil {
		return fmt.Errorf("looking at zone %s: %w", zone, err)
	}
	if !t.Stage.BeforeDeploy() || !z.Production {
		return nil // somebody moved it on
	}
	_, err = s.api.CreateDevice(ctx, "leak-intake-1", adminapi.DeviceInput{Type: kind, Zone: zone})
	if p, ok := errors.AsType[*adminapi.Problem](err); ok && p.Status == http.StatusTooManyRequests {
		return nil
	}
	return s.mustRefuse(err, fmt.Sprintf("a %s, still a prototype, in production zone %s", kind, zone))
}
