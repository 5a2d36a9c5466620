package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

// typeName is a type in the path.
type typeName struct {
	Name device.TypeName `path:"name" maxLength:"64" example:"sensor"`
}

// typePost is a new type.
type typePost struct {
	Body struct {
		Name  device.TypeName `json:"name" maxLength:"64"`
		Stage device.Stage    `json:"stage,omitempty" enum:"prototype,develop" doc:"prototype when left out"`
		TypeInput
	}
}

// typePut is a type as it shall be. What show also returns is accepted and
// ignored, so that its answer can be edited and sent back.
type typePut struct {
	Name device.TypeName `path:"name" maxLength:"64" example:"sensor"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		TypeInput
		Name      string    `json:"name,omitempty" readOnly:"true" doc:"ignored"`
		Stage     string    `json:"stage,omitempty" readOnly:"true" doc:"ignored: moved by POST /types/{name}/stage"`
		CreatedAt time.Time `json:"created_at,omitzero" readOnly:"true" doc:"ignored"`
		UpdatedAt time.Time `json:"updated_at,omitzero" readOnly:"true" doc:"ignored"`
		SignOffs  []any     `json:"sign_offs,omitempty" readOnly:"true" doc:"ignored"`
	}
}

type typeStage struct {
	Name device.TypeName `path:"name" maxLength:"64" example:"sensor"`
	Body stageMove
}

type typeSignOff struct {
	Name device.TypeName `path:"name" maxLength:"64" example:"sensor"`
	Body signOffInput
}

// noun is the inventory's form, with defaults for what was left out.
func (in TypeInput) noun(name device.TypeName) device.Type {
	return device.Type{Name: name, Description: in.Description, Profile: in.Profile, KeyAlgorithm: in.KeyAlgorithm,
		Validity: time.Duration(in.Validity), Grace: time.Duration(in.Grace), Approval: in.Approval,
		Anonymous: in.Anonymous, ServerKeyGen: in.ServerKeyGen}.WithDefaults()
}

func (a *api) typeOperations() {
	const tag = "types"
	register(a, operation{id: "list-types", allow: access.TypeRead, method: http.MethodGet, path: "/types", tag: tag, summary: "List device types",
		description: "All device types, by name.", response: list[Type]{[]Type{exampleType}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[Type]], error) {
			types, err := a.cfg.Types.Types(ctx)
			if err != nil {
				return nil, err
			}
			return items(types, viewType), nil
		})
	register(a, operation{id: "create-type", allow: access.TypeWrite, method: http.MethodPost, path: "/types", tag: tag, status: http.StatusCreated, summary: "Create a device type",
		description: "Fields left out take their defaults. A new type starts at the stage prototype or develop.",
		request:     typeCreate{Name: "sensor", TypeInput: exampleTypeInput}, response: exampleType}, a.createType)
	register(a, operation{id: "show-type", allow: access.TypeRead, method: http.MethodGet, path: "/types/{name}", tag: tag, summary: "Show a device type",
		description: "The type with all its sign-offs, oldest first.", response: TypeDetails{exampleType, []device.SignOff{exampleSignOff}}},
		func(ctx context.Context, _ access.Actor, in *typeName) (*body[TypeDetails], error) {
			t, offs, err := a.cfg.Types.Type(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return &body[TypeDetails]{TypeDetails{viewType(t), present(offs)}}, nil
		})
	register(a, operation{id: "update-type", allow: access.TypeWrite, method: http.MethodPut, path: "/types/{name}", tag: tag, summary: "Update a device type",
		description: "Writes every field: one left out takes its default. Certificates that are out already do not change.",
		request:     typeUpdate{Version: 3, TypeInput: exampleTypeInput}, response: exampleType}, a.updateType)
	register(a, operation{id: "move-type", allow: access.TypeApprove, second: access.Decommission, method: http.MethodPost, path: "/types/{name}/stage", tag: tag, summary: "Move a type to another product stage",
		description: "Forward one stage at a time; deploy and operate need a security sign-off for that stage.",
		request:     stageMove{Stage: device.Deploy, Reason: "release 1.0"}, response: exampleType},
		func(ctx context.Context, by access.Actor, in *typeStage) (*body[Type], error) {
			t, err := a.cfg.Types.MoveType(ctx, by, in.Name, in.Body.Stage, in.Body.Reason)
			return &body[Type]{viewType(t)}, err
		})
	register(a, operation{id: "sign-off-type", allow: access.TypeApprove, fresh: true, method: http.MethodPost, path: "/types/{name}/sign-offs", tag: tag, status: http.StatusCreated, summary: "Record a security sign-off",
		description: "Says who reviewed what before a type enters the stage deploy or operate.",
		request:     signOffInput{Stage: device.Deploy, Statement: "Penetration test passed, no open findings", Evidence: "https://example.com/reports/17"}, response: exampleSignOff},
		func(ctx context.Context, by access.Actor, in *typeSignOff) (*body[device.SignOff], error) {
			s := device.SignOff{Type: in.Name, Stage: in.Body.Stage, Statement: in.Body.Statement, Evidence: in.Body.Evidence}
			if err := s.Validate(); err != nil {
				return nil, err
			}
			s, err := a.cfg.Types.SignOff(ctx, by, s)
			return &body[device.SignOff]{s}, err
		})
	a.anchorOperations()
}

func (a *api) createType(ctx context.Context, by access.Actor, in *typePost) (*body[Type], error) {
	t := in.Body.TypeInput.noun(in.Body.Name)
	if in.Body.Stage != "" {
		t.Stage = in.Body.Stage
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	t, err := a.cfg.Types.CreateType(ctx, by, t)
	return &body[Type]{viewType(t)}, err
}

func (a *api) updateType(ctx context.Context, by access.Actor, in *typePut) (*body[Type], error) {
	t := in.Body.TypeInput.noun(in.Name)
	t.Version = in.Body.Version
	if err := t.Validate(); err != nil {
		return nil, err
	}
	t, err := a.cfg.Types.UpdateType(ctx, by, t)
	return &body[Type]{viewType(t)}, err
}

type anchorsPost struct {
	Name    device.TypeName `path:"name" maxLength:"64" example:"sensor"`
	RawBody []byte          `contentType:"application/pem-certificate-chain"`
}

type anchorName struct {
	Name device.TypeName `path:"name" maxLength:"64" example:"sensor"`
	ID   string          `path:"id" maxLength:"64" doc:"SHA-256 of the certificate, hex"`
}

func (a *api) anchorOperations() {
	const tag = "types"
	register(a, operation{id: "list-anchors", allow: access.TypeRead, method: http.MethodGet, path: "/types/{name}/anchors", tag: tag, summary: "List manufacturer anchors",
		description: "The manufacturer CA certificates that IDevIDs of this type chain to.", response: list[Anchor]{[]Anchor{exampleAnchor}}},
		func(ctx context.Context, _ access.Actor, in *typeName) (*body[list[Anchor]], error) {
			anchors, err := a.cfg.Enrolment.Anchors(ctx, in.Name)
			return &body[list[Anchor]]{list[Anchor]{present(anchors)}}, err
		})
	register(a, operation{id: "add-anchors", allow: access.EnrolmentTrust, fresh: true, second: access.ChangeCA, method: http.MethodPost, path: "/types/{name}/anchors", tag: tag, status: http.StatusCreated, maxBody: maxPEM, summary: "Add manufacturer anchors",
		description: "The body is one or more CA certificates as PEM, at most 256 KiB. Either all are added or none.",
		request:     examplePEM, response: list[Anchor]{[]Anchor{exampleAnchor}}},
		func(ctx context.Context, by access.Actor, in *anchorsPost) (*body[list[Anchor]], error) {
			anchors, err := a.cfg.Enrolment.AddAnchor(ctx, by, in.Name, in.RawBody)
			return &body[list[Anchor]]{list[Anchor]{present(anchors)}}, err
		})
	register(a, operation{id: "remove-anchor", allow: access.EnrolmentTrust, fresh: true, method: http.MethodDelete, path: "/types/{name}/anchors/{id}", tag: tag, summary: "Remove a manufacturer anchor",
		description: "Devices that enrolled through it keep their certificates.", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *anchorName) (*none, error) {
			return nil, a.cfg.Enrolment.RemoveAnchor(ctx, by, in.Name, in.ID)
		})
}

// items makes a list of views; an empty list is [], never null.
func items[N, V any](nouns []N, view func(N) V) *body[list[V]] {
	l := make([]V, len(nouns))
	for i := range nouns {
		l[i] = view(nouns[i])
	}
	return &body[list[V]]{list[V]{l}}
}

// present is [] for nil.
func present[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
