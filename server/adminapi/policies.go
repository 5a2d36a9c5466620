package adminapi

import (
	"context"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// PolicyFile is a manifest file.
type PolicyFile struct {
	Name string `json:"name" maxLength:"512" doc:"as problems name it"`
	Text string `json:"text" doc:"YAML documents with --- between them"`
}

// PolicyProblem is one thing that is wrong with manifests.
type PolicyProblem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitzero" doc:"from 1"`
	Column int    `json:"column,omitzero" doc:"from 1"`
	Text   string `json:"text" doc:"what is wrong"`
	Fix    string `json:"fix,omitempty" doc:"what to write instead"`
}

// Place is "file:line:column" as far as these are known.
func (p PolicyProblem) Place() string { return place(p.File, p.Line, p.Column) }

func place(file string, line, column int) string {
	if line > 0 {
		file += ":" + strconv.Itoa(line)
		if column > 0 {
			file += ":" + strconv.Itoa(column)
		}
	}
	return file
}

// PolicyChange is a document that a plan adds, removes or changes.
type PolicyChange struct {
	Kind    string   `json:"kind" example:"DeviceType"`
	Name    string   `json:"name"`
	What    string   `json:"what" enum:"added,removed,changed"`
	Details []string `json:"details" doc:"what changes inside, one sentence each"`
	Widens  bool     `json:"widens" doc:"may allow more than before"`
	Narrows bool     `json:"narrows" doc:"may allow less than before"`
}

// PolicyTestResult is how one case of a PolicyTest came out.
type PolicyTestResult struct {
	Test   string `json:"test" doc:"name of the PolicyTest"`
	Case   string `json:"case"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitzero"`
	Column int    `json:"column,omitzero"`
	Passed bool   `json:"passed"`
	Got    string `json:"got,omitempty"`
	Want   string `json:"want,omitempty"`
}

// Place is "file:line:column" of the case.
func (r PolicyTestResult) Place() string { return place(r.File, r.Line, r.Column) }

// PolicyEffect is what a plan does to somebody who is connected now.
type PolicyEffect struct {
	Kind     string   `json:"kind" enum:"device,gateway,app"`
	ID       string   `json:"id"`
	ClientID string   `json:"client_id,omitempty"`
	Type     string   `json:"type,omitempty"`
	Zone     string   `json:"zone,omitempty"`
	By       []string `json:"by" doc:"the documents that concern it, Kind/name"`
	Gone     bool     `json:"gone" doc:"may not stay connected"`
	Why      string   `json:"why,omitempty" doc:"of gone"`
	Lost     []string `json:"lost" doc:"subscriptions that end"`
}

// PolicyPlan is what applying files would do. With problems nothing else is known.
type PolicyPlan struct {
	Version   int64              `json:"version" doc:"the active version that the plan was made against, 0 before the first; apply names it"`
	Problems  []PolicyProblem    `json:"problems"`
	Changes   []PolicyChange     `json:"changes"`
	Tests     []PolicyTestResult `json:"tests"`
	Connected int                `json:"connected" doc:"sessions looked at, of this server"`
	Affected  int                `json:"affected" doc:"sessions whose permissions change"`
	Effects   []PolicyEffect     `json:"effects" doc:"at most 1000 of these, those who lose something first"`
}

// OK tells whether the plan can be applied.
func (p PolicyPlan) OK() bool { return len(p.Problems) == 0 && !failed(p.Tests) }

func failed(results []PolicyTestResult) bool {
	for _, r := range results {
		if !r.Passed {
			return true
		}
	}
	return false
}

