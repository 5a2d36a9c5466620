package access

import (
	"slices"
	"strings"
)

// Permission is one verb on one noun: "device.quarantine". Every operation of
// the API names exactly one.
type Permission string

// Kind of consequence that a permission has; see Info.
type Effect int

const (
	// Read shows what operators see every day.
	Read Effect = iota
	// Sensitive shows what is worth protecting by itself: the audit log, people,
	// messages as they pass.
	Sensitive
	// Change alters the fleet or Holdfast.
	Change
)

// Info says what a permission is.
type Info struct {
	Permission Permission
	Effect     Effect
	Scoped     bool   // may be given for some zones, types or labels only
	Meaning    string // completes "may …"
}

// The permissions there are.
const (
	StatusRead        Permission = "status.read"
	DeviceRead        Permission = "device.read"
	DeviceWrite       Permission = "device.write"
	DeviceMaintain    Permission = "device.maintain"
	DeviceQuarantine  Permission = "device.quarantine"
	DeviceRevoke      Permission = "device.revoke"
	DeviceRetire      Permission = "device.retire"
	TypeRead          Permission = "type.read"
	TypeWrite         Permission = "type.write"
	TypeApprove       Permission = "type.approve"
	ZoneRead          Permission = "zone.read"
	ZoneWrite         Permission = "zone.write"
	EnrolmentRead     Permission = "enrolment.read"
	EnrolmentWrite    Permission = "enrolment.write"
	EnrolmentApprove  Permission = "enrolment.approve"
	EnrolmentTrust    Permission = "enrolment.trust"
	CertificateRead   Permission = "certificate.read"
	CertificateIssue  Permission = "certificate.issue"
	CertificateRevoke Permission = "certificate.revoke"
	CARead            Permission = "ca.read"
	CARotate          Permission = "ca.rotate"
	PolicyRead        Permission = "policy.read"
	PolicyApply       Permission = "policy.apply"
	AppRead           Permission = "app.read"
	AppWrite          Permission = "app.write"
	SessionRead       Permission = "session.read"
	SessionClose      Permission = "session.close"
	MessageTap        Permission = "message.tap"
	AuditRead         Permission = "audit.read"
	AuditExport       Permission = "audit.export"
	PersonRead        Permission = "person.read"
	PersonWrite       Permission = "person.write"
	PersonalRead      Permission = "personal.read"
	RoleRead          Permission = "role.read"
	RoleWrite         Permission = "role.write"
	ClientRead        Permission = "client.read"
	ClientWrite       Permission = "client.write"
	ApprovalRead      Permission = "approval.read"
	ApprovalDecide    Permission = "approval.decide"
)

// Own is what every proven party may do with its own account. It is held without
// a grant and given by no role.
const Own Permission = "own.account"

var permissions = []Info{
	{StatusRead, Read, false, "see how the server and the fleet are"},
	{DeviceRead, Read, true, "see devices"},
	{DeviceWrite, Change, true, "register, describe and import devices"},
	{DeviceMaintain, Change, true, "begin and end maintenance of devices"},
	{DeviceQuarantine, Change, true, "quarantine devices and release them"},
	{DeviceRevoke, Change, true, "revoke all certificates of a device"},
	{DeviceRetire, Change, true, "end the life of a device"},
	{TypeRead, Read, false, "see device types"},
	{TypeWrite, Change, false, "create and change device types"},
	{TypeApprove, Change, false, "sign off device types and move them to their next stage"},
	{ZoneRead, Read, false, "see zones"},
	{ZoneWrite, Change, false, "create and change zones"},
	{EnrolmentRead, Read, true, "see enrolment tokens and the waiting room"},
	{EnrolmentWrite, Change, true, "create and revoke enrolment tokens"},
	{EnrolmentApprove, Change, true, "admit devices from the waiting room"},
	{EnrolmentTrust, Change, false, "decide which manufacturers are trusted"},
	{CertificateRead, Read, true, "see certificates"},
	{CertificateIssue, Change, false, "issue certificates to apps and servers"},
	{CertificateRevoke, Change, true, "revoke single certificates"},
	{CARead, Read, false, "see the certificate authorities"},
	{CARotate, Change, false, "replace the issuing authority"},
	{PolicyRead, Read, false, "see, test and plan policy"},
	{PolicyApply, Change, false, "put a policy into force"},
	{AppRead, Read, false, "see apps and their tokens"},
	{AppWrite, Change, false, "give apps tokens and certificates"},
	{SessionRead, Read, true, "see who is connected"},
	{SessionClose, Change, true, "disconnect clients"},
	{MessageTap, Sensitive, true, "watch messages as they pass"},
	{AuditRead, Sensitive, false, "read the audit log"},
	{AuditExport, Sensitive, false, "download the audit log"},
	{PersonRead, Sensitive, false, "see people and their sign-ins"},
	{PersonWrite, Change, false, "invite, change, disable and sign out people"},
	{PersonalRead, Sensitive, false, "see personal data: names, mail and network addresses"},
	{RoleRead, Sensitive, false, "see roles and who has them"},
	{RoleWrite, Change, false, "change roles and give them"},
	{ClientRead, Sensitive, false, "see API clients"},
	{ClientWrite, Change, false, "create API clients and their keys"},
	{ApprovalRead, Sensitive, false, "see requests that wait for a second person"},
	{ApprovalDecide, Change, false, "be the second person: approve or reject requests"},
}

var byPermission = func() map[Permission]Info {
	m := map[Permission]Info{}
	for _, p := range permissions {
		m[p.Permission] = p
	}
	return m
}()

// Permissions lists all there are, in the order of their nouns.
func Permissions() []Info { return slices.Clone(permissions) }

// Known tells whether there is such a permission; Own is not one that can be given.
func (p Permission) Known() bool { _, ok := byPermission[p]; return ok }

// Info says what the permission is; the zero Info for an unknown one.
func (p Permission) Info() Info { return byPermission[p] }

// Noun is what the permission is about: "device".
func (p Permission) Noun() string { noun, _, _ := strings.Cut(string(p), "."); return noun }

// Privileged tells whether who holds it needs a second factor.
func (p Permission) Privileged() bool { return byPermission[p].Effect != Read }
