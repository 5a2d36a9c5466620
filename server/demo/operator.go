package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	who          = "operator"
	demoValidity = 30 * time.Minute // so that renewals can be watched
	tokenLife    = 15 * time.Minute
)

// conflict tells that something exists already or moved on since an earlier run.
func conflict(err error) bool {
	p, ok := errors.AsType[*adminapi.Problem](err)
	return ok && p.Status == http.StatusConflict
}

// makePlaces creates zones and types and moves types to their stage. What is
// there already keeps what operators made of it.
func (s *stage) makePlaces(ctx context.Context) error {
	var names []string
	made := 0
	for _, z := range s.fleet.zones {
		_, err := s.api.CreateZone(ctx, z.Name, z.ZoneInput)
		if err != nil && !conflict(err) {
			return fmt.Errorf("creating zone %s: %w", z.Name, err)
		}
		if err == nil {
			made++
		}
		if z.Production {
			names = append(names, string(z.Name)+" (production)")
		} else {
			names = append(names, string(z.Name))
		}
	}
	s.tale.line(who, "%s: %s%s", count(len(names), "zone"), strings.Join(names, ", "), madeBefore(made))
	made = 0
	var signed []string
	for i := range s.fleet.types {
		t := &s.fleet.types[i]
		fresh, err := s.makeType(ctx, t)
		if err != nil {
			return fmt.Errorf("creating type %s: %w", t.Name, err)
		}
		if fresh {
			made++
		}
		if t.SignOff != nil {
			signed = append(signed, string(t.Name))
		}
	}
	s.tale.line(who, "%s with certificates of %s%s", count(len(s.fleet.types), "device type"), demoValidity, madeBefore(made))
	s.tale.line(who, "security signed off %s: moved to deploy%s", strings.Join(signed, ", "), madeBefore(made))
	return nil
}

func madeBefore(made int) string {
	if made == 0 {
		return " (from an earlier run)"
	}
	return ""
}

func (s *stage) makeType(ctx context.Context, t *typeManifest) (fresh bool, err error) {
	in := t.TypeInput
	in.Validity = adminapi.Duration(demoValidity)
	start := device.Prototype
	if t.SignOff != nil {
		start = device.Develop
	}
	if _, err = s.api.CreateType(ctx, t.Name, start, in); err != nil && !conflict(err) {
		return false, err
	}
	fresh = err == nil
	now, err := s.api.Type(ctx, t.Name)
	// A type past develop was moved by an earlier run or by somebody else.
	if err != nil || t.SignOff == nil || now.Stage != device.Develop {
		return fresh, err
	}
	if !slices.ContainsFunc(now.SignOffs, func(o device.SignOff) bool { return o.Stage == t.Stage }) {
		if _, err = s.api.SignOff(ctx, t.Name, t.Stage, t.SignOff.Statement, t.SignOff.Evidence); err != nil {
			return fresh, err
		}
	}
	_, err = s.api.MoveType(ctx, t.Name, t.Stage, "signed off: "+t.SignOff.Evidence)
	if conflict(err) {
		err = nil // moved back on purpose: its old sign-off no longer counts
	}
	return fresh, err
}

