package enroll

import (
	"time"

	"github.com/holdfast-iot/holdfast/device"
)

// Decision is what became of a waiting enrolment.
type Decision string

const (
	Undecided Decision = "undecided"
	Approved  Decision = "approved"
	Rejected  Decision = "rejected"
	Done      Decision = "done" // approved, and its certificate was issued
)

// Waiting is an enrolment request in the waiting room. The key is what an
// operator approves: a request with the same id and another key is refused.
type Waiting struct {
	ID          string          `json:"id"`
	DeviceID    device.ID       `json:"device_id"`
	Type        device.TypeName `json:"type"`
	Zone        device.ZoneName `json:"zone,omitempty"`
	KeyID       string          `json:"key_id" doc:"SHA-256 of the public key, hex"`
	Credential  string          `json:"credential" doc:"what authenticated the request"`
	Source      string          `json:"source"`
	RequestedAt time.Time       `json:"requested_at"`
	Decision    Decision        `json:"decision" enum:"undecided,approved,rejected,done"`
	DecidedAt   time.Time       `json:"decided_at,omitzero"`
	DecidedBy   string          `json:"decided_by,omitempty"`
	Reason      string          `json:"reason,omitempty"`
}

// MaxWaiting bounds the requests that wait undecided; more are refused.
const MaxWaiting = 10_000

// RetryAfter is how long a waiting device is told to wait before it asks again.
const RetryAfter = 60 * time.Second
