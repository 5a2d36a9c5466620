package adminapi

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

// Watch tells how the fleet is and what passes. It knows nothing of callers: this
// package filters what each may see. Safe for concurrent use; the answers are
// shared and must not be changed.
type Watch interface {
	// Fleet is what the inventory counts, remembered for some seconds.
	Fleet(ctx context.Context) (*Fleet, error)
	// Flow is what passed all servers within the last 15m, 1h, 6h or 24h.
	Flow(ctx context.Context, window string) (*Flow, error)
	// Refused lists what the brokers of all servers stopped lately, newest first.
	Refused(ctx context.Context) ([]Refusal, error)
	// ZoneMap draws who can talk to whom under the active policy for a fleet, which
	// is asked for when the map of that view is not remembered.
	ZoneMap(ctx context.Context, view string, fleet func(context.Context) (reach.Fleet, error)) (*ZoneMap, error)
	// Household is what this installation's keeper should know, remembered for a
	// minute.
	Household(ctx context.Context) (*Household, error)
}

// Group is how many devices of a type stand in a zone in a state.
type Group struct {
	Zone    device.ZoneName
	Type    device.TypeName
	Profile string // device or gateway
	State   device.State
	Count   int64
}

// Fleet is what the inventory counts.
type Fleet struct {
	Groups []Group
	Week   []EndingGroup    // certificates that end within 7 days
	Month  []EndingGroup    // within 30 days, those of Week too
	Ending []CertificateEnd // those of Month that should have been renewed first
	Cut    bool             // Ending has only the first of Month
}

// EndingGroup is how many certificates of devices of a type in a zone end; those
// of apps and servers have neither.
type EndingGroup struct {
	Zone  device.ZoneName
	Type  device.TypeName
	Count int64
	Due   int64 // of them: they should have been renewed
}

// FlowKey is who traffic is counted for; the zero key has what nobody is known for.
type FlowKey struct {
	Kind string          `json:"kind,omitempty"` // device, gateway or app
	Type device.TypeName `json:"type,omitempty"`
	Zone device.ZoneName `json:"zone,omitempty"`
}

// Flow is what passed, in steps of the same length.
type Flow struct {
	Since  time.Time     // when the first server began to count
	From   time.Time     // begin of the first step
	Step   time.Duration // the last step has ended
	Length int           // steps
	Nodes  int           // servers whose numbers these are
	Keys   []FlowSeries  // the busiest; the rest is under the zero key
	Now    []FlowNow     // all
}

// FlowSeries is what passed for one key, in each step.
type FlowSeries struct {
	FlowKey
	In, Out, Refused []int64
}

// FlowNow is how many clients of one key are connected.
type FlowNow struct {
	FlowKey
	Sessions int `json:"sessions"`
}

// Household is what an installation's keeper should know.
type Household struct {
	RootKey    bool // the root key lies on this server
	AdminToken bool // so does the first token
	Demo       bool
	Dozing     int      // accounts that will be disabled soon because nobody uses them
	Idle       int      // people and programs with powers that they have not used for 90 days
	Warnings   []string // as of Status; not remembered
}

// RefusedPrincipal is who was refused, as known then.
type RefusedPrincipal struct {
	Kind string          `json:"kind,omitempty" doc:"device, gateway or app; absent: who it was is not known"`
	ID   string          `json:"id,omitempty"`
	Type device.TypeName `json:"type,omitempty"`
	Zone device.ZoneName `json:"zone,omitempty"`
}

