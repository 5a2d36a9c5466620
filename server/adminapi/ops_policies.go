package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// maxPolicy bounds a body with manifests: 16 MiB of text and what JSON adds to it.
const maxPolicy = 40 << 20

type policyFiles struct {
	Body struct {
		Files []PolicyFile `json:"files" maxItems:"10000"`
	}
}

type policyTest struct {
	Body struct {
		Files []PolicyFile `json:"files,omitempty" maxItems:"10000" doc:"the active ones when left out"`
	}
}

type planInput struct {
	Files []PolicyFile `json:"files"`
}

// filesOnly is a body that may hold manifests.
type filesOnly struct {
	Files []PolicyFile `json:"files,omitempty"`
}

type policyApply struct{ Body PolicyApply }

type policyExplain struct{ Body ExplainQuery }

type policyNumber struct {
	Version int64 `path:"version" minimum:"1" maximum:"9007199254740991" example:"3"`
}

type policyList struct {
	Before int64 `query:"before" minimum:"0" doc:"list from below this version on; 0 begins with the newest"`
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (a *api) policyOperations() {
	const tag = "policy"
	register(a, operation{id: "plan-policy", allow: access.PolicyRead, method: http.MethodPost, path: "/policy/plan", tag: tag, maxBody: maxPolicy, summary: "Plan a policy",
		description: "What applying these manifests would do: problems by file, line and column, changes to each document, failed tests, and which connected sessions lose something. Changes nothing.",
		request:     planInput{[]PolicyFile{examplePolicyFile}}, response: examplePlan},
		func(ctx context.Context, _ access.Actor, in *policyFiles) (*body[PolicyPlan], error) {
			p, err := a.cfg.Policies.PlanPolicy(ctx, in.Body.Files)
			p.Problems, p.Changes, p.Tests, p.Effects = present(p.Problems), present(p.Changes), present(p.Tests), present(p.Effects)
			for i := range p.Changes {
				p.Changes[i].Details = present(p.Changes[i].Details)
			}
			if p.Effects, err = visibleEffects(ctx, a, p.Effects, err); err != nil {
				return nil, err
			}
			for i := range p.Effects {
				p.Effects[i].Lost, p.Effects[i].By = present(p.Effects[i].Lost), present(p.Effects[i].By)
			}
			return &body[PolicyPlan]{p}, err
		})
	register(a, operation{id: "apply-policy", allow: access.PolicyApply, fresh: true, second: access.ApplyPolicy, method: http.MethodPost, path: "/policy/apply", tag: tag, maxBody: maxPolicy, status: http.StatusCreated, summary: "Apply a policy",
		description: "Makes these manifests the active policy, on every node and for every session within a second. They are the whole policy: what they do not hold is gone. " +
			"Refused with problems, with failed tests, or when the active version is not the one named.",
		request: PolicyApply{[]PolicyFile{examplePolicyFile}, "pumps report their pressure", 2}, response: examplePolicyVersion},
		func(ctx context.Context, by access.Actor, in *policyApply) (*body[PolicyVersion], error) {
			v, err := a.cfg.Policies.ApplyPolicy(ctx, by, in.Body)
			return &body[PolicyVersion]{v}, err
		})
	register(a, operation{id: "show-policy", allow: access.PolicyRead, method: http.MethodGet, path: "/policy", tag: tag, summary: "Show the active policy",
		description: "Version, who applied it and when, and its files. Version 0 has none: nothing was applied yet, and nothing is allowed.",
		response:    PolicyDetails{examplePolicyVersion, true, []PolicyFile{examplePolicyFile}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[PolicyDetails], error) {
			return a.policy(ctx, 0)
		})
	register(a, operation{id: "list-policy-versions", allow: access.PolicyRead, method: http.MethodGet, path: "/policy/versions", tag: tag, summary: "List the versions of the policy",
		description: "One page of all that was ever applied, newest first, without the files.", response: PolicyVersionList{[]PolicyVersion{examplePolicyVersion}, 3}}, a.listPolicyVersions)
	register(a, operation{id: "show-policy-version", allow: access.PolicyRead, method: http.MethodGet, path: "/policy/versions/{version}", tag: tag, summary: "Show a version of the policy",
		description: "One version with its files. Apply them to go back to it.", response: PolicyDetails{examplePolicyVersion, false, []PolicyFile{examplePolicyFile}}},
		func(ctx context.Context, _ access.Actor, in *policyNumber) (*body[PolicyDetails], error) {
			return a.policy(ctx, in.Version)
		})
	register(a, operation{id: "test-policy", allow: access.PolicyRead, method: http.MethodPost, path: "/policy/test", tag: tag, maxBody: maxPolicy, summary: "Run the tests of a policy",
		description: "Runs the PolicyTest documents in these files, or in the active policy.", request: filesOnly{[]PolicyFile{examplePolicyFile}},
		response: PolicyTestReport{[]PolicyProblem{}, []PolicyTestResult{exampleTestResult}}},
		func(ctx context.Context, _ access.Actor, in *policyTest) (*body[PolicyTestReport], error) {
			r, err := a.cfg.Policies.TestPolicy(ctx, in.Body.Files)
			r.Problems, r.Results = present(r.Problems), present(r.Results)
			return &body[PolicyTestReport]{r}, err
		})
	register(a, operation{id: "explain-policy", allow: access.PolicyRead, method: http.MethodPost, path: "/policy/explain", tag: tag, maxBody: 1 << 20, summary: "Explain a decision",
		description: "Whether a device, gateway or app may connect, publish, subscribe or receive one thing under the active policy, which rule decides, and every rule that was looked at. Nothing is sent and no rate is charged.",
		request:     ExplainQuery{As: "device:pump-1", Publish: &PolicyMessage{Topic: "water/north/pump-1/telemetry", Payload: `{"bar":3.1}`, QoS: 1}}, response: exampleExplanation}, a.explainPolicy)
}

func (a *api) policy(ctx context.Context, version int64) (*body[PolicyDetails], error) {
	p, err := a.cfg.Policies.Policy(ctx, version)
	p.Files = present(p.Files)
	return &body[PolicyDetails]{p}, err
}

func (a *api) listPolicyVersions(ctx context.Context, _ access.Actor, in *policyList) (*body[PolicyVersionList], error) {
	versions, err := a.cfg.Policies.PolicyVersions(ctx, in.Before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	l := PolicyVersionList{Items: present(versions)}
	if len(versions) > in.Limit {
		l.Items = versions[:in.Limit]
		l.Next = l.Items[in.Limit-1].Version
	}
	return &body[PolicyVersionList]{l}, nil
}

func (a *api) explainPolicy(ctx context.Context, _ access.Actor, in *policyExplain) (*body[Explanation], error) {
	q := in.Body
	if (q.As == "") == (q.Facts == nil) {
		return nil, refusal.New(refusal.Invalid, "bad-question", "give one of as and facts", "the question does not say about whom it is, or says it twice")
	}
	asked := 0
	for _, given := range []bool{q.Connect != "", q.Publish != nil, q.Receive != nil, q.Subscribe != ""} {
		if given {
			asked++
		}
	}
	if asked != 1 {
		return nil, refusal.New(refusal.Invalid, "bad-question", "give one of connect, publish, receive and subscribe", "the question names %d actions", asked)
	}
	for _, m := range []*PolicyMessage{q.Publish, q.Receive} {
		if m != nil && m.Payload != "" && len(m.PayloadBase64) > 0 {
			return nil, refusal.New(refusal.Invalid, "bad-question", "give one of payload and payload_base64", "the payload is given twice")
		}
	}
	if err := a.mayAskAbout(ctx, q.As); err != nil {
		return nil, err
	}
	if !a.everywhere(ctx, access.DeviceRead) {
		q.Knows = func(ctx context.Context, id string) bool { return a.mayAskAbout(ctx, "device:"+id) == nil }
	}
	e, err := a.cfg.Policies.ExplainPolicy(ctx, q)
	e.Steps = present(e.Steps)
	return &body[Explanation]{e}, err
}
