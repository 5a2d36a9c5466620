package audit

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Classes of the Open Cybersecurity Schema Framework that events are exported as.
const (
	classAuthentication   = 3002
	classEntityManagement = 3004
	classAPIActivity      = 6003
)

// activity is the OCSF reading of a verb.
type activity struct {
	id   int
	name string
}

var other = activity{99, "Other"}

// entityVerbs are the activities of Entity Management; the first four are those of API Activity too.
var entityVerbs = map[string]activity{
	"create": {1, "Create"}, "issue": {1, "Create"}, "import": {1, "Create"}, "register": {1, "Create"}, "add": {1, "Create"}, "init": {1, "Create"},
	"read": {2, "Read"}, "show": {2, "Read"}, "list": {2, "Read"}, "export": {2, "Read"},
	"update": {3, "Update"}, "renew": {3, "Update"}, "rotate": {3, "Update"}, "set": {3, "Update"}, "change": {3, "Update"}, "approve": {3, "Update"},
	"delete": {4, "Delete"}, "remove": {4, "Delete"},
	"move": {5, "Move"}, "enroll": {6, "Enroll"}, "revoke": {7, "Unenroll"}, "retire": {7, "Unenroll"},
	"enable": {8, "Enable"}, "disable": {9, "Disable"}, "activate": {10, "Activate"}, "deactivate": {11, "Deactivate"},
	"quarantine": {12, "Suspend"}, "suspend": {12, "Suspend"}, "release": {13, "Resume"}, "resume": {13, "Resume"},
}

var authenticationVerbs = map[string]activity{
	"login": {1, "Logon"}, "sign_in": {1, "Logon"}, "logout": {2, "Logoff"}, "sign_out": {2, "Logoff"},
}

// entities are the nouns of an action that are managed things of the fleet.
var entities = map[string]bool{
	"device": true, "device_type": true, "type": true, "zone": true, "certificate": true, "cert": true, "ca": true, "token": true,
	"manufacturer": true, "user": true, "role": true, "client": true, "gateway": true, "app": true, "policy": true, "key": true, "enrollment": true,
}

// classify maps "noun.verb" to a class and an activity of it.
func classify(action string) (class int, a activity) {
	noun, _, _ := strings.Cut(action, ".")
	verb := action[strings.LastIndexByte(action, '.')+1:]
	if a, ok := authenticationVerbs[verb]; ok {
		return classAuthentication, a
	}
	class = classAPIActivity
	if entities[noun] {
		class = classEntityManagement
	}
	a, ok := entityVerbs[verb]
	if !ok || class == classAPIActivity && a.id > 4 {
		a = other
	}
	return class, a
}

type ocsfNamed struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
	Type string `json:"type,omitempty"`
}

type ocsfUser struct {
	User ocsfNamed `json:"user"`
}