// PolicyVersion is a policy that was applied.
type PolicyVersion struct {
	Version   int64     `json:"version" doc:"0: nothing was applied yet, and nothing is allowed"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
	Message   string    `json:"message,omitempty"`
	SHA256    string    `json:"sha256,omitempty" doc:"of the files as stored, hex"`
	Size      int64     `json:"size" doc:"of the files, in bytes"`
}

// PolicyDetails is a version with its files.
type PolicyDetails struct {
	PolicyVersion
	Active bool         `json:"active"`
	Files  []PolicyFile `json:"files"`
}

// PolicyVersionList is one page of versions, newest first.
type PolicyVersionList struct {
	Items []PolicyVersion `json:"items"`
	Next  int64           `json:"next,omitempty" doc:"give it as before to read on; absent on the last page"`
}

// PolicyApply asks for files to become the active policy.
type PolicyApply struct {
	Files   []PolicyFile `json:"files" maxItems:"10000"`
	Message string       `json:"message,omitempty" maxLength:"1024" doc:"why, for the audit log"`
	Version int64        `json:"version" minimum:"0" doc:"the active version that this was made from, 0 before the first"`
}

// PolicyTestReport is how tests came out.
type PolicyTestReport struct {
	Problems []PolicyProblem    `json:"problems"`
	Results  []PolicyTestResult `json:"results"`
}

// OK tells whether everything passed.
func (r PolicyTestReport) OK() bool { return len(r.Problems) == 0 && !failed(r.Results) }

// PolicyFacts are the facts about a principal that policy decides on.
type PolicyFacts struct {
	Kind        string            `json:"kind" enum:"device,gateway,app"`
	ID          string            `json:"id" maxLength:"253"`
	Type        string            `json:"type,omitempty" maxLength:"64"`
	Zone        string            `json:"zone,omitempty" maxLength:"64"`
	Labels      map[string]string `json:"labels,omitempty"`
	State       string            `json:"state,omitempty" doc:"of devices and gateways; active when left out"`
	Maintenance bool              `json:"maintenance,omitempty"`
}

// PolicyMessage is a message that somebody asks about.
type PolicyMessage struct {
	Topic         string `json:"topic" maxLength:"65535"`
	Payload       string `json:"payload,omitempty" doc:"as text"`
	PayloadBase64 []byte `json:"payload_base64,omitempty" doc:"instead of payload, for bytes that are not text"`
	QoS           int    `json:"qos,omitempty" minimum:"0" maximum:"2"`
	Retain        bool   `json:"retain,omitempty"`
}

// Bytes are the payload, in whichever form it was given.
func (m PolicyMessage) Bytes() []byte {
	if len(m.PayloadBase64) > 0 {
		return m.PayloadBase64
	}
	return []byte(m.Payload)
}

// ExplainQuery asks whether somebody may do one thing, and why.
type ExplainQuery struct {
	As        string         `json:"as,omitempty" maxLength:"260" doc:"device:ID, gateway:ID or app:NAME, with the facts of the inventory; or give facts" example:"device:pump-1"`
	Facts     *PolicyFacts   `json:"facts,omitempty" doc:"of somebody who need not exist"`
	Connect   string         `json:"connect,omitempty" maxLength:"65535" doc:"a client id"`
	Publish   *PolicyMessage `json:"publish,omitempty"`
	Receive   *PolicyMessage `json:"receive,omitempty" doc:"a message that would be delivered"`
	Subscribe string         `json:"subscribe,omitempty" maxLength:"65535" doc:"a topic filter"`
	QoS       int            `json:"qos,omitempty" minimum:"0" maximum:"2" doc:"of subscribe"`
	At        time.Time      `json:"at,omitzero" doc:"when; now if left out"`

	// Knows tells whether who asks may know of the device that a command is for; nil:
	// of all. One that they may not know of is answered for as one that does not exist.
	Knows func(ctx context.Context, id string) bool `json:"-"`
}

// ExplainStep is one rule that was looked at.
type ExplainStep struct {
	Rule    string `json:"rule" doc:"Kind/name/rule" example:"DeviceType/pump/telemetry"`
	File    string `json:"file,omitempty" doc:"where it stands"`
	Line    int    `json:"line,omitzero"`
	Effect  string `json:"effect" enum:"allow,deny,interlock"`
	Pattern string `json:"pattern,omitempty" doc:"with the values of who is asked about"`
	Outcome string `json:"outcome" doc:"no-match, no-value, allows, denies, refuses, not-met, passes or not-reached"`
	Detail  string `json:"detail,omitempty" doc:"why"`
	Decides bool   `json:"decides,omitempty" doc:"this rule decided"`
}

// Explanation is the answer with every rule that was looked at, in order.
type Explanation struct {
	Version int64         `json:"version" doc:"of the policy that was asked"`
	As      PolicyFacts   `json:"as" doc:"the facts that were used"`
	Allowed bool          `json:"allowed"`
	Rule    string        `json:"rule,omitempty" doc:"that decided; empty when none applies"`
	Code    string        `json:"code,omitempty" doc:"of a refusal, for programs"`
	Detail  string        `json:"detail,omitempty"`
	Fix     string        `json:"fix,omitempty"`
	QoS     int           `json:"qos" doc:"of a subscription: granted"`
	Steps   []ExplainStep `json:"steps"`
}

// Policies manages policy as code. Files with problems or failed tests are no
// errors of PlanPolicy and TestPolicy; ApplyPolicy refuses them with a *Rejected
// that lists them, and with one of kind Conflict and code "policy-changed" when
// the active version is not the one named, which lists what changed since.
type Policies interface {
	PlanPolicy(ctx context.Context, files []PolicyFile) (PolicyPlan, error)
	ApplyPolicy(ctx context.Context, by access.Actor, in PolicyApply) (PolicyVersion, error)
	Policy(ctx context.Context, version int64) (PolicyDetails, error) // 0: the active one
	PolicyVersions(ctx context.Context, before int64, limit int) ([]PolicyVersion, error)
	TestPolicy(ctx context.Context, files []PolicyFile) (PolicyTestReport, error) // no files: the active ones
	ExplainPolicy(ctx context.Context, q ExplainQuery) (Explanation, error)
	DevicePermissions(ctx context.Context, id device.ID) (DevicePermissions, error)
}

// Rejected is a refusal with one row for each thing that is wrong.
type Rejected struct {
	Refusal *refusal.Refusal
	Rows    []RowError
}

// Error is the refusal's.
func (r *Rejected) Error() string { return r.Refusal.Error() }

// Unwrap is the refusal.
func (r *Rejected) Unwrap() error { return r.Refusal }
