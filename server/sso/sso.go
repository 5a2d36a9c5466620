// Package sso signs people in through their organisation's identity provider:
// OpenID Connect (NewOIDC) and SAML 2.0 (NewSAML).
//
// It promises that an External comes only from an answer that the configured
// provider signed, for this Holdfast, in this round trip, not long ago, and
// that it was not used before. It holds no state of a round trip: Begin returns
// it as an opaque value, and the caller keeps it where the browser cannot read
// or replace it, gives it to one Finish and forgets it before that Finish.
//
// The value is bound to the browser by a cookie with a random handle: SameSite=Lax
// for OpenID Connect, but SameSite=None for SAML, whose answer is a POST from the
// provider's site; for the same reason the path of ACSURL is exempt from checks of
// the request's origin (RelayState, InResponseTo and the handle do their work).
//
// It trusts the provider for who somebody is and in which groups, the clock,
// and TLS for the documents that it fetches (discovery, key set, metadata); the
// client that fetches them must come from internal/outbound, because those
// documents name further addresses. Whoever can write a provider's
// configuration, its metadata file or its key set can sign in as anybody of
// that provider. Whoever can write a kept flow value can sign a victim in as
// somebody else. Nothing here decides what a person may do.
package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Bounds on what a provider says about a person.
const (
	// MaxGroups is how many groups an External may hold; a person in more of
	// them is refused, because a cut list would be a wrong list.
	MaxGroups = 1000
	// MaxGroup bounds the name of a group, in bytes.
	MaxGroup = 256
	// MaxSubject bounds the stable identifier, in bytes (OpenID Connect Core
	// section 2 allows 255, SAML Core section 8.3.7 allows 256).
	MaxSubject = 256
	maxText    = 320 // bytes of a name or a mail address
)

const (
	// flowLife is how long a person may take at the provider.
	flowLife = 15 * time.Minute
	// skew is how far the provider's clock may be from ours.
	skew = time.Minute
)

// External is who the provider says somebody is. Provider and Subject together
// identify a person; the other fields may change from one sign-in to the next,
// and may be the same for two people.
type External struct {
	Provider string // the Name of the configuration
	Subject  string // the provider's stable identifier: 1 to MaxSubject bytes
	Name     string // what the person types to sign in there; may be empty
	Display  string // the person's name; may be empty
	Mail     string // may be empty
	// MailVerified says that the provider vouches for Mail (or that the
	// configuration trusts it to).
	MailVerified bool
	Groups       []string  // at most MaxGroups of at most MaxGroup bytes each, in the provider's order, none twice
	AuthTime     time.Time // when the person showed credentials to the provider; zero when it does not say
	Factors      bool      // the provider says that more than one factor was used
	SessionRef   string    // the provider's name of the session: sid, or SessionIndex; may be empty
	ReturnTo     string    // Begin's returnTo, made safe; "/" after a sign-in that the provider began
}

// Provider is one way to sign in. Its methods may be called by many goroutines.
type Provider interface {
	// Name is the short name in URLs and in External.Provider.
	Name() string
	// Label is what the button on the sign-in page says.
	Label() string
	// Begin starts a round trip: the address to send the browser to, and what
	// to give to Finish. A returnTo that is not a path of this site becomes "/".
	Begin(ctx context.Context, returnTo string) (redirect string, flow []byte, err error)
	// Finish reads the provider's answer in r. Every error holds a *refusal.Refusal,
	// whose code is for the sign-in page; its text has the details, for the log.
	Finish(ctx context.Context, flow []byte, r *http.Request) (External, error)
}

// SeenFunc records an identifier that may be used once, until a moment after
// which it would be refused anyway. It tells whether this was the first time,
// for all servers together; it must be durable before it returns.
type SeenFunc func(ctx context.Context, id string, until time.Time) (first bool, err error)

// Codes of the refusals that Begin and Finish return.
const (
	CodeUnavailable   = "sso-unavailable"   // the provider cannot be reached
	CodeMisconfigured = "sso-misconfigured" // the two sides' configurations do not fit
	CodeFlow          = "sso-flow"          // no such round trip, or it took too long
	CodeDenied        = "sso-denied"        // the provider, or the person there, said no
	CodeAnswer        = "sso-answer"        // the answer was not made by the provider for this round trip
	CodeReplay        = "sso-replay"        // the answer was used before
	CodeProfile       = "sso-profile"       // the answer is real, but lacks or exceeds what is needed
)

