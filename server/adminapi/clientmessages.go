package adminapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// SetMaintenance begins or ends the maintenance of a device.
func (c *Client) SetMaintenance(ctx context.Context, id device.ID, on bool, reason string) (device.Device, error) {
	return call[device.Device](ctx, c, http.MethodPost, join("devices", string(id), "maintenance"), nil, maintenance{on, reason})
}

// PlanPolicy tells what applying files would do. Problems and failed tests are in
// the plan, not in the error.
func (c *Client) PlanPolicy(ctx context.Context, files []PolicyFile) (PolicyPlan, error) {
	return call[PolicyPlan](ctx, c, http.MethodPost, join("policy", "plan"), nil, planInput{present(files)})
}

// ApplyPolicy makes files the active policy. A *Problem with Errors lists what
// stops it: problems, failed tests, or what somebody else changed since in.Version.
func (c *Client) ApplyPolicy(ctx context.Context, in PolicyApply) (PolicyVersion, error) {
	return call[PolicyVersion](ctx, c, http.MethodPost, join("policy", "apply"), nil, in)
}

// Policy shows a version with its files; 0 is the active one.
func (c *Client) Policy(ctx context.Context, version int64) (PolicyDetails, error) {
	path := "policy"
	if version != 0 {
		path = join("policy", "versions", strconv.FormatInt(version, 10))
	}
	return call[PolicyDetails](ctx, c, http.MethodGet, path, nil, nil)
}

// PolicyVersions lists one page of versions below before (0: all), newest first.
func (c *Client) PolicyVersions(ctx context.Context, before int64, limit int) (PolicyVersionList, error) {
	q := url.Values{}
	setInt(q, "before", before)
	setInt(q, "limit", int64(limit))
	return call[PolicyVersionList](ctx, c, http.MethodGet, join("policy", "versions"), q, nil)
}

// TestPolicy runs the tests in files, or with none those of the active policy.
func (c *Client) TestPolicy(ctx context.Context, files []PolicyFile) (PolicyTestReport, error) {
	return call[PolicyTestReport](ctx, c, http.MethodPost, join("policy", "test"), nil, filesOnly{files})
}

// ExplainPolicy asks whether somebody may do one thing, and why.
func (c *Client) ExplainPolicy(ctx context.Context, q ExplainQuery) (Explanation, error) {
	return call[Explanation](ctx, c, http.MethodPost, join("policy", "explain"), nil, q)
}

// Apps lists apps by name.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	l, err := call[list[App]](ctx, c, http.MethodGet, "apps", nil, nil)
	return l.Items, err
}

// AppTokens lists an app's tokens, newest first.
func (c *Client) AppTokens(ctx context.Context, app string) ([]AppToken, error) {
	l, err := call[list[AppToken]](ctx, c, http.MethodGet, join("apps", app, "tokens"), nil, nil)
	return l.Items, err
}

// CreateAppToken makes a token; the secret is never shown again.
func (c *Client) CreateAppToken(ctx context.Context, app string, in AppTokenInput) (AppToken, enroll.Secret, error) {
	t, err := call[createdAppToken](ctx, c, http.MethodPost, join("apps", app, "tokens"), nil, in)
	return t.Token, enroll.NewSecret(t.Secret), err
}

// RevokeAppToken ends a token and the sessions that it opened.
func (c *Client) RevokeAppToken(ctx context.Context, app, id string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("apps", app, "tokens", id), nil, nil)
	return err
}

// IssueAppCertificate issues an app's certificate.
func (c *Client) IssueAppCertificate(ctx context.Context, app string, in AppCertificateInput) (IssuedCertificate, error) {
	return call[IssuedCertificate](ctx, c, http.MethodPost, join("apps", app, "certificate"), nil, in)
}

// Sessions lists one page of the sessions that f selects, by client id.
func (c *Client) Sessions(ctx context.Context, f SessionFilter) (SessionList, error) {
	q := url.Values{}
	set(q, "kind", f.Kind)
	set(q, "type", f.Type)
	set(q, "zone", f.Zone)
	set(q, "prefix", f.Prefix)
	set(q, "node", f.Node)
	set(q, "after", f.After)
	setInt(q, "limit", int64(f.Limit))
	return call[SessionList](ctx, c, http.MethodGet, "sessions", q, nil)
}

// Session shows a session.
func (c *Client) Session(ctx context.Context, clientID string) (Session, error) {
	return call[Session](ctx, c, http.MethodGet, join("sessions", clientID), nil, nil)
}

// CloseSession disconnects a session's client.
func (c *Client) CloseSession(ctx context.Context, clientID, reason string) error {
	_, err := call[empty](ctx, c, http.MethodPost, join("sessions", clientID, "close"), nil, reasoned{reason})
	return err
}

// maxTapLine bounds one line of a tap, in bytes: the largest MQTT packet in
// base64, and its topic and properties.
const maxTapLine = 400 << 20

// Tap hands each step of a tap to yield, until ctx ends, yield returns an error,
// which is returned, or the server ends it.
func (c *Client) Tap(ctx context.Context, what TapQuery, yield func(Tapped) error) error {
	q := url.Values{"filter": {what.Filter}}
	set(q, "audience", what.Audience)
	set(q, "from", what.From)
	set(q, "type", what.Type)
	set(q, "zone", what.Zone)
	res, err := c.send(ctx, http.MethodGet, "tap", q, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxTapLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line tapLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("reading the tap: %w", err)
		}
		if line.Problem != nil {
			return line.Problem
		}
		if err := yield(Tapped{Begun: line.Tapping != "", Message: line.TapMessage, Dropped: line.Dropped}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the tap: %w", err)
	}
	return errors.New("reading the tap: the server ended it")
}
