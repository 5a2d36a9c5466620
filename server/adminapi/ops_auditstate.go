package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// AuditState is how the audit log stands: what is signed, who watches it, and what
// was sent on.
type AuditState struct {
	Log         string           `json:"log" doc:"its name, which is also the name of its key"`
	VerifierKey string           `json:"verifier_key" doc:"the log's public key (C2SP signed-note)"`
	Entries     int64            `json:"entries" doc:"events in the log"`
	Published   int64            `json:"published" doc:"events that the newest published checkpoint covers"`
	PublishedAt time.Time        `json:"published_at,omitzero" doc:"when that checkpoint was signed"`
	Checkpoints []KeptCheckpoint `json:"checkpoints" doc:"that exports hold, newest first, at most 50"`
	Quorum      int              `json:"quorum" doc:"witnesses that must have cosigned a checkpoint before it is published"`
	Witnesses   []WitnessState   `json:"witnesses"`
	Syslog      *SyslogState     `json:"syslog,omitempty" doc:"absent: events are sent to no collector"`
}

// KeptCheckpoint is a signed state of the log that is kept.
type KeptCheckpoint struct {
	Size     int64     `json:"size"`
	At       time.Time `json:"at"`
	Cosigned int       `json:"cosigned" doc:"witnesses that cosigned it"`
}

// WitnessState is a witness of the configuration, and what it last said.
type WitnessState struct {
	Name string    `json:"name"`
	Key  string    `json:"key" doc:"its public key (C2SP signed-note)"`
	URL  string    `json:"url"`
	Size int64     `json:"size,omitempty" doc:"of the largest kept checkpoint that it cosigned"`
	At   time.Time `json:"at,omitzero" doc:"when it did, by its own clock"`
}

// SyslogState is how far the events were sent to the collector.
type SyslogState struct {
	Address string `json:"address"`
	Sent    int64  `json:"sent" doc:"events that were sent, from the first on"`
	Behind  int64  `json:"behind" doc:"events that wait to be sent"`
}

var exampleAuditState = AuditState{Log: "holdfast.example.com/log", VerifierKey: "holdfast.example.com/log+KEY-ID+KEY-IN-BASE64", Entries: 4812, Published: 4812, PublishedAt: exampleTime,
	Checkpoints: []KeptCheckpoint{{Size: 4812, At: exampleTime, Cosigned: 1}}, Quorum: 1,
	Witnesses: []WitnessState{{Name: "witness.example.org", Key: "witness.example.org+KEY-ID+KEY-IN-BASE64", URL: "https://witness.example.org", Size: 4812, At: exampleTime}},
	Syslog:    &SyslogState{Address: "siem.example.com:6514", Sent: 4812}}

func (a *api) auditStateOperations() {
	register(a, operation{id: "show-audit-state", allow: access.AuditRead, method: http.MethodGet, path: "/audit/state", tag: "audit", summary: "Show how the audit log stands",
		description: "Its size, the checkpoints that are kept, what each witness last cosigned, and how far events were sent to a collector.", response: exampleAuditState},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[AuditState], error) {
			s, err := a.cfg.Audit.AuditState(ctx)
			s.Checkpoints, s.Witnesses = present(s.Checkpoints), present(s.Witnesses)
			return &body[AuditState]{s}, err
		})
}

// AuditState shows how the audit log stands.
func (c *Client) AuditState(ctx context.Context) (AuditState, error) {
	return call[AuditState](ctx, c, http.MethodGet, join("audit", "state"), nil, nil)
}
