package adminapi

import (
	"context"
	"net/http"
	"net/url"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Calls that may need a second person return *Pending as their error when the
// request waits: nothing has happened then.

// PermissionInfos lists what can be permitted.
func (c *Client) PermissionInfos(ctx context.Context) ([]PermissionInfo, error) {
	l, err := call[list[PermissionInfo]](ctx, c, http.MethodGet, "permissions", nil, nil)
	return l.Items, err
}

// Roles lists all roles.
func (c *Client) Roles(ctx context.Context) ([]access.Role, error) {
	l, err := call[list[access.Role]](ctx, c, http.MethodGet, "roles", nil, nil)
	return l.Items, err
}

// CreateRole makes a custom role.
func (c *Client) CreateRole(ctx context.Context, name string, in RoleInput) (access.Role, error) {
	return call[access.Role](ctx, c.because(in.Description), http.MethodPost, "roles", nil, roleCreate{name, in})
}

// UpdateRole writes every field of in; version is the one they were read with.
func (c *Client) UpdateRole(ctx context.Context, name string, version int64, in RoleInput) (access.Role, error) {
	return call[access.Role](ctx, c.because(in.Description), http.MethodPut, join("roles", name), nil, roleUpdate{version, in})
}

// DeleteRole deletes a role that nobody has.
func (c *Client) DeleteRole(ctx context.Context, name string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("roles", name), nil, nil)
	return err
}

// Grants lists who has which role; empty arguments select all.
func (c *Client) Grants(ctx context.Context, kind access.SubjectKind, subject string) ([]access.Grant, error) {
	q := url.Values{}
	set(q, "kind", string(kind))
	set(q, "subject", subject)
	l, err := call[list[access.Grant]](ctx, c, http.MethodGet, "grants", q, nil)
	return l.Items, err
}

// Grant gives a role.
func (c *Client) Grant(ctx context.Context, in GrantInput) (access.Grant, error) {
	return call[access.Grant](ctx, c, http.MethodPost, "grants", nil, in)
}

// RevokeGrant takes a role back.
func (c *Client) RevokeGrant(ctx context.Context, id, reason string) error {
	q := url.Values{}
	set(q, "reason", reason)
	_, err := call[empty](ctx, c, http.MethodDelete, join("grants", id), q, nil)
	return err
}

// Unused lists permissions that were not used for some days; 0 is 90.
func (c *Client) Unused(ctx context.Context, days int) ([]Unused, error) {
	q := url.Values{}
	setInt(q, "days", int64(days))
	l, err := call[list[Unused]](ctx, c, http.MethodGet, join("permissions", "unused"), q, nil)
	return l.Items, err
}

// APIClients lists programs that use the API.
func (c *Client) APIClients(ctx context.Context) ([]access.APIClient, error) {
	l, err := call[list[access.APIClient]](ctx, c, http.MethodGet, "clients", nil, nil)
	return l.Items, err
}

// APIClient shows one with its keys.
func (c *Client) APIClient(ctx context.Context, id string) (ClientDetails, error) {
	return call[ClientDetails](ctx, c, http.MethodGet, join("clients", id), nil, nil)
}

// CreateAPIClient makes one that may do nothing yet.
func (c *Client) CreateAPIClient(ctx context.Context, name string, in ClientInput) (access.APIClient, error) {
	return call[access.APIClient](ctx, c.because(in.Description), http.MethodPost, "clients", nil, clientCreate{name, in})
}

// UpdateAPIClient writes every field of in; version is the one they were read with.
func (c *Client) UpdateAPIClient(ctx context.Context, id string, version int64, in ClientInput) (access.APIClient, error) {
	return call[access.APIClient](ctx, c, http.MethodPut, join("clients", id), nil, clientUpdate{version, in})
}

// SetAPIClientDisabled disables a client, or enables it.
func (c *Client) SetAPIClientDisabled(ctx context.Context, id string, disabled bool, reason string) (access.APIClient, error) {
	verb := "enable"
	if disabled {
		verb = "disable"
	}
	return call[access.APIClient](ctx, c, http.MethodPost, join("clients", id, verb), nil, reasoned{reason})
}

// CreateKey makes a key; its secret is never shown again.
func (c *Client) CreateKey(ctx context.Context, client string, in KeyInput) (access.Key, enroll.Secret, error) {
	k, err := call[CreatedKey](ctx, c, http.MethodPost, join("clients", client, "keys"), nil, in)
	return k.Key, enroll.NewSecret(k.Secret), err
}

// RevokeKey ends a key.
func (c *Client) RevokeKey(ctx context.Context, client, key string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("clients", client, "keys", key), nil, nil)
	return err
}

// CreateClientSecret makes a client secret; the one before ends.
func (c *Client) CreateClientSecret(ctx context.Context, client string) (enroll.Secret, error) {
	s, err := call[ClientSecret](ctx, c, http.MethodPost, join("clients", client, "secret"), nil, nil)
	return enroll.NewSecret(s.Secret), err
}

// RemoveClientSecret ends a client secret.
func (c *Client) RemoveClientSecret(ctx context.Context, client string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("clients", client, "secret"), nil, nil)
	return err
}

// Approvals lists one page of requests, newest first.
func (c *Client) Approvals(ctx context.Context, f ApprovalFilter) (ApprovalList, error) {
	q := url.Values{}
	set(q, "state", string(f.State))
	set(q, "before", f.Before)
	setInt(q, "limit", int64(f.Limit))
	return call[ApprovalList](ctx, c, http.MethodGet, "approvals", q, nil)
}

// OwnApprovals lists what the caller asked for.
func (c *Client) OwnApprovals(ctx context.Context) ([]access.Approval, error) {
	l, err := call[list[access.Approval]](ctx, c, http.MethodGet, join("account", "approvals"), nil, nil)
	return l.Items, err
}

// Approval shows a request with its body.
func (c *Client) Approval(ctx context.Context, id string) (access.Approval, error) {
	return call[access.Approval](ctx, c, http.MethodGet, join("approvals", id), nil, nil)
}

// DecideApproval approves a request, which carries it out, or rejects it.
func (c *Client) DecideApproval(ctx context.Context, id string, approve bool, comment string) (access.Approval, error) {
	verb := "reject"
	if approve {
		verb = "approve"
	}
	return call[access.Approval](ctx, c, http.MethodPost, join("approvals", id, verb), nil, approvalComment{comment})
}

// WithdrawApproval takes an own request back.
func (c *Client) WithdrawApproval(ctx context.Context, id string) (access.Approval, error) {
	return call[access.Approval](ctx, c, http.MethodPost, join("approvals", id, "withdraw"), nil, nil)
}

// ChangeDevices quarantines, releases or revokes many devices.
func (c *Client) ChangeDevices(ctx context.Context, ids []device.ID, m DeviceMove, reason string) (BulkResult, error) {
	return call[BulkResult](ctx, c, http.MethodPost, join("devices", string(m)), nil, BulkInput{ids, reason})
}

// Because returns a client that says why with every request, for those whose body
// has no room for it.
func (c *Client) Because(reason string) *Client {
	with := *c
	with.reason = reason
	return &with
}

// because is Because, unless a reason was given already.
func (c *Client) because(reason string) *Client {
	if c.reason != "" {
		return c
	}
	return c.Because(reason)
}
