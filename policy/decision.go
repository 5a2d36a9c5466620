package policy

// Code says for programs why something was refused; it is empty when it was allowed.
type Code string

// The codes of refusals.
const (
	NotAuthorized  Code = "not-authorized"  // no rule allows it, or one denies it
	Condition      Code = "condition"       // a rule would allow it, but its `when` is false or cannot be evaluated
	PayloadInvalid Code = "payload-invalid" // size, field, type or range
	Unreadable     Code = "unreadable"      // the payload is not of the format that the rule names
	RateExceeded   Code = "rate-exceeded"
	Interlock      Code = "interlock" // the command may not reach its device now, or not with this content
	ClientID       Code = "client-id"
	QoS            Code = "qos"
	RetainRefused  Code = "retain"
	BadFilter      Code = "bad-filter" // the topic filter is not one
)

// Decision is the answer to one question, with the reason for people.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule,omitempty"` // the rule that decided, Kind/name/rule; empty when none applies
	Code    Code   `json:"code,omitempty"`
	Detail  string `json:"detail,omitempty"` // what is wrong, one sentence
	Fix     string `json:"fix,omitempty"`    // what to do about it
	QoS     byte   `json:"qos"`              // Subscribe: the QoS that is granted
}

// Error joins detail and fix, for logs and reason strings.
func (d Decision) Error() string {
	if d.Fix == "" {
		return d.Detail
	}
	return d.Detail + ": " + d.Fix
}
