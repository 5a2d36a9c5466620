package device

import "github.com/holdfast-iot/holdfast/refusal"

// State is where a device stands in its life.
type State string

const (
	Registered  State = "registered"  // in the inventory, without a valid certificate
	Pending     State = "pending"     // asked to enrol, waits for an operator
	Enrolled    State = "enrolled"    // has a certificate, not yet seen using it
	Active      State = "active"      // has used its certificate
	Quarantined State = "quarantined" // certificates on hold, enrolment refused
	Retired     State = "retired"     // the end; its id is never used again
)

// States lists all states in the order of a device's life.
var States = []State{Registered, Pending, Enrolled, Active, Quarantined, Retired}

// ParseState accepts the names in States.
func ParseState(s string) (State, error) {
	for _, state := range States {
		if s == string(state) {
			return state, nil
		}
	}
	return "", refusal.New(refusal.Invalid, "bad-state", "use registered, pending, enrolled, active, quarantined or retired", "%q is not a device state", clip(s))
}

// Move is what can happen to a device.
type Move string

const (
	Wait       Move = "wait"       // enrolment was asked for and needs approval
	Reject     Move = "reject"     // an operator refused the waiting enrolment
	Enrol      Move = "enrol"      // a certificate was issued
	Activate   Move = "activate"   // it authenticated with that certificate
	Quarantine Move = "quarantine" // an operator or a response cut it off, reversibly
	Release    Move = "release"    // back from quarantine with its certificates
	Revoke     Move = "revoke"     // all its certificates were revoked
	Retire     Move = "retire"     // taken out of service for good
)

// moves is the whole state machine: what is not here is refused.
var moves = map[State]map[Move]State{
	Registered:  {Wait: Pending, Enrol: Enrolled, Quarantine: Quarantined, Revoke: Registered, Retire: Retired},
	Pending:     {Wait: Pending, Reject: Registered, Enrol: Enrolled, Quarantine: Quarantined, Revoke: Registered, Retire: Retired},
	Enrolled:    {Enrol: Enrolled, Activate: Active, Quarantine: Quarantined, Revoke: Registered, Retire: Retired},
	Active:      {Enrol: Active, Activate: Active, Quarantine: Quarantined, Revoke: Registered, Retire: Retired},
	Quarantined: {Release: Enrolled, Revoke: Quarantined, Retire: Retired},
	Retired:     {},
}

// Next is the state after a move, or a Conflict refusal when the move is not
// legal from s. Releasing a device that has no valid certificate (certified is
// false) leads to Registered.
func Next(s State, m Move, certified bool) (State, error) {
	next, ok := moves[s][m]
	if !ok {
		return s, refusal.New(refusal.Conflict, "illegal-transition", fixFor(s), "a device that is %s cannot %s", s, verb[m])
	}
	if m == Release && !certified {
		return Registered, nil
	}
	return next, nil
}

var verb = map[Move]string{
	Wait: "wait for approval", Reject: "be rejected", Enrol: "be enrolled", Activate: "become active",
	Quarantine: "be quarantined", Release: "be released", Revoke: "have its certificates revoked", Retire: "be retired",
}

func fixFor(s State) string {
	switch s {
	case Quarantined:
		return "release it from quarantine first"
	case Retired:
		return "register a new device: a retired id is not used again"
	default:
		return "look at its state with `holdfast device show`"
	}
}
