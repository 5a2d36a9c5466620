package audit

import (
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Commands as people type them. A test runs the ones that check.
const (
	exportCommand = "holdfast audit verify --key log-key.txt --state seen.txt holdfast.audit"
	fetchCommands = "holdfast audit export --out holdfast.audit\n" + exportCommand
)

func witnessCommand(key string) string {
	return "holdfast audit witness --listen :8446 --state witness.json --key witness.pem \\\n  --log-key '" + key + "'"
}

func unpublished(s adminapi.AuditState) string {
	if n := s.Entries - s.Published; n > 0 {
		return ui.Number(n) + " wait for the witnesses"
	}
	return "all of them are signed"
}

func quorumNote(v logView) string {
	switch n := len(v.state.Witnesses); {
	case n == 0:
		return "none is configured"
	case v.state.Quorum == 0:
		return "cosigned the newest checkpoint"
	default:
		return ui.Number(int64(v.state.Quorum)) + " are needed before it is published"
	}
}

// farBehind is when a collector is not merely busy.
const farBehind = 1000

func siemValue(s *adminapi.SyslogState) string {
	if s == nil {
		return "–"
	}
	return ui.Number(s.Sent)
}

func siemNote(s *adminapi.SyslogState) string {
	switch {
	case s == nil:
		return "no collector is configured"
	case s.Behind == 0:
		return "nothing waits"
	}
	return ui.Number(s.Behind) + " wait"
}

func siemTone(s *adminapi.SyslogState) ui.Tone {
	switch {
	case s == nil:
		return ui.Neutral
	case s.Behind > farBehind:
		return ui.Warn
	}
	return ui.Good
}
