package sso

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	statusSuccess   = "urn:oasis:names:tc:SAML:2.0:status:Success"
	methodBearer    = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	formatEntity    = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	formatTransient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
)

// expected is what an answer must say.
type expected struct {
	issuer   string // entity ID of the provider
	audience string // our entity ID
	acs      string // where the answer was posted to
	request  string // the ID of the AuthnRequest; "" for a sign-in that the provider began
	certs    []*x509.Certificate
	decrypt  func(*etree.Element) (*etree.Element, error)
	now      time.Time
}

// assertion is what a checked assertion says.
type assertion struct {
	id         string
	until      time.Time // after this moment it would be refused for its age
	nameID     string
	format     string
	session    string
	context    string
	authTime   time.Time
	attributes map[string][]string
}

// errStatus is the provider's no.
type errStatus struct{ status, message string }

func (e errStatus) Error() string {
	return fmt.Sprintf("the provider answered with the status %q: %q", e.status, e.message)
}

// readResponse checks a Response (SAML Core section 3.3.3, Profiles section
// 4.1.4.3) and returns its one assertion.
//
// crewjam/saml has a function for that; it is not used, because it takes an
// answer with several assertions, without an audience or without a subject
// confirmation (and then checks no InResponseTo), takes SHA-1, and reads the
// element that it was given rather than the one whose digest was checked.
func readResponse(data []byte, want expected) (assertion, error) {
	root, err := parseXML(data, false)
	if err != nil {
		return assertion{}, err
	}
	if err := checkEnvelope(root, want); err != nil {
		return assertion{}, err
	}
	if err := checkPlaces(root); err != nil {
		return assertion{}, err
	}
	el, err := signedAssertion(root, want)
	if err != nil {
		return assertion{}, err
	}
	return readAssertion(el, want)
}

// checkEnvelope checks what the Response says of itself. Where only the assertion
// is signed, none of this is proven: it can refuse, but never let in.
func checkEnvelope(root *etree.Element, want expected) error {
	if !is(root, nsProtocol, "Response") || attr(root, "Version") != "2.0" {
		return errors.New("the document is not a SAML 2.0 Response")
	}
	if attr(root, "InResponseTo") != want.request {
		return errors.New("the Response does not answer the request of this sign-in (InResponseTo)")
	}
	if d := attr(root, "Destination"); d != want.acs && (d != "" || len(children(root, nsSignature, "Signature")) > 0) {
		return fmt.Errorf("the Response is for %q, not for %q (Destination)", clean(d), want.acs)
	}
	for _, i := range children(root, nsAssertion, "Issuer") {
		if v, ok := text(i); !ok || v != want.issuer {
			return fmt.Errorf("the Response is from %q, not from %q", clean(v), want.issuer)
		}
	}
	status, err := only(root, nsProtocol, "Status")
	if err != nil {
		return err
	}
	code, err := only(status, nsProtocol, "StatusCode")
	if err != nil {
		return err
	}
	if v := attr(code, "Value"); v != statusSuccess {
		e := errStatus{status: clean(v)}
		for _, c := range children(code, nsProtocol, "StatusCode") {
			e.status += " " + clean(attr(c, "Value"))
		}
		for _, m := range children(status, nsProtocol, "StatusMessage") {
			t, _ := text(m)
			e.message = clean(t)
		}
		return e
	}
	return nil
}

// checkPlaces refuses every document in which an assertion or a signature is
// anywhere but where it belongs. All forms of signature wrapping (XSW) need a
// second assertion, a second response or a signature somewhere else.
func checkPlaces(root *etree.Element) error {
	var bad error
	assertions := 0
	walk(root, func(el *etree.Element) {
		parent := el.Parent()
		switch el.Tag {
		case "Response":
			if el != root {
				bad = errors.New("the document holds another Response")
			}
		case "Assertion", "EncryptedAssertion":
			assertions++
			if el.NamespaceURI() != nsAssertion || el != root && parent != root {
				bad = errors.New("the document holds an assertion where none belongs")
			}
		case "Signature":
			if el.NamespaceURI() != nsSignature || parent != root && !(is(parent, nsAssertion, "Assertion") && parent.Parent() == root) {
				bad = errors.New("the document holds a signature where none belongs")
			}
		}
	})
	if bad == nil && assertions != 1 {
		bad = fmt.Errorf("the document holds %d assertions, not one", assertions)
	}
	return bad
}

