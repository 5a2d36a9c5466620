// Package access knows who acts: people, API clients, devices and Holdfast's own
// parts.
//
// It says what there is to permit, what roles give, who has to agree to what, and
// when a sign-in ends.
//
// It promises that an Actor names one party and never holds a credential, and
// that rights which nothing gave are not there. It
// trusts the edge that made the Actor to have proven it first; whoever could
// write an Actor without that proof could act in another's name, so only the
// listeners' authentication code makes them.
package access

// Kind is the class of an actor.
type Kind string

const (
	// System is a part of Holdfast acting by itself: a loop, or the first start.
	System Kind = "system"
	// Human is a person who signed in.
	Human Kind = "person"
	// Client is an API client, or whoever presented the admin token.
	Client Kind = "client"
	// Device is a device or gateway that proved its certificate or a token.
	Device Kind = "device"
	// App is a program that proved its certificate or a token.
	App Kind = "app"
	// Anonymous is a party that presented nothing.
	Anonymous Kind = "anonymous"
)

// Actor is who asks for an action. It is an argument of every use case, so that
// no change can be made in nobody's name.
type Actor struct {
	Kind   Kind
	ID     string // PersonID, client id, device id or component name
	Source string // network address it came from, empty for System
}

// Component is a part of Holdfast as an actor: Component("sequencer").
func Component(name string) Actor { return Actor{Kind: System, ID: name} }

// String is "kind:id".
func (a Actor) String() string { return string(a.Kind) + ":" + a.ID }
