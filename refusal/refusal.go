// Package refusal says no in one shape: a kind that the edge maps to a wire
// status, a stable code for programs, a sentence for people, and what to do next.
//
// It promises that nothing in a Refusal is secret: every field is written to be
// shown to the party that was refused. It trusts its callers to keep inner
// errors, credentials and other parties' data out of the sentences.
package refusal

import (
	"errors"
	"fmt"
)

// Kind is the class of a refusal; each wire has one table from Kind to status.
type Kind int

const (
	// Invalid means that the request itself is wrong; repeating it cannot help.
	Invalid Kind = iota + 1
	// Unauthenticated means that no valid credential came with the request.
	Unauthenticated
	// Forbidden means that the party is known and may not do this.
	Forbidden
	// NotFound means that the thing named does not exist, or may not be known.
	NotFound
	// Conflict means that the present state of the thing forbids the action.
	Conflict
	// TooLarge means that a stated bound on size or number was exceeded.
	TooLarge
	// TooMany means that a rate or quota was exceeded; later it may succeed.
	TooMany
	// Unavailable means that a part of Holdfast cannot answer right now.
	Unavailable
)

// Refusal is an error written for the party that receives it.
type Refusal struct {
	Kind   Kind
	Code   string // stable, lower-case with hyphens: "device-exists"
	Detail string // what is wrong and where, one sentence
	Fix    string // what to do about it, one sentence
}

// Error joins detail and fix.
func (r *Refusal) Error() string {
	if r.Fix == "" {
		return r.Detail
	}
	return r.Detail + ": " + r.Fix
}

// New makes a refusal; args fill the verbs of detail only.
func New(kind Kind, code, fix, detail string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Code: code, Detail: fmt.Sprintf(detail, args...), Fix: fix}
}

// As returns the refusal inside err, or nil.
func As(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// Is tells whether err holds a refusal with this code.
func Is(err error, code string) bool {
	r := As(err)
	return r != nil && r.Code == code
}
