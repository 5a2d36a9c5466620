package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

// defaultTokenTTL is how long a token lives when nothing is said.
const defaultTokenTTL = 24 * time.Hour

type tokenPost struct{ Body TokenInput }

type tokenName struct {
	ID string `path:"id" maxLength:"64" example:"q7mzk3a2bfxe9hgt"`
}

// noun is the token asked for, with defaults, as of now.
func (in TokenInput) noun(now time.Time) (enroll.Token, error) {
	t := enroll.Token{Kind: in.Kind, Type: in.Type, Zone: in.Zone, DeviceID: in.DeviceID, IDPrefix: in.IDPrefix, Labels: in.Labels,
		Approval: in.Approval, Quota: in.Quota, ExpiresAt: in.ExpiresAt, Note: in.Note}
	if t.Kind == "" {
		t.Kind = enroll.OneTime
	}
	if t.Quota == 0 {
		t.Quota = 1
	}
	switch {
	case in.ValidFor != 0 && !in.ExpiresAt.IsZero():
		return t, refusal.New(refusal.Invalid, "bad-expiry", "leave one of them out", "both valid_for and expires_at are given")
	case in.ValidFor != 0:
		t.ExpiresAt = now.Add(time.Duration(in.ValidFor))
	case in.ExpiresAt.IsZero():
		t.ExpiresAt = now.Add(defaultTokenTTL)
	}
	return t, t.Validate(now)
}

func (a *api) tokenOperations() {
	const tag = "tokens"
	register(a, operation{id: "list-tokens", allow: access.EnrolmentRead, filters: true, method: http.MethodGet, path: "/tokens", tag: tag, summary: "List enrolment tokens",
		description: "All enrolment tokens, without their secrets.", response: list[enroll.Token]{[]enroll.Token{exampleToken}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[enroll.Token]], error) {
			tokens, err := a.cfg.Enrolment.Tokens(ctx)
			if err == nil {
				tokens, err = inScope(ctx, a, access.EnrolmentRead, tokens, tokenObject)
			}
			return &body[list[enroll.Token]]{list[enroll.Token]{present(tokens)}}, err
		})
	register(a, operation{id: "create-token", allow: access.EnrolmentWrite, method: http.MethodPost, path: "/tokens", tag: tag, status: http.StatusCreated, summary: "Create an enrolment token",
		description: "The answer is the only place that the secret is ever shown in. A token is one-time and valid for 24 hours unless said otherwise.",
		request:     TokenInput{Kind: enroll.Group, Type: "sensor", Zone: "plant-1", IDPrefix: "sensor-", Quota: 50, ValidFor: Duration(24 * time.Hour)},
		response:    createdToken{exampleToken, "hfe_q7mzk3a2bfxe9hgt_..."}},
		func(ctx context.Context, by access.Actor, in *tokenPost) (*body[createdToken], error) {
			t, err := in.Body.noun(time.Now())
			if err != nil {
				return nil, err
			}
			t, secret, err := a.cfg.Enrolment.CreateToken(ctx, by, t)
			return &body[createdToken]{createdToken{t, secret.Reveal()}}, err
		})
	register(a, operation{id: "revoke-token", allow: access.EnrolmentWrite, method: http.MethodPost, path: "/tokens/{id}/revoke", tag: tag, status: http.StatusNoContent, summary: "Revoke an enrolment token",
		description: "Nothing enrols with it any more. Devices that did keep their certificates. The request has no body."},
		func(ctx context.Context, by access.Actor, in *tokenName) (*none, error) {
			return nil, a.cfg.Enrolment.RevokeToken(ctx, by, in.ID)
		})
}

type waitingMove struct {
	ID   string `path:"id" maxLength:"128" example:"w-2041"`
	Body reasoned
}

func (a *api) waitingOperations() {
	const tag = "waiting"
	register(a, operation{id: "list-waiting", allow: access.EnrolmentRead, filters: true, method: http.MethodGet, path: "/waiting", tag: tag, summary: "List the waiting room",
		description: "Enrolment requests that wait for an operator, with the key that would be certified.", response: list[enroll.Waiting]{[]enroll.Waiting{exampleWaiting}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[enroll.Waiting]], error) {
			waiting, err := a.cfg.Enrolment.Waiting(ctx)
			if err == nil {
				waiting, err = inScope(ctx, a, access.EnrolmentRead, waiting, waitingObject)
			}
			return &body[list[enroll.Waiting]]{list[enroll.Waiting]{present(waiting)}}, err
		})
	for _, v := range []struct {
		verb, summary, description string
		approve                    bool
	}{
		{"approve", "Approve a waiting enrolment", "The device gets its certificate, for the key that waits, when it asks the next time.", true},
		{"reject", "Reject a waiting enrolment", "The device is refused when it asks the next time.", false},
	} {
		register(a, operation{id: v.verb + "-waiting", allow: access.EnrolmentApprove, method: http.MethodPost, path: "/waiting/{id}/" + v.verb, tag: tag, summary: v.summary,
			description: v.description, request: reasoned{"serial number checked by telephone"}, response: exampleWaiting},
			func(ctx context.Context, by access.Actor, in *waitingMove) (*body[enroll.Waiting], error) {
				w, err := a.cfg.Enrolment.DecideWaiting(ctx, by, in.ID, v.approve, in.Body.Reason)
				return &body[enroll.Waiting]{w}, err
			})
	}
}
