package access

import (
	"regexp"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Role is a named set of permissions.
type Role struct {
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Permissions []Permission `json:"permissions"`
	Builtin     bool         `json:"builtin" doc:"comes with Holdfast and cannot be changed"`
	UpdatedAt   time.Time    `json:"updated_at,omitzero"`
	Version     int64        `json:"version,omitempty" doc:"grows with each change; an update names the version it was made from"`
}

var roleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Validate names what is wrong with a custom role.
func (r Role) Validate() error {
	if !roleName.MatchString(r.Name) {
		return refusal.New(refusal.Invalid, "bad-role-name", "use a lower-case letter, then letters, digits and hyphens", "the role's name %.64q is not valid", r.Name)
	}
	if _, taken := Builtin(r.Name); taken {
		return refusal.New(refusal.Conflict, "role-builtin", "choose another name", "the role %s comes with Holdfast", r.Name)
	}
	if len(r.Description) > 256 {
		return refusal.New(refusal.Invalid, "bad-description", "use at most 256 bytes", "the description is too long")
	}
	if len(r.Permissions) == 0 {
		return refusal.New(refusal.Invalid, "no-permissions", "name at least one permission", "the role has no permissions")
	}
	for i, p := range r.Permissions {
		if !p.Known() || slices.Contains(r.Permissions[:i], p) {
			return refusal.New(refusal.Invalid, "bad-permission", "list the permissions with `holdfast role permissions`, and name each once", "%.64q is no permission, or named twice", p)
		}
	}
	return nil
}

// Has tells whether the role gives a permission.
func (r Role) Has(p Permission) bool { return slices.Contains(r.Permissions, p) }

// Privileged tells whether who has the role needs a second factor: it changes
// something, or shows something sensitive.
func (r Role) Privileged() bool { return slices.ContainsFunc(r.Permissions, Permission.Privileged) }

var everyday = []Permission{StatusRead, DeviceRead, TypeRead, ZoneRead, EnrolmentRead, CertificateRead, CARead, PolicyRead, AppRead, SessionRead}

func with(more ...Permission) []Permission { return append(slices.Clone(everyday), more...) }

var builtin = []Role{
	{Name: "viewer", Description: "Sees the fleet, its certificates, policy and sessions; changes nothing and sees no messages.", Permissions: with()},
	{Name: "operator", Description: "Runs the fleet day by day: registers, admits, maintains and quarantines devices, watches messages.",
		Permissions: with(DeviceWrite, DeviceMaintain, DeviceQuarantine, EnrolmentWrite, EnrolmentApprove, SessionClose, MessageTap)},
	{Name: "security-officer", Description: "Decides who is trusted and what may be said: policy, revocation, authorities, and the second signature on requests.",
		Permissions: with(DeviceMaintain, DeviceQuarantine, DeviceRevoke, DeviceRetire, TypeWrite, TypeApprove, ZoneWrite, EnrolmentWrite, EnrolmentApprove, EnrolmentTrust,
			CertificateIssue, CertificateRevoke, CARotate, PolicyApply, AppWrite, SessionClose, MessageTap, AuditRead, AuditExport, PersonRead, PersonalRead, RoleRead, ClientRead, ApprovalRead, ApprovalDecide)},
	{Name: "update-manager", Description: "Looks after device types and their stages; later also software updates.",
		Permissions: with(TypeWrite, TypeApprove, DeviceMaintain)},
	{Name: "auditor", Description: "Reads everything that happened and who may do what; changes nothing.",
		Permissions: with(AuditRead, AuditExport, PersonRead, PersonalRead, RoleRead, ClientRead, ApprovalRead)},
	{Name: "admin", Description: "May do everything, including giving roles to people.", Permissions: allPermissions()},
}

// Admin is the role that may do everything.
const Admin = "admin"

func allPermissions() []Permission {
	list := make([]Permission, len(permissions))
	for i, p := range permissions {
		list[i] = p.Permission
	}
	return list
}

// BuiltinRoles lists the roles that come with Holdfast, from the least to the most.
func BuiltinRoles() []Role {
	list := slices.Clone(builtin)
	for i := range list {
		list[i].Builtin = true
		list[i].Permissions = slices.Clone(list[i].Permissions)
	}
	return list
}

// Builtin finds a role that comes with Holdfast.
func Builtin(name string) (Role, bool) {
	for _, r := range BuiltinRoles() {
		if r.Name == name {
			return r, true
		}
	}
	return Role{}, false
}

// SubjectKind says whom a grant is for.
type SubjectKind string

const (
	// ToPerson is a grant for a person by id.
	ToPerson SubjectKind = "person"
	// ToClient is a grant for an API client by id.
	ToClient SubjectKind = "client"
)

// Grant gives a role to a person or client, for a part of the fleet or all of it.
type Grant struct {
	ID        string      `json:"id"`
	Kind      SubjectKind `json:"kind" enum:"person,client"`
	Subject   string      `json:"subject" doc:"id of the person or client"`
	Role      string      `json:"role"`
	Scope     Scope       `json:"scope"`
	Origin    string      `json:"origin" doc:"manual, or the identity provider whose groups gave it: oidc:NAME, saml:NAME, scim"`
	Reason    string      `json:"reason,omitempty"`
	GrantedBy string      `json:"granted_by" doc:"kind:id"`
	GrantedAt time.Time   `json:"granted_at"`
	ExpiresAt time.Time   `json:"expires_at,omitzero" doc:"absent: until it is taken back"`
}

// Live tells whether the grant counts at a time.
func (g Grant) Live(now time.Time) bool { return g.ExpiresAt.IsZero() || now.Before(g.ExpiresAt) }