// signedAssertion returns the assertion as a signature covers it: its own, or
// the Response's. Each signature that is there must be good.
func signedAssertion(root *etree.Element, want expected) (*etree.Element, error) {
	response, err := verifyElement(root, want.certs, want.now)
	signed := err == nil
	if err != nil && !errors.Is(err, errUnsigned) {
		return nil, fmt.Errorf("checking the signature of the Response: %w", err)
	}
	if !signed {
		response = root
	}
	el := append(children(response, nsAssertion, "Assertion"), children(response, nsAssertion, "EncryptedAssertion")...)
	if len(el) != 1 {
		return nil, errors.New("the Response does not hold one assertion")
	}
	inner := el[0]
	if inner.Tag == "EncryptedAssertion" {
		if inner, err = want.decrypt(inner); err != nil {
			return nil, err
		}
	} else if plain := children(root, nsAssertion, "Assertion"); len(plain) == 1 {
		// Its signature was made over the document as it was sent: the copy
		// above may lack namespaces that only a list of prefixes mentions.
		inner = plain[0]
	}
	own, err := verifyElement(inner, want.certs, want.now)
	switch {
	case err == nil:
		return own, nil
	case !errors.Is(err, errUnsigned):
		return nil, fmt.Errorf("checking the signature of the assertion: %w", err)
	case !signed:
		return nil, errors.New("neither the Response nor the assertion is signed")
	case el[0].Tag == "EncryptedAssertion":
		return inner, nil // the Response's signature covers what was decrypted
	}
	return el[0], nil
}

// readAssertion checks an assertion whose signature was checked (SAML Core
// section 2.3.3, Profiles section 4.1.4.3).
func readAssertion(el *etree.Element, want expected) (assertion, error) {
	a := assertion{id: attr(el, "ID")}
	if !is(el, nsAssertion, "Assertion") || attr(el, "Version") != "2.0" || a.id == "" || len(a.id) > MaxSubject {
		return a, errors.New("the assertion is not of SAML 2.0, or has no ID")
	}
	issuer, err := only(el, nsAssertion, "Issuer")
	if err != nil {
		return a, err
	}
	if v, ok := text(issuer); !ok || v != want.issuer || attr(issuer, "Format") != "" && attr(issuer, "Format") != formatEntity {
		return a, fmt.Errorf("the assertion is from %q, not from %q", clean(v), want.issuer)
	}
	issued, err := instant(el, "IssueInstant")
	if err != nil {
		return a, err
	}
	if issued.IsZero() || issued.After(want.now.Add(skew)) || issued.Before(want.now.Add(-flowLife)) {
		return a, fmt.Errorf("the assertion says that it was issued at %s; the server's clock says %s", issued.UTC().Format(time.RFC3339), want.now.UTC().Format(time.RFC3339))
	}
	a.until = issued.Add(flowLife + skew)
	if err := a.readSubject(el, want); err != nil {
		return a, err
	}
	if err := checkConditions(el, want); err != nil {
		return a, err
	}
	if err := a.readStatement(el, want); err != nil {
		return a, err
	}
	return a, a.readAttributes(el)
}

// readSubject reads who the assertion is about, and finds the confirmation
// that it is for the bearer, here, now, in answer to our request.
func (a *assertion) readSubject(el *etree.Element, want expected) error {
	subject, err := only(el, nsAssertion, "Subject")
	if err != nil {
		return err
	}
	if len(children(subject, nsAssertion, "EncryptedID")) > 0 {
		return errors.New("the subject's name is encrypted, which is not understood")
	}
	if names := children(subject, nsAssertion, "NameID"); len(names) > 1 {
		return errors.New("the subject has two names")
	} else if len(names) == 1 {
		v, ok := text(names[0])
		if !ok {
			return errors.New("the subject's name is not a text")
		}
		a.nameID, a.format = v, attr(names[0], "Format")
	}
	reason := errors.New("the assertion has no bearer confirmation")
	for _, c := range children(subject, nsAssertion, "SubjectConfirmation") {
		if attr(c, "Method") != methodBearer {
			continue
		}
		if reason = checkConfirmation(c, want); reason == nil {
			return nil
		}
	}
	return reason
}

