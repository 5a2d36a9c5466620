package adminapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// rule is what an operation asks of who calls it.
type rule struct {
	id     string
	allow  access.Permission
	fresh  bool              // a person needs a fresh factor
	second access.Action     // may need a second person
	also   access.Permission // asked for as well, when not empty
	body   int64             // its bound, in bytes, where a second person may be needed
}

// scoped is an input that names what it is about. Operations whose permission
// can be held for a part of the fleet take one, or filter by themselves.
type scoped interface {
	objects(ctx context.Context, a *api) (list []access.Object, what, name string, err error)
}

// proposing is an input that names what shall be: it is its sender's own word, so
// that a refusal need not hide it.
type proposing interface {
	proposed() (o access.Object, what, name string)
}

// exempting is an input that may not need the second person that its operation
// names.
type exempting interface {
	exempt(ctx context.Context, a *api) (bool, error)
}

// reasonable is an input that says why.
type reasonable interface{ reason() string }

// setRule binds an operation to its rule. What has none cannot be registered, so
// that a new operation without one fails every test.
func (a *api) setRule(op operation, input any, limit int64) {
	_, proposes := input.(proposing)
	switch _, objects := input.(scoped); {
	case op.allow == "":
		panic("adminapi: the operation " + op.id + " has no permission")
	case op.allow != access.Own && !op.allow.Known():
		panic("adminapi: the operation " + op.id + " asks for an unknown permission")
	case op.allow.Info().Scoped && !objects && !proposes && !op.filters:
		panic("adminapi: the operation " + op.id + " does not say what it is about")
	}
	a.rules[op.method+" "+basePath+strings.TrimPrefix(op.path, "/")] = rule{op.id, op.allow, op.fresh, op.second, op.also, limit}
}

// admit is the first of two checks: whether the party may do this anywhere at
// all. It comes before anything of the request is read.
func (a *api) admit(r *http.Request, id access.Identity, rule rule) error {
	now := a.now()
	if !id.Rights.Has(rule.allow, now) {
		return access.Denied(rule.allow)
	}
	if rule.also != "" && !id.Rights.Has(rule.also, now) {
		return access.Denied(rule.also)
	}
	if rule.fresh && id.NeedStepUp(a.cfg.StepUp, now) && !carriedOut(r.Context()) {
		return access.StepUp()
	}
	if a.cfg.Used != nil && rule.allow != access.Own {
		a.cfg.Used(id, rule.allow)
	}
	return nil
}

// check is the second: whether the party may do it to these things, and alone.
func (a *api) check(ctx context.Context, rule rule, in any) error {
	id, err := identity(ctx)
	if err != nil {
		return err
	}
	if !id.Rights.Everywhere(rule.allow, a.now()) {
		if err := a.checkScope(ctx, id, rule, in); err != nil {
			return err
		}
	}
	if g, ok := in.(guarded); ok && !id.Rights.IsRoot() {
		if err := g.guard(ctx, a, id, rule); err != nil {
			return err
		}
	}
	if rule.second == "" || carriedOut(ctx) {
		return nil
	}
	return a.askSecond(ctx, id, rule, in)
}

// checkScope looks at everything that an input is about.
func (a *api) checkScope(ctx context.Context, id access.Identity, rule rule, in any) error {
	if s, ok := in.(scoped); ok {
		objects, what, name, err := s.objects(ctx, a)
		if err != nil {
			return err
		}
		if _, proposes := in.(proposing); len(objects) == 0 && !proposes {
			return access.OutOfScope(what, name)
		}
		many, _ := in.(interface{ names() []string })
		for i, o := range objects {
			if many != nil {
				name = many.names()[i]
			}
			if err := a.covers(id, rule.allow, o, what, name); err != nil {
				return err
			}
		}
	}
	if p, ok := in.(proposing); ok {
		if o, what, name := p.proposed(); !id.Rights.Covers(rule.allow, o, a.now()) {
			return refusal.New(refusal.Forbidden, "out-of-scope", "ask an administrator for a role that covers it", "you may not %s in the part of the fleet that %s %.64q would be in", rule.allow.Info().Meaning, what, name)
		}
	}
	return nil
}

// covers refuses an object outside of the party's scopes: as unknown, when the
// party may not even see it.
func (a *api) covers(id access.Identity, p access.Permission, o access.Object, what, name string) error {
	now := a.now()
	switch {
	case id.Rights.Covers(p, o, now):
		return nil
	case id.Rights.Covers(access.Permission(p.Noun()+".read"), o, now):
		return refusal.New(refusal.Forbidden, "out-of-scope", "ask an administrator for a role that covers it", "you may not %s in the part of the fleet that %s %.64q is in", p.Info().Meaning, what, name)
	}
	return access.OutOfScope(what, name)
}

type scopeKey struct{}

// withScope lets Covers ask for the operation that a request is about.
func (a *api) withScope(ctx context.Context, rule rule) context.Context {
	id, err := identity(ctx)
	if err != nil || id.Rights.Everywhere(rule.allow, a.now()) {
		return ctx
	}
	return context.WithValue(ctx, scopeKey{}, func(d device.Device) error {
		return a.covers(id, rule.allow, deviceObject(d), "device", string(d.ID))
	})
}

// Covers tells whether who asks may do what they ask to a device as it is now. A
// write asks once more, of the version that it replaces: the device may have moved
// to another part of the fleet since the request was let in. Nil where the caller
// is not an operation of the API.
func Covers(ctx context.Context, d device.Device) error {
	if covers, ok := ctx.Value(scopeKey{}).(func(device.Device) error); ok {
		return covers(d)
	}
	return nil
}