// Refusal is something that a broker stopped. What is alike within 10 seconds is
// one, with a count.
type Refusal struct {
	Time      time.Time        `json:"time" doc:"of the first"`
	Last      time.Time        `json:"last" doc:"of the last"`
	Kind      string           `json:"kind" enum:"connect-refused,publish-refused,command-refused,payload-refused,rate-exceeded,subscribe-refused,subscription-lost,delivery-refused,view-refused,will-refused,malformed,protocol-error,flapping,source-blocked,certificate-expired,session-closed"`
	Action    string           `json:"action,omitempty" enum:"connect,publish,subscribe,receive" doc:"what to ask explain-policy about; absent: policy did not decide"`
	Principal RefusedPrincipal `json:"principal"`
	Client    string           `json:"client,omitempty" doc:"client id"`
	Address   string           `json:"address,omitempty" doc:"where it came from"`
	Topic     string           `json:"topic,omitempty" doc:"of the first; of a subscription its filter"`
	Rule      string           `json:"rule,omitempty" doc:"that decided; absent: no rule allowed it"`
	Detail    string           `json:"detail" doc:"of the first"`
	Count     int64            `json:"count"`
	Node      string           `json:"node" doc:"the server that stopped it"`
}

// RefusalFilter selects refusals; empty fields select all.
type RefusalFilter struct {
	Principal string // device:ID, gateway:ID, app:NAME or an id alone
	Kind      string
	Rule      string
	Since     time.Time
	Limit     int // 1 to 1000
}

func (f RefusalFilter) selects(r Refusal) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	p := r.Principal
	return is(f.Kind, r.Kind) && is(f.Rule, r.Rule) && !r.Last.Before(f.Since) &&
		(f.Principal == "" || f.Principal == p.ID || p.ID != "" && f.Principal == p.Kind+":"+p.ID)
}

// ZoneMap is who can talk to whom under a policy.
type ZoneMap struct {
	Policy  int64       `json:"policy" doc:"version; 0: none was applied, and nobody can talk"`
	Time    time.Time   `json:"time" doc:"when it was drawn; it is drawn again after 10 seconds"`
	Partial bool        `json:"partial" doc:"only the part of the fleet that the caller may see is on it"`
	Graph   reach.Graph `json:"graph"`
}

// Series is how many messages passed in each step of a time.
type Series struct {
	What    string  `json:"what" enum:"all,zone,type,apps,other" doc:"zone and type have a name; other is what is not shown by itself, and what no client is known for"`
	Name    string  `json:"name,omitempty"`
	In      []int64 `json:"in" doc:"messages that clients published"`
	Out     []int64 `json:"out" doc:"messages sent to clients"`
	Refused []int64 `json:"refused" doc:"actions that policy or limits refused"`
}

// Rates are the series of a time.
type Rates struct {
	Window string    `json:"window" enum:"15m,1h,6h,24h"`
	By     string    `json:"by" enum:"zone,type,none"`
	Since  time.Time `json:"since" doc:"when counting began: a step before it is empty"`
	From   time.Time `json:"from" doc:"begin of the first step"`
	Step   int       `json:"step" doc:"length of a step in seconds"`
	Nodes  int       `json:"nodes" doc:"servers that these are the numbers of"`
	Series []Series  `json:"series" doc:"the busiest 50 and the rest as other; what was silent all the time is left out"`
}

// DeviceNumbers counts devices.
type DeviceNumbers struct {
	Total    int64            `json:"total"`
	ByState  map[string]int64 `json:"by_state"`
	Complete bool             `json:"complete" doc:"false: there are more, because a role that is bound to labels counts no further than 5,000 devices"`
}

// SessionNumbers counts who is connected.
type SessionNumbers struct {
	Total  int            `json:"total"`
	ByKind map[string]int `json:"by_kind" doc:"device, gateway and app"`
}

// MessageRates are means of the last time.
type MessageRates struct {
	In      float64 `json:"in" doc:"a second, of the last 15 seconds"`
	Out     float64 `json:"out" doc:"a second, of the last 15 seconds"`
	Refused int64   `json:"refused" doc:"in the last minute"`
}

