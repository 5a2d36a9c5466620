package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
)

type roleName struct {
	Name string `path:"name" maxLength:"63" example:"line-lead"`
}

type rolePost struct {
	Body struct {
		Name string `json:"name" maxLength:"63"`
		RoleInput
	}
}

type rolePut struct {
	Name string `path:"name" maxLength:"63" example:"line-lead"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		RoleInput
	}
}

type roleCreate struct {
	Name string `json:"name"`
	RoleInput
}

type roleUpdate struct {
	Version int64 `json:"version"`
	RoleInput
}

type grantQuery struct {
	Kind    access.SubjectKind `query:"kind" enum:"person,client"`
	Subject string             `query:"subject" maxLength:"64" doc:"id of the person or client"`
}

type grantPost struct{ Body GrantInput }

func (in *grantPost) reason() string { return in.Body.Reason }

type grantDelete struct {
	ID     string `path:"id" maxLength:"64" example:"g7k2m9qd4xna3bfe"`
	Reason string `query:"reason" maxLength:"1024" doc:"why, for the audit log"`
}

type unusedQuery struct {
	Days int `query:"days" minimum:"1" maximum:"3650" default:"90" doc:"not used for so many days, and given before"`
}

// PermissionInfo is a permission as the API lists it.
type PermissionInfo struct {
	Permission access.Permission `json:"permission"`
	Meaning    string            `json:"meaning" doc:"completes: may …"`
	Scoped     bool              `json:"scoped" doc:"can be given for a part of the fleet"`
	Privileged bool              `json:"privileged" doc:"who holds it needs a second factor"`
}

func (a *api) roleOperations() {
	const tag = "access"
	register(a, operation{id: "list-permissions", allow: access.Own, method: http.MethodGet, path: "/permissions", tag: tag, summary: "List permissions",
		description: "What can be permitted, and what each permission means.", response: list[PermissionInfo]{[]PermissionInfo{{access.DeviceQuarantine, access.DeviceQuarantine.Info().Meaning, true, true}}}},
		func(context.Context, access.Actor, *struct{}) (*body[list[PermissionInfo]], error) {
			return items(access.Permissions(), func(i access.Info) PermissionInfo {
				return PermissionInfo{i.Permission, i.Meaning, i.Scoped, i.Permission.Privileged()}
			}), nil
		})
	register(a, operation{id: "list-roles", allow: access.RoleRead, method: http.MethodGet, path: "/roles", tag: tag, summary: "List roles",
		description: "The roles that come with Holdfast, then custom ones by name.", response: list[access.Role]{[]access.Role{exampleRole}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[access.Role]], error) {
			roles, err := a.cfg.Roles.Roles(ctx)
			return &body[list[access.Role]]{list[access.Role]{present(roles)}}, err
		})
	register(a, operation{id: "create-role", allow: access.RoleWrite, fresh: true, second: access.GiveRole, method: http.MethodPost, path: "/roles", tag: tag, status: http.StatusCreated, summary: "Create a role",
		description: "A named set of permissions. It does nothing until it is given to somebody.", request: roleCreate{exampleRole.Name, exampleRoleInput}, response: exampleRole},
		func(ctx context.Context, by access.Actor, in *rolePost) (*body[access.Role], error) {
			r, err := a.cfg.Roles.CreateRole(ctx, by, access.Role{Name: in.Body.Name, Description: in.Body.Description, Permissions: in.Body.Permissions})
			return &body[access.Role]{r}, err
		})
	register(a, operation{id: "update-role", allow: access.RoleWrite, fresh: true, second: access.GiveRole, method: http.MethodPut, path: "/roles/{name}", tag: tag, summary: "Update a role",
		description: "Writes every field. It holds at once for everybody who has the role.", request: roleUpdate{1, exampleRoleInput}, response: exampleRole},
		func(ctx context.Context, by access.Actor, in *rolePut) (*body[access.Role], error) {
			r, err := a.cfg.Roles.UpdateRole(ctx, by, access.Role{Name: in.Name, Description: in.Body.Description, Permissions: in.Body.Permissions, Version: in.Body.Version})
			return &body[access.Role]{r}, err
		})
	register(a, operation{id: "delete-role", allow: access.RoleWrite, fresh: true, method: http.MethodDelete, path: "/roles/{name}", tag: tag, status: http.StatusNoContent, summary: "Delete a role",
		description: "Refused while somebody has it."},
		func(ctx context.Context, by access.Actor, in *roleName) (*none, error) {
			return nil, a.cfg.Roles.DeleteRole(ctx, by, in.Name)
		})
	a.grantOperations()
}

func (a *api) grantOperations() {
	const tag = "access"
	register(a, operation{id: "list-grants", allow: access.RoleRead, method: http.MethodGet, path: "/grants", tag: tag, summary: "List who has which role",
		description: "Of one person or client, or of all.", response: list[access.Grant]{[]access.Grant{exampleGrant}}},
		func(ctx context.Context, _ access.Actor, in *grantQuery) (*body[list[access.Grant]], error) {
			grants, err := a.cfg.Roles.Grants(ctx, in.Kind, in.Subject)
			return &body[list[access.Grant]]{list[access.Grant]{present(grants)}}, err
		})
	register(a, operation{id: "create-grant", allow: access.RoleWrite, fresh: true, second: access.GiveRole, method: http.MethodPost, path: "/grants", tag: tag, status: http.StatusCreated, summary: "Give a role",
		description: "To a person or an API client, for the whole fleet or a part of it, until a time or until it is taken back. Nobody gives a role to themselves, and none with permissions that they do not hold for the whole fleet and for as long.",
		request:     GrantInput{Kind: access.ToPerson, Subject: exampleGrant.Subject, Role: "operator", Scope: exampleGrant.Scope, Reason: "new on the night shift"}, response: exampleGrant},
		func(ctx context.Context, by access.Actor, in *grantPost) (*body[access.Grant], error) {
			g, err := a.cfg.Roles.Grant(ctx, by, in.Body)
			return &body[access.Grant]{g}, err
		})
	register(a, operation{id: "delete-grant", allow: access.RoleWrite, fresh: true, second: access.GiveRole, method: http.MethodDelete, path: "/grants/{id}", tag: tag, status: http.StatusNoContent, summary: "Take a role back",
		description: "It holds at once, for sessions under way too. The last administrator's role cannot be taken back. A role that lets somebody else decide on requests may need a second person."},
		func(ctx context.Context, by access.Actor, in *grantDelete) (*none, error) {
			return nil, a.cfg.Roles.RevokeGrant(ctx, by, in.ID, in.Reason)
		})
	register(a, operation{id: "list-unused", allow: access.RoleRead, method: http.MethodGet, path: "/permissions/unused", tag: tag, summary: "List permissions that nobody uses",
		description: "Permissions that were given and not used for some time: candidates for a smaller role.", response: list[Unused]{[]Unused{exampleUnused}}},
		func(ctx context.Context, _ access.Actor, in *unusedQuery) (*body[list[Unused]], error) {
			unused, err := a.cfg.Roles.Unused(ctx, in.Days)
			return &body[list[Unused]]{list[Unused]{present(unused)}}, err
		})
}