// importDevices registers in one import all that does not register itself.
func (s *stage) importDevices(ctx context.Context) error {
	var missing []device.Device
	for i := range s.fleet.devices {
		d := &s.fleet.devices[i]
		if s.fleet.kind(d).Enrolment == byGroupToken {
			continue
		}
		_, err := s.api.Device(ctx, d.ID)
		if p, ok := errors.AsType[*adminapi.Problem](err); ok && p.Status == http.StatusNotFound {
			missing = append(missing, *d)
		} else if err != nil {
			return fmt.Errorf("looking for device %s: %w", d.ID, err)
		}
	}
	if len(missing) == 0 {
		s.tale.line(who, "the inventory has its devices%s", madeBefore(0))
		return nil
	}
	var csv bytes.Buffer
	err := device.WriteCSV(&csv, func(yield func(device.Device, error) bool) {
		for _, d := range missing {
			if !yield(d, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	n, err := s.api.ImportDevices(ctx, &csv, "text/csv", nil)
	switch {
	case unreachableImport(err):
		return fmt.Errorf("importing devices.csv: %w", err)
	case err != nil:
		s.tale.line(who, "importing devices was refused: %v", err)
	default:
		s.tale.line(who, "imported %s from devices.csv", count(n, "device"))
	}
	return nil
}

// unreachableImport counts refused rows as an answer.
func unreachableImport(err error) bool {
	_, rows := errors.AsType[*adminapi.ImportError](err)
	return !rows && unreachable(err)
}

// trustMaker adds the manufacturer's CA to the types that enrol with it.
func (s *stage) trustMaker(ctx context.Context) error {
	var names []string
	for _, t := range s.fleet.types {
		if t.Enrolment != byIDevID {
			continue
		}
		have, err := s.api.Anchors(ctx, t.Name)
		if err != nil {
			return fmt.Errorf("listing the anchors of type %s: %w", t.Name, err)
		}
		names = append(names, string(t.Name))
		if slices.ContainsFunc(have, func(a adminapi.Anchor) bool { return a.ID == s.maker.id() }) {
			continue
		}
		if _, err := s.api.AddAnchors(ctx, t.Name, s.maker.pem()); err != nil && !conflict(err) {
			return fmt.Errorf("trusting the manufacturer for type %s: %w", t.Name, err)
		}
	}
	s.tale.line(who, "trusts the manufacturer %s for %s", makerName, strings.Join(names, " and "))
	return nil
}

// tokenUse is what a token is for.
type tokenUse struct {
	zone   device.ZoneName // group tokens
	device device.ID       // one-time tokens
}

// madeToken is a token of this run; the secret is never written down.
type madeToken struct {
	id     string
	secret enroll.Secret
}

// makeTokens makes what the devices that have to enrol need: a group token for
// each zone of sensors, a one-time token for each other device.
func (s *stage) makeTokens(ctx context.Context) error {
	for _, t := range s.things {
		if !t.mustEnrol() {
			continue
		}
		switch t.kind.Enrolment {
		case byGroupToken:
			use := tokenUse{zone: t.row.Zone}
			if _, tried := s.tokens[use]; tried {
				continue
			}
			if err := s.makeToken(ctx, use, adminapi.TokenInput{Kind: enroll.Group, Type: t.row.Type, Zone: t.row.Zone, IDPrefix: "level-",
				Quota: 20, Labels: map[string]string{"fleet": "riverside"}, Note: "a box of level sensors"}); err != nil {
				return err
			}
		case byOneTime, byApproval:
			if err := s.oneTimeToken(ctx, t); err != nil {
				return err
			}
		}
	}
	groups, singles := 0, 0
	for use, made := range s.tokens {
		if made != nil && use.zone != "" {
			groups++
		} else if made != nil {
			singles++
		}
	}
	if groups+singles > 0 {
		s.tale.line(who, "made %s for sensors and %s, good for %s", count(groups, "group token"), count(singles, "one-time token"), tokenLife)
	}
	return nil
}

func (s *stage) oneTimeToken(ctx context.Context, t *thing) error {
	return s.makeToken(ctx, tokenUse{device: t.row.ID}, adminapi.TokenInput{Kind: enroll.OneTime, Type: t.row.Type, Zone: t.row.Zone,
		DeviceID: t.row.ID, Note: "installation of " + string(t.row.ID)})
}

// makeToken keeps the token's secret in memory. A refusal (somebody changed the
// type or the zone) leaves its devices without one, and they say so.
func (s *stage) makeToken(ctx context.Context, use tokenUse, in adminapi.TokenInput) error {
	in.ExpiresAt = s.now().Add(tokenLife)
	t, secret, err := s.api.CreateToken(ctx, in)
	if err != nil {
		if unreachable(err) {
			return fmt.Errorf("making a token: %w", err)
		}
		s.tokens[use] = nil
		s.tale.line(who, "making a token for type %s in %s was refused: %v", in.Type, in.Zone, err)
		return nil
	}
	s.tokens[use] = &madeToken{id: t.ID, secret: secret}
	return nil
}

// endTokens revokes the group tokens, whose quota is not used up.
func (s *stage) endTokens(ctx context.Context) error {
	n := 0
	for use, t := range s.tokens {
		if use.zone == "" || t == nil {
			continue
		}
		if err := s.api.RevokeToken(ctx, t.id); unreachable(err) {
			return fmt.Errorf("revoking a token: %w", err)
		}
		n++
	}
	if n > 0 {
		s.tale.line(who, "revoked %s: the box is empty", count(n, "group token"))
	}
	return nil
}