// CertificateEnd is a certificate that ends soon.
type CertificateEnd struct {
	Serial    string            `json:"serial"`
	Profile   string            `json:"profile" enum:"device,gateway,app,server"`
	Principal string            `json:"principal" doc:"device id, app name or server name"`
	NotAfter  time.Time         `json:"not_after"`
	Overdue   bool              `json:"overdue" doc:"five sixths of its life are over: it should have been renewed"`
	Zone      device.ZoneName   `json:"zone,omitempty"`
	Type      device.TypeName   `json:"type,omitempty"`
	Labels    map[string]string `json:"-"`
}

// CertificateNumbers counts certificates that end and have no successor.
type CertificateNumbers struct {
	Week     int64            `json:"week" doc:"end within 7 days"`
	Month    int64            `json:"month" doc:"end within 30 days, those of the week too"`
	Due      int64            `json:"due" doc:"of those of the month: five sixths of their life are over, and they should have been renewed"`
	Complete bool             `json:"complete" doc:"false: there are more, because a role that is bound to labels looks at the first 2,000 only"`
	First    []CertificateEnd `json:"first" doc:"the first five to end of those that are due, or of all when fewer are"`
}

// RuleRefusals is how often a rule refused something.
type RuleRefusals struct {
	Rule    string `json:"rule,omitempty" doc:"absent: no rule allowed it"`
	Kind    string `json:"kind" doc:"as of refusals"`
	Count   int64  `json:"count"`
	Clients int    `json:"clients" doc:"different principals or, of those not known, addresses"`
}

// AuthorityEnd is the certificate authority that ends first of those in use.
type AuthorityEnd struct {
	ID       string    `json:"id"`
	Role     string    `json:"role" enum:"root,issuing"`
	NotAfter time.Time `json:"not_after"`
}

// PolicyNow is the policy in force.
type PolicyNow struct {
	Version int64     `json:"version" doc:"0: none was applied, and nothing is allowed"`
	Since   time.Time `json:"since,omitzero"`
}

// The severities of what needs attention, the most urgent first.
const (
	SeverityHigh   = "high"
	SeverityMedium = "medium"
	SeverityLow    = "low"
)

// Attention is something that somebody should look at.
type Attention struct {
	Severity string    `json:"severity" enum:"high,medium,low"`
	Title    string    `json:"title"`
	Detail   string    `json:"detail"`
	Kind     string    `json:"kind" enum:"device,devices,app,address,waiting,approvals,certificates,authority,policy,people,unused,installation" doc:"what it is about, and with id where to look"`
	ID       string    `json:"id,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// Overview is how everything is, as far as the caller may see it: a part that is
// absent needs a permission that the caller has not.
type Overview struct {
	Time         time.Time           `json:"time"`
	Devices      *DeviceNumbers      `json:"devices,omitempty"`
	Sessions     *SessionNumbers     `json:"sessions,omitempty"`
	Rates        *MessageRates       `json:"rates,omitempty"`
	Refused      []RuleRefusals      `json:"refused" doc:"the 10 rules that refused most in the last 15 minutes"`
	Certificates *CertificateNumbers `json:"certificates,omitempty"`
	Waiting      *int                `json:"waiting,omitempty" doc:"devices that wait to be admitted"`
	Approvals    *int                `json:"approvals,omitempty" doc:"requests that wait for a second person; 1000: or more"`
	Authority    *AuthorityEnd       `json:"authority,omitempty"`
	Policy       *PolicyNow          `json:"policy,omitempty"`
	Warnings     []string            `json:"warnings" doc:"of the server that answers"`
	Attention    []Attention         `json:"attention" doc:"the most urgent first, at most 50"`
}

// objectOfGroup is a group as scopes see it. Groups have no labels: a scope that is
// bound to some covers none.
func objectOfGroup(zone device.ZoneName, t device.TypeName) access.Object {
	return access.Object{Zone: zone, Type: t}
}

// byLabels tells whether the caller holds a permission only, or partly, by labels,
// so that groups do not tell what it may see.
func byLabels(scopes []access.Scope) bool {
	for _, s := range scopes {
		if len(s.Labels) > 0 {
			return true
		}
	}
	return false
}
