package adminapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

// What the inputs of operations are about, for scopes.

func (in *deviceName) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutDevice(ctx, in.ID)
}

func (in *deviceMove) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutDevice(ctx, in.ID)
}

func (in *deviceMaintenance) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutDevice(ctx, in.ID)
}

func (in *devicePost) proposed() (access.Object, string, string) {
	return access.Object{Zone: in.Body.Zone, Type: in.Body.Type, Labels: in.Body.Labels}, "device", string(in.Body.ID)
}

// A device is looked at as it is and as it shall be: nobody moves one out of what
// they may touch, or into it.
func (in *devicePut) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutDevice(ctx, in.ID)
}

func (in *devicePut) proposed() (access.Object, string, string) {
	return access.Object{Zone: in.Body.Zone, Type: in.Body.Type, Labels: in.Body.Labels}, "device", string(in.ID)
}

// objects are the device that a token is made for, where there is one: the token
// lets it enrol anew, with whatever key.
func (in *tokenPost) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	if in.Body.DeviceID == "" {
		return nil, "", "", nil
	}
	d, err := a.cfg.Devices.Device(ctx, in.Body.DeviceID)
	if r := refusal.As(err); r != nil && r.Kind == refusal.NotFound {
		return nil, "", "", nil
	}
	return []access.Object{deviceObject(d)}, "device", string(in.Body.DeviceID), err
}

// What a token lets in has the labels of devices that it adds. One for any name
// also lets in devices that are registered with other labels, so that a part of
// the fleet chosen by labels cannot hold such a token.
func (in *tokenPost) proposed() (access.Object, string, string) {
	o := access.Object{Zone: in.Body.Zone, Type: in.Body.Type}
	if in.Body.DeviceID != "" {
		o.Labels = in.Body.Labels
	}
	return o, "a device of zone", string(in.Body.Zone)
}

func tokenObject(t enroll.Token) access.Object {
	return access.Object{Zone: t.Zone, Type: t.Type, Labels: t.Labels}
}

func (in *tokenName) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	tokens, err := a.cfg.Enrolment.Tokens(ctx)
	i := slices.IndexFunc(tokens, func(t enroll.Token) bool { return t.ID == in.ID })
	if err == nil && i < 0 {
		err = access.OutOfScope("token", in.ID)
	}
	if err != nil {
		return nil, "", "", err
	}
	return []access.Object{tokenObject(tokens[i])}, "token", in.ID, nil
}

func waitingObject(w enroll.Waiting) access.Object { return access.Object{Zone: w.Zone, Type: w.Type} }

func (in *waitingMove) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	waiting, err := a.cfg.Enrolment.Waiting(ctx)
	i := slices.IndexFunc(waiting, func(w enroll.Waiting) bool { return w.ID == in.ID })
	if err == nil && i < 0 {
		err = access.OutOfScope("waiting", in.ID)
	}
	if err != nil {
		return nil, "", "", err
	}
	return []access.Object{waitingObject(waiting[i])}, "waiting", in.ID, nil
}

func (in *certificateName) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutCertificate(ctx, in.Serial)
}

func (in *certificateRevoke) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutCertificate(ctx, in.Serial)
}

// aboutCertificate is the device of a certificate; those of apps and servers are
// in no scope but the whole fleet.
func (a *api) aboutCertificate(ctx context.Context, serial string) ([]access.Object, string, string, error) {
	c, err := a.cfg.Certificates.Certificate(ctx, serial)
	object := access.Object{}
	if err == nil {
		object, err = a.principalObject(ctx, c.Profile, c.Principal)
	}
	return []access.Object{object}, "certificate", serial, hidden(err, "certificate", serial)
}

func (a *api) principalObject(ctx context.Context, profile, id string) (access.Object, error) {
	if profile != "device" && profile != "gateway" {
		return access.Object{}, nil
	}
	return a.objectOf(ctx, device.ID(id))
}

func (in *sessionName) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutSession(ctx, in.ClientID)
}

func (in *sessionClose) objects(ctx context.Context, a *api) ([]access.Object, string, string, error) {
	return a.aboutSession(ctx, in.ClientID)
}

func (a *api) aboutSession(ctx context.Context, client string) ([]access.Object, string, string, error) {
	s, err := a.cfg.Sessions.Session(ctx, client)
	object := access.Object{}
	if err == nil {
		object, err = a.principalObject(ctx, s.Kind, s.ID)
	}
	return []access.Object{object}, "session", client, hidden(err, "session", client)
}

