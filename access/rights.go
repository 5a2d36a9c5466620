package access

import (
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Right is a permission for a part of the fleet, until a time.
type Right struct {
	Permission Permission
	Scope      Scope
	Until      time.Time // zero: no end
}

// Rights are what a party may do. The zero value may do nothing but Own.
type Rights struct {
	root bool
	list map[Permission][]Right
}

// Root may do everything: the token of the data folder.
func Root() Rights { return Rights{root: true} }

// Resolve makes the rights that grants give. A role that does not exist gives
// nothing; neither does a permission that cannot be scoped in a grant with a
// scope. only, when not nil, keeps these permissions alone: the scope of a token.
func Resolve(grants []Grant, roles func(name string) (Role, bool), only []Permission, now time.Time) Rights {
	r := Rights{list: map[Permission][]Right{}}
	for _, g := range grants {
		role, ok := roles(g.Role)
		if !ok || !g.Live(now) {
			continue
		}
		for _, p := range role.Permissions {
			if !p.Known() || !g.Scope.All() && !p.Info().Scoped && p.Info().Effect != Read || only != nil && !slices.Contains(only, p) {
				continue
			}
			scope := g.Scope
			if !p.Info().Scoped {
				scope = Scope{}
			}
			r.list[p] = append(r.list[p], Right{p, scope, g.ExpiresAt})
		}
	}
	return r
}

// IsRoot tells whether these are the rights of Root.
func (r Rights) IsRoot() bool { return r.root }

// Has tells whether the permission is held for any part of the fleet.
func (r Rights) Has(p Permission, now time.Time) bool {
	return r.root || p == Own || slices.ContainsFunc(r.list[p], func(x Right) bool { return x.live(now) })
}

// Covers tells whether the permission is held for the object.
func (r Rights) Covers(p Permission, o Object, now time.Time) bool {
	return r.root || p == Own || slices.ContainsFunc(r.list[p], func(x Right) bool { return x.live(now) && x.Scope.Covers(o) })
}

// Everywhere tells whether the permission is held for the whole fleet.
func (r Rights) Everywhere(p Permission, now time.Time) bool {
	return r.root || p == Own || slices.ContainsFunc(r.list[p], func(x Right) bool { return x.live(now) && x.Scope.All() })
}

// Scopes lists the parts of the fleet that the permission is held for; all is
// true when that is everything.
func (r Rights) Scopes(p Permission, now time.Time) (scopes []Scope, all bool) {
	if r.Everywhere(p, now) {
		return nil, true
	}
	for _, x := range r.list[p] {
		if x.live(now) {
			scopes = append(scopes, x.Scope)
		}
	}
	return scopes, false
}

// Privileged tells whether any right needs a second factor.
func (r Rights) Privileged(now time.Time) bool {
	if r.root {
		return true
	}
	for p, list := range r.list {
		if p.Privileged() && slices.ContainsFunc(list, func(x Right) bool { return x.live(now) }) {
			return true
		}
	}
	return false
}

// Held lists the permissions held for any part of the fleet, in their order.
func (r Rights) Held(now time.Time) []Permission {
	var held []Permission
	for _, p := range permissions {
		if r.Has(p.Permission, now) {
			held = append(held, p.Permission)
		}
	}
	return held
}

func (x Right) live(now time.Time) bool { return x.Until.IsZero() || now.Before(x.Until) }

// Denied is the refusal of something that nobody gave the right to.
func Denied(p Permission) error {
	return refusal.New(refusal.Forbidden, "not-permitted", "ask an administrator for a role that has it", "this needs the permission %s: you may not %s", p, p.Info().Meaning)
}

// OutOfScope is the refusal for an object that the party may not know of: it is
// the same as for one that does not exist.
func OutOfScope(what, name string) error {
	return refusal.New(refusal.NotFound, "no-such-"+what, "list them to find its name", "there is no %s %.64q", what, name)
}
