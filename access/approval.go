package access

import (
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Action is a named action that may need two people.
type Action string

// The named actions.
const (
	RevokeMany    Action = "revoke-many"   // revoke, quarantine or release more than ManyDevices within ManyWindow
	RetireDevice  Action = "retire"        // end the life of a device
	ApplyPolicy   Action = "policy-apply"  // a policy comes into force where a zone is in production
	ChangeCA      Action = "ca"            // rotate an authority, trust a manufacturer
	GiveRole      Action = "role-grant"    // give a role, or change one
	Decommission  Action = "decommission"  // move a device type to its last stage
	CreateClients Action = "client-create" // give a program access
)

// ManyDevices is how many devices a party may revoke, quarantine or release,
// together or one by one, in a ManyWindow that begins with the first, without a
// second person.
const (
	ManyDevices = 10
	ManyWindow  = time.Hour
)

// Actions lists them with what they are, for people.
func Actions() map[Action]string {
	return map[Action]string{
		RevokeMany: "revoke, quarantine or release many devices within an hour", RetireDevice: "retire a device", ApplyPolicy: "put a policy into force while a zone is in production",
		ChangeCA: "replace an authority or trust a manufacturer", GiveRole: "give or change a role", Decommission: "decommission a device type", CreateClients: "give a program access",
	}
}

// TwoPerson says when named actions need a second person.
type TwoPerson string

const (
	// WhenPossible asks for a second person as soon as there are two who may
	// decide: a founder alone can begin, a team cannot skip it.
	WhenPossible TwoPerson = "when-possible"
	// Always asks even when nobody could answer.
	Always TwoPerson = "always"
	// Never asks for none.
	Never TwoPerson = "never"
)

// ApprovalState is how a request stands.
type ApprovalState string

// The states of an approval. Waiting ends in one of rejected, withdrawn, expired
// or approved; approved ends in done or failed, and one that stays approved was
// interrupted while it was carried out.
const (
	ApprovalWaiting   ApprovalState = "waiting"
	ApprovalApproved  ApprovalState = "approved"
	ApprovalDone      ApprovalState = "done"
	ApprovalFailed    ApprovalState = "failed"
	ApprovalRejected  ApprovalState = "rejected"
	ApprovalWithdrawn ApprovalState = "withdrawn"
	ApprovalExpired   ApprovalState = "expired"
)

// Approval is a request that waits for a second person, with everything that is
// needed to carry it out.
type Approval struct {
	ID          string        `json:"id"`
	Action      Action        `json:"action"`
	Operation   string        `json:"operation" doc:"id of the API operation"`
	Summary     string        `json:"summary" doc:"what will happen, in a sentence"`
	Method      string        `json:"method"`
	Path        string        `json:"path" doc:"with query"`
	Body        []byte        `json:"body,omitempty" doc:"base64"`
	ContentType string        `json:"content_type,omitempty"`
	RequestedBy string        `json:"requested_by" doc:"kind:id"`
	RequestedAt time.Time     `json:"requested_at"`
	Reason      string        `json:"reason" doc:"why it is asked for"`
	ExpiresAt   time.Time     `json:"expires_at"`
	State       ApprovalState `json:"state" enum:"waiting,approved,done,failed,rejected,withdrawn,expired"`
	DecidedBy   string        `json:"decided_by,omitempty" doc:"kind:id"`
	DecidedAt   time.Time     `json:"decided_at,omitzero"`
	Comment     string        `json:"comment,omitempty" doc:"of who decided"`
	Outcome     string        `json:"outcome,omitempty" doc:"what came of carrying it out"`
}

// Decide says whether by may decide a request now, and returns it decided. Nobody
// decides their own; programs decide nothing.
func (a Approval) Decide(by Identity, approve bool, comment string, now time.Time) (Approval, error) {
	switch {
	case a.State != ApprovalWaiting:
		return a, refusal.New(refusal.Conflict, "already-decided", "nothing to do", "this request is %s", a.State)
	case !now.Before(a.ExpiresAt):
		return a, refusal.New(refusal.Conflict, "approval-expired", "let it be asked for again", "this request expired")
	case by.Proof.Program && !by.Rights.IsRoot():
		return a, refusal.New(refusal.Forbidden, "not-a-person", "sign in as a person", "requests are decided by people")
	case approve && by.Actor.String() == a.RequestedBy:
		return a, refusal.New(refusal.Forbidden, "own-request", "let somebody else look at it", "a request cannot be approved by who made it")
	case approve && by.Rights.IsRoot():
		return a, refusal.New(refusal.Forbidden, "not-a-person", "sign in as a person", "requests are approved by people, not with the admin token")
	case len(comment) > 1024:
		return a, refusal.New(refusal.Invalid, "bad-comment", "use at most 1024 bytes", "the comment is too long")
	}
	a.State = ApprovalRejected
	if approve {
		a.State = ApprovalApproved
	}
	a.DecidedBy, a.DecidedAt, a.Comment = by.Actor.String(), now, comment
	return a, nil
}

// Withdraw takes back one's own request.
func (a Approval) Withdraw(by Actor, now time.Time) (Approval, error) {
	if a.State != ApprovalWaiting || by.String() != a.RequestedBy {
		return a, refusal.New(refusal.Conflict, "cannot-withdraw", "nothing to do", "only who asked can withdraw a request, and only while it waits")
	}
	a.State, a.DecidedBy, a.DecidedAt = ApprovalWithdrawn, by.String(), now
	return a, nil
}

// Duty is a separation of duties: nobody shall hold both permissions.
type Duty struct{ A, B Permission }

// Conflict finds a duty that grants together break; ok is true when none does.
// admin is exempt: it holds everything, and two-person approval bounds it.
func Conflict(duties []Duty, grants []Grant, roles func(string) (Role, bool), now time.Time) (d Duty, ok bool) {
	held := map[Permission]bool{}
	for _, g := range grants {
		role, known := roles(g.Role)
		if !known || !g.Live(now) || role.Name == Admin {
			continue
		}
		for _, p := range role.Permissions {
			held[p] = true
		}
	}
	i := slices.IndexFunc(duties, func(d Duty) bool { return held[d.A] && held[d.B] })
	if i < 0 {
		return Duty{}, true
	}
	return duties[i], false
}