// hidden makes the answer about what does not exist the one about what is out of
// scope, so that the two cannot be told apart.
func hidden(err error, what, name string) error {
	if r := refusal.As(err); r != nil && r.Kind == refusal.NotFound {
		return access.OutOfScope(what, name)
	}
	return err
}

// narrow adds to a filter what all of the caller's scopes have in common, so that
// the store reads less; inScope still looks at each device.
func (a *api) narrow(ctx context.Context, p access.Permission, f device.Filter) device.Filter {
	id, err := identity(ctx)
	if err != nil {
		return f
	}
	scopes, all := id.Rights.Scopes(p, a.now())
	if all || len(scopes) != 1 {
		return f
	}
	if s := scopes[0]; len(s.Zones) == 1 && f.Zone == "" {
		f.Zone = s.Zones[0]
	}
	if s := scopes[0]; len(s.Types) == 1 && f.Type == "" {
		f.Type = s.Types[0]
	}
	return f
}

// principalsInScope filters a list of things that belong to principals.
func principalsInScope[T any](ctx context.Context, a *api, p access.Permission, list []T, of func(T) (kind, id string)) ([]T, error) {
	id, err := identity(ctx)
	if err != nil || id.Rights.Everywhere(p, a.now()) {
		return list, err
	}
	known := map[string]bool{}
	kept := make([]T, 0, len(list))
	for _, v := range list {
		kind, name := of(v)
		in, seen := known[kind+"/"+name]
		if !seen {
			o, err := a.principalObject(ctx, kind, name)
			if err != nil {
				return nil, err
			}
			in = id.Rights.Covers(p, o, a.now())
			known[kind+"/"+name] = in
		}
		if in {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

// scopeMemory is how long a tap remembers whether a sender is in scope.
const scopeMemory = 10 * time.Second

// tapScope tells of each sender whether the tap's reader asked for its messages
// and may see them. What cannot be looked up is not shown.
func (a *api) tapScope(ctx context.Context, by *prover, p access.Permission, want *tapQuery) func(TapFrom) bool {
	known, read := map[string]bool{}, a.now()
	return func(from TapFrom) bool {
		if want.From != "" && want.From != from.Kind+":"+from.ID || want.Type != "" && want.Type != from.Type {
			return false
		}
		id := by.id.Load()
		if want.Zone == "" && id.Rights.Everywhere(p, a.now()) {
			return true
		}
		if a.now().Sub(read) > scopeMemory {
			known, read = map[string]bool{}, a.now()
		}
		in, seen := known[from.Kind+"/"+from.ID]
		if !seen {
			o, err := a.principalObject(ctx, from.Kind, from.ID)
			in = err == nil && (want.Zone == "" || want.Zone == string(o.Zone)) && id.Rights.Covers(p, o, a.now())
			known[from.Kind+"/"+from.ID] = in
		}
		return in
	}
}

// visibleEffects leaves out the sessions of devices that the caller may not see.
func visibleEffects(ctx context.Context, a *api, list []PolicyEffect, err error) ([]PolicyEffect, error) {
	if err != nil {
		return list, err
	}
	return principalsInScope(ctx, a, access.DeviceRead, list, func(e PolicyEffect) (string, string) { return e.Kind, e.ID })
}

// mayAskAbout refuses a question about a device that the caller may not see: its
// answer would tell its zone, type and state.
func (a *api) mayAskAbout(ctx context.Context, as string) error {
	kind, name, _ := strings.Cut(as, ":")
	id, err := identity(ctx)
	if err != nil || kind != "device" && kind != "gateway" || id.Rights.Everywhere(access.DeviceRead, a.now()) {
		return err
	}
	o, err := a.objectOf(ctx, device.ID(name))
	if err != nil {
		return err
	}
	return a.covers(id, access.DeviceRead, o, "device", name)
}

func (in *deviceMove) reason() string        { return in.Body.Reason }
func (in *certificateRevoke) reason() string { return in.Body.Reason }
func (in *typeStage) reason() string         { return in.Body.Reason }

// reason of a policy is its message.
func (in *policyApply) reason() string { return in.Body.Message }

// exempt tells that only the last stage needs a second person.
func (in *typeStage) exempt(context.Context, *api) (bool, error) {
	return in.Body.Stage != device.Decommission, nil
}

// exempt tells that a policy needs no second person while no zone is in production.
func (in *policyApply) exempt(ctx context.Context, a *api) (bool, error) {
	zones, err := a.cfg.Zones.Zones(ctx)
	return !slices.ContainsFunc(zones, func(z device.Zone) bool { return z.Production }), err
}