// inScope filters what a list shows to what the party may see of it.
func inScope[T any](ctx context.Context, a *api, p access.Permission, list []T, object func(T) access.Object) ([]T, error) {
	id, err := identity(ctx)
	if err != nil || id.Rights.Everywhere(p, a.now()) {
		return list, err
	}
	kept := make([]T, 0, len(list))
	for _, v := range list {
		if id.Rights.Covers(p, object(v), a.now()) {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

// deviceObject is a device as scopes see it.
func deviceObject(d device.Device) access.Object {
	return access.Object{Zone: d.Zone, Type: d.Type, Labels: d.Labels}
}

// objectOf looks a device up; one that does not exist is in no scope.
func (a *api) objectOf(ctx context.Context, id device.ID) (access.Object, error) {
	d, err := a.cfg.Devices.Device(ctx, id)
	if refusal.As(err) != nil && refusal.As(err).Kind == refusal.NotFound {
		return access.Object{}, nil
	}
	return deviceObject(d), err
}

// aboutDevice is objects for inputs that name one device.
func (a *api) aboutDevice(ctx context.Context, id device.ID) ([]access.Object, string, string, error) {
	d, err := a.cfg.Devices.Device(ctx, id)
	return []access.Object{deviceObject(d)}, "device", string(id), hidden(err, "device", string(id))
}

type identityKey struct{}
type carriedOutKey struct{}
type rawRequestKey struct{}

// identity is the party that route proved.
func identity(ctx context.Context) (access.Identity, error) {
	id, ok := ctx.Value(identityKey{}).(access.Identity)
	if !ok {
		return id, errors.New("an operation was reached without authentication")
	}
	return id, nil
}

// carriedOut tells whether this request is one that a second person approved.
func carriedOut(ctx context.Context) bool { return ctx.Value(carriedOutKey{}) != nil }

// mayRead tells whether the caller may see something beside what it asked for.
func (a *api) mayRead(ctx context.Context, p access.Permission) bool {
	id, err := identity(ctx)
	return err == nil && id.Rights.Has(p, a.now())
}

func (a *api) now() time.Time {
	if a.cfg.Now != nil {
		return a.cfg.Now()
	}
	return time.Now()
}

// rawRequest is a request as it came, for a second person to look at.
type rawRequest struct {
	method, target, contentType, reason string
	body                                []byte
}

// ReasonHeader says why, for operations whose body has no room for it.
const ReasonHeader = "Holdfast-Reason"

// reasonOf reads the header, which is percent-encoded where it is not plain.
func reasonOf(r *http.Request) string {
	why, err := url.PathUnescape(r.Header.Get(ReasonHeader))
	if err != nil || !utf8.ValidString(why) {
		return ""
	}
	return why
}

// keepRaw reads the body ahead where a second person may have to see it.
func (a *api) keepRaw(w http.ResponseWriter, r *http.Request, rule rule) (*http.Request, error) {
	if rule.second == "" {
		return r, nil
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rule.body))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, newProblem(r.Context(), http.StatusBadRequest, "body-cut-off", "the body could not be read to its end", "send it again")
	}
	raw := rawRequest{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), reasonOf(r), b}
	r = r.WithContext(context.WithValue(r.Context(), rawRequestKey{}, raw))
	r.Body = io.NopCloser(bytes.NewReader(b))
	return r, nil
}

// Pending is the answer, with status 202, to a request that a second person has
// to approve first. As an error it says so.
type Pending struct {
	Detail   string          `json:"detail"`
	Approval access.Approval `json:"approval"`
}

// Error says that it waits.
func (p *Pending) Error() string { return p.Detail }

// GetStatus is 202.
func (p *Pending) GetStatus() int { return http.StatusAccepted }

// ContentType is plain JSON.
func (p *Pending) ContentType(string) string { return "application/json" }

var _ huma.StatusError = (*Pending)(nil)

// askSecond stores the request for a second person, if it needs one, and returns
// that it waits.
func (a *api) askSecond(ctx context.Context, id access.Identity, rule rule, in any) error {
	if a.cfg.Approvals == nil {
		return nil
	}
	needed, err := a.cfg.Approvals.SecondNeeded(ctx, id, rule.second)
	if err != nil || !needed {
		return err
	}
	if rule.second == access.RevokeMany {
		n := 1
		if many, ok := in.(*bulkMove); ok {
			n = len(many.Body.IDs)
		}
		if few, err := a.cfg.Approvals.Few(ctx, id, n); err != nil || few {
			return err
		}
	}
	if e, ok := in.(exempting); ok {
		if exempt, err := e.exempt(ctx, a); err != nil || exempt {
			return err
		}
	}
	raw, ok := ctx.Value(rawRequestKey{}).(rawRequest)
	if !ok {
		return errors.New("a request that needs a second person was not kept")
	}
	why := raw.reason
	if r, ok := in.(reasonable); ok && r.reason() != "" {
		why = r.reason()
	}
	if strings.TrimSpace(why) == "" {
		return refusal.New(refusal.Invalid, "no-reason", "say why, in the body's reason or in the header "+ReasonHeader, "this needs a second person, who has to know the reason")
	}
	asked, err := a.cfg.Approvals.Ask(ctx, id, access.Approval{Action: rule.second, Operation: rule.id, Summary: a.summaryOf(rule.id, raw.target), Method: raw.method, Path: raw.target,
		Body: raw.body, ContentType: raw.contentType, Reason: why})
	if err != nil {
		return err
	}
	return &Pending{Detail: fmt.Sprintf("nothing has happened yet: a second person has to approve this, as request %s, until %s", asked.ID, asked.ExpiresAt.UTC().Format(time.RFC3339)), Approval: asked}
}

// summaryOf says what a request does: the operation's summary and its path.
func (a *api) summaryOf(operation, target string) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(target, basePath), "?")
	return a.summaries[operation] + " (" + path + ")"
}