func checkConfirmation(c *etree.Element, want expected) error {
	data, err := only(c, nsAssertion, "SubjectConfirmationData")
	if err != nil {
		return err
	}
	if r := attr(data, "Recipient"); r != want.acs {
		return fmt.Errorf("the assertion is for the recipient %q, not for %q", clean(r), want.acs)
	}
	if attr(data, "InResponseTo") != want.request {
		return errors.New("the assertion does not answer the request of this sign-in (InResponseTo)")
	}
	if attr(data, "NotOnOrAfter") == "" {
		return errors.New("the assertion's confirmation does not end (NotOnOrAfter)")
	}
	return checkWindow(data, "the assertion's confirmation", want.now)
}

// checkWindow checks NotBefore and NotOnOrAfter of an element, with the skew.
func checkWindow(el *etree.Element, what string, now time.Time) error {
	from, err := instant(el, "NotBefore")
	if err != nil {
		return err
	}
	to, err := instant(el, "NotOnOrAfter")
	if err != nil {
		return err
	}
	if !from.IsZero() && now.Before(from.Add(-skew)) {
		return fmt.Errorf("%s begins at %s; the server's clock says %s", what, from.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !to.IsZero() && !now.Before(to.Add(skew)) {
		return fmt.Errorf("%s ended at %s; the server's clock says %s", what, to.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkConditions checks time and audience; a condition that is not understood
// makes the assertion indeterminate (SAML Core section 2.5.1.1).
func checkConditions(el *etree.Element, want expected) error {
	cond, err := only(el, nsAssertion, "Conditions")
	if err != nil {
		return err
	}
	if err := checkWindow(cond, "the assertion", want.now); err != nil {
		return err
	}
	audiences := 0
	for _, c := range cond.ChildElements() {
		switch {
		case is(c, nsAssertion, "OneTimeUse"), is(c, nsAssertion, "ProxyRestriction"):
		case is(c, nsAssertion, "AudienceRestriction"):
			audiences++
			if !slices.ContainsFunc(children(c, nsAssertion, "Audience"), func(a *etree.Element) bool {
				v, ok := text(a)
				return ok && v == want.audience
			}) {
				return fmt.Errorf("the assertion is for another audience than %q", want.audience)
			}
		default:
			return fmt.Errorf("the assertion holds the condition %q, which is not understood", clean(c.Tag))
		}
	}
	if audiences == 0 {
		return errors.New("the assertion names no audience")
	}
	return nil
}

// readStatement reads how and when the person signed in.
func (a *assertion) readStatement(el *etree.Element, want expected) error {
	st, err := only(el, nsAssertion, "AuthnStatement")
	if err != nil {
		return err
	}
	if a.authTime, err = instant(st, "AuthnInstant"); err != nil {
		return err
	}
	if a.authTime.After(want.now.Add(skew)) {
		return errors.New("the assertion says that the person will sign in in the future")
	}
	end, err := instant(st, "SessionNotOnOrAfter")
	if err != nil {
		return err
	}
	if !end.IsZero() && !want.now.Before(end.Add(skew)) {
		return errors.New("the person's session at the provider has ended")
	}
	a.session = attr(st, "SessionIndex")
	for _, c := range children(st, nsAssertion, "AuthnContext") {
		for _, r := range children(c, nsAssertion, "AuthnContextClassRef") {
			if v, ok := text(r); ok {
				a.context = v
			}
		}
	}
	return nil
}

// readAttributes reads the texts of all attributes; values that are not plain
// text are left out.
func (a *assertion) readAttributes(el *etree.Element) error {
	a.attributes = map[string][]string{}
	total := 0
	for _, st := range children(el, nsAssertion, "AttributeStatement") {
		if len(children(st, nsAssertion, "EncryptedAttribute")) > 0 {
			return errors.New("an attribute is encrypted, which is not understood")
		}
		for _, at := range children(st, nsAssertion, "Attribute") {
			name := strings.TrimSpace(attr(at, "Name"))
			for _, v := range children(at, nsAssertion, "AttributeValue") {
				if total++; total > 4*MaxGroups {
					return errors.New("the assertion holds too many attributes")
				}
				if t, ok := text(v); ok && t != "" {
					a.attributes[name] = append(a.attributes[name], t)
				}
			}
		}
	}
	return nil
}