// failure is an error whose text is for the log, and whose refusal is for the
// person.
type failure struct {
	refusal *refusal.Refusal
	why     error
}

func (f *failure) Error() string   { return f.why.Error() }
func (f *failure) Unwrap() []error { return []error{f.refusal, f.why} }

// refusals are what strangers learn: nothing about what exactly was wrong.
var refusals = map[string]*refusal.Refusal{
	CodeUnavailable: refusal.New(refusal.Unavailable, CodeUnavailable, "try again in a minute, or sign in another way",
		"your organisation's identity provider does not answer"),
	CodeMisconfigured: refusal.New(refusal.Unavailable, CodeMisconfigured, "tell an administrator the code "+CodeMisconfigured+"; the server's log has the details",
		"signing in through your organisation is not set up correctly"),
	CodeFlow: refusal.New(refusal.Unauthenticated, CodeFlow, "start again from the sign-in page",
		"this sign-in was not started here, or took too long"),
	CodeDenied: refusal.New(refusal.Forbidden, CodeDenied, "start again, or ask your organisation for access",
		"your organisation's identity provider did not let you in"),
	CodeAnswer: refusal.New(refusal.Unauthenticated, CodeAnswer, "start again from the sign-in page; if it happens again, tell an administrator the code "+CodeAnswer,
		"the identity provider's answer was not accepted"),
	CodeReplay: refusal.New(refusal.Unauthenticated, CodeReplay, "start again from the sign-in page",
		"this sign-in was already used"),
	CodeProfile: refusal.New(refusal.Forbidden, CodeProfile, "tell an administrator the code "+CodeProfile+"; the server's log has the details",
		"the identity provider's answer does not hold what is needed to sign you in"),
}

// fail makes the error of a code; format and args say the details to the log.
func fail(code, format string, args ...any) error {
	return &failure{refusal: refusals[code], why: fmt.Errorf(format, args...)}
}

// during names the provider in an error, and makes sure that it holds a refusal.
func during(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	if refusal.As(err) == nil {
		err = fail(CodeAnswer, "%w", err)
	}
	return fmt.Errorf("%s through %s: %w", verb, name, err)
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// checkNames checks what both kinds of provider are called.
func checkNames(name, label string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("the name %q is not 1 to 32 of a-z, 0-9 and hyphens within", name)
	}
	if label == "" || len(label) > 64 || clean(label) != label {
		return errors.New("the label is not 1 to 64 bytes of printable text")
	}
	return nil
}

// clean makes text of a provider fit to be shown and recorded: valid UTF-8
// without control and formatting characters (a right-to-left override can make
// one name look like another), cut at maxText bytes.
func clean(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029 {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	for len(s) > maxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// exact tells whether text may be compared byte by byte: it is bounded, not
// empty, and cleaning would not change it.
func exact(s string, limit int) bool {
	return s != "" && len(s) <= limit && clean(s) == s
}

// settle checks the parts of an External on which decisions rest, and makes
// the others fit to be shown.
func settle(e External) (External, error) {
	if !exact(e.Subject, MaxSubject) {
		return External{}, fail(CodeProfile, "the subject identifier is empty, longer than %d bytes or holds control characters", MaxSubject)
	}
	groups, err := checkGroups(e.Groups)
	if err != nil {
		return External{}, err
	}
	e.Groups = groups
	e.Name, e.Display, e.Mail = clean(e.Name), clean(e.Display), clean(e.Mail)
	if strings.Count(e.Mail, "@") != 1 || strings.ContainsAny(e.Mail, " ,;<>\"") {
		e.Mail = ""
	}
	e.MailVerified = e.MailVerified && e.Mail != ""
	if len(e.SessionRef) > MaxSubject || clean(e.SessionRef) != e.SessionRef {
		return External{}, fail(CodeProfile, "the session identifier is longer than %d bytes or holds control characters", MaxSubject)
	}
	return e, nil
}

func checkGroups(in []string) ([]string, error) {
	if len(in) > MaxGroups {
		return nil, fail(CodeProfile, "the provider names %d groups, more than %d: let it send only those that matter here", len(in), MaxGroups)
	}
	var out []string
	seen := make(map[string]bool, len(in))
	for _, g := range in {
		if g == "" || seen[g] {
			continue
		}
		if !exact(g, MaxGroup) {
			return nil, fail(CodeProfile, "the name of a group is longer than %d bytes or holds control characters", MaxGroup)
		}
		seen[g] = true
		out = append(out, g)
	}
	return out, nil
}