type ocsfEndpoint struct {
	IP       string `json:"ip,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Name     string `json:"name,omitempty"`
}

type ocsfAPI struct {
	Operation string `json:"operation"`
}

type ocsfMetadata struct {
	Version        string            `json:"version"`
	Product        map[string]string `json:"product"`
	UID            string            `json:"uid"`
	Sequence       int64             `json:"sequence"`
	LogName        string            `json:"log_name"`
	EventCode      string            `json:"event_code"`
	CorrelationUID string            `json:"correlation_uid,omitempty"`
}

type ocsfEvent struct {
	ActivityID   int               `json:"activity_id"`
	ActivityName string            `json:"activity_name"`
	CategoryUID  int               `json:"category_uid"`
	ClassUID     int               `json:"class_uid"`
	TypeUID      int               `json:"type_uid"`
	Time         int64             `json:"time"`
	SeverityID   int               `json:"severity_id"`
	Severity     string            `json:"severity"`
	StatusID     int               `json:"status_id"`
	Status       string            `json:"status"`
	StatusCode   string            `json:"status_code"`
	StatusDetail string            `json:"status_detail,omitempty"`
	Message      string            `json:"message"`
	Metadata     ocsfMetadata      `json:"metadata"`
	Actor        ocsfUser          `json:"actor"`
	SrcEndpoint  *ocsfEndpoint     `json:"src_endpoint,omitempty"`
	Entity       *ocsfNamed        `json:"entity,omitempty"`
	User         *ocsfNamed        `json:"user,omitempty"`
	Service      *ocsfNamed        `json:"service,omitempty"`
	API          *ocsfAPI          `json:"api,omitempty"`
	Resources    []ocsfNamed       `json:"resources,omitempty"`
	Unmapped     map[string]string `json:"unmapped,omitempty"`
}

// OCSF returns an event as one JSON object of OCSF 1.4, without a newline: Authentication (3002) for signing in and
// out, Entity Management (3004) for the fleet's things, API Activity (6003) for the rest. The index in the log is the
// metadata's sequence; details are under unmapped.
func OCSF(e Event, index int64) []byte {
	class, a := classify(e.Action)
	if a == other {
		a.name = e.Action
	}
	o := ocsfEvent{
		ActivityID: a.id, ActivityName: a.name, CategoryUID: class / 1000, ClassUID: class, TypeUID: class*100 + a.id,
		Time: e.Time.UnixMilli(), SeverityID: 1, Severity: "Informational", StatusID: 1, Status: "Success", StatusCode: string(e.Outcome),
		StatusDetail: e.Reason, Message: sentence(e),
		Metadata: ocsfMetadata{
			Version: "1.4.0", Product: map[string]string{"name": "Holdfast", "vendor_name": "Holdfast"}, UID: e.ID,
			Sequence: index, LogName: "audit", EventCode: e.Action, CorrelationUID: e.Request,
		},
		Actor:    ocsfUser{ocsfNamed{Name: e.Actor.ID, UID: e.Actor.ID, Type: e.Actor.Kind}},
		Unmapped: e.Details,
	}
	switch e.Outcome {
	case Refused:
		o.SeverityID, o.Severity, o.StatusID, o.Status = 2, "Low", 2, "Failure"
	case Failed:
		o.SeverityID, o.Severity, o.StatusID, o.Status = 3, "Medium", 2, "Failure"
	}
	if e.Actor.Source != "" {
		o.SrcEndpoint = &ocsfEndpoint{IP: e.Actor.Source}
	}
	subject := ocsfNamed{Name: e.Subject.ID, UID: e.Subject.ID, Type: e.Subject.Kind}
	switch class {
	case classAuthentication:
		o.User = &o.Actor.User
		o.Service = &ocsfNamed{Name: "holdfast"}
	case classEntityManagement:
		o.Entity = &subject
		if subject == (ocsfNamed{}) {
			noun, _, _ := strings.Cut(e.Action, ".")
			o.Entity = &ocsfNamed{Name: noun, Type: noun}
		}
	default:
		o.API = &ocsfAPI{Operation: e.Action}
		if o.SrcEndpoint == nil {
			o.SrcEndpoint = &ocsfEndpoint{Name: orDash(e.Node)} // the class requires one: it came from within
		}
		if subject != (ocsfNamed{}) {
			o.Resources = []ocsfNamed{subject}
		}
	}
	b, err := json.Marshal(o)
	if err != nil { // a struct of strings, numbers and maps of strings always marshals
		panic("audit: marshalling an OCSF event: " + err.Error())
	}
	return b
}

// sentence says in a line what happened.
func sentence(e Event) string {
	var b strings.Builder
	b.WriteString(e.Action + " " + string(e.Outcome) + ": " + e.Actor.Kind + " " + e.Actor.ID)
	if e.Subject.Kind != "" || e.Subject.ID != "" {
		b.WriteString(" on " + strings.TrimSpace(e.Subject.Kind+" "+e.Subject.ID))
	}
	if e.Reason != "" {
		b.WriteString(" (" + e.Reason + ")")
	}
	return b.String()
}

// syslogID is the enterprise number that RFC 5612 sets aside for use without a registration.
const syslogID = "@32473"

// Syslog returns an event as an RFC 5424 message of facility 13 (log audit): severity notice when it succeeded, warning
// when it was refused, error when it failed. The fields and the details are structured data. The framing of RFC 5425
// (a length before each message) is the sender's.
func Syslog(e Event, index int64, hostname string) []byte {
	severity := 5
	switch e.Outcome {
	case Refused:
		severity = 4
	case Failed:
		severity = 3
	}
	b := append(strconv.AppendInt([]byte("<"), int64(13*8+severity), 10), ">1 "...)
	b = appendTime(b, e.Time)
	b = append(append(b, ' '), orDash(ascii(hostname, 255))...)
	b = append(append(b, " holdfast - "...), orDash(ascii(e.Action, 32))...)
	b = append(b, " [audit"+syslogID...)
	b = appendParam(b, "index", strconv.FormatInt(index, 10))
	for _, p := range [...][2]string{
		{"id", e.ID}, {"node", e.Node}, {"action", e.Action}, {"outcome", string(e.Outcome)}, {"actorKind", e.Actor.Kind},
		{"actorID", e.Actor.ID}, {"source", e.Actor.Source}, {"subjectKind", e.Subject.Kind}, {"subjectID", e.Subject.ID},
		{"reason", e.Reason}, {"request", e.Request},
	} {
		if p[1] != "" {
			b = appendParam(b, p[0], p[1])
		}
	}
	b = append(b, ']')
	if len(e.Details) > 0 {
		b = append(b, "[details"+syslogID...)
		for _, k := range detailKeys(e.Details, nil) {
			b = appendParam(b, orDash(ascii(k, 32)), e.Details[k])
		}
		b = append(b, ']')
	}
	return append(append(b, " \xef\xbb\xbf"...), Text(sentence(e), 4096)...)
}

// appendParam writes one parameter; RFC 5424 section 6.3.3 has a backslash before ", \ and ].
func appendParam(b []byte, name, value string) []byte {
	b = append(append(append(b, ' '), name...), `="`...)
	for _, r := range Text(value, MaxDetailValue) {
		if r == '"' || r == '\\' || r == ']' {
			b = append(b, '\\')
		}
		b = append(b, string(r)...)
	}
	return append(b, '"')
}

// ascii keeps the characters that RFC 5424 allows in its header fields and parameter names, up to limit.
func ascii(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '=' || r == ']' || r == '"' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), limit)]
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
