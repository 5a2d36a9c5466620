package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/oauth"
)

// authorizer speaks to a server's OAuth 2.0 endpoints as the public client of
// the command line. It is used by one goroutine at a time.
type authorizer struct {
	server string // https://HOST[:PORT]
	http   *http.Client
	now    func() time.Time
	// timeout bounds one call; 0 means oauthTimeout.
	timeout time.Duration
}

const (
	oauthTimeout = 15 * time.Second // of one call
	maxOAuth     = 64 << 10         // bytes of an answer
)

// oauthError is an answer of RFC 6749 section 5.2 or RFC 8628 section 3.5.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	status      int
}

func (e *oauthError) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Description
}

// lostError is a call of which nobody knows whether the server carried it out.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// post sends a form and reads a JSON answer into out.
func (z *authorizer) post(ctx context.Context, path string, form url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(z.timeout, oauthTimeout))
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	form.Set("client_id", oauth.CLIClient)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, z.server+path, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdfast/"+server.Version+" ("+runtime.GOOS+"/"+runtime.GOARCH+")")
	res, err := z.http.Do(req)
	if err != nil && connected.Load() {
		return &lostError{fmt.Errorf("calling the server: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("calling the server: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOAuth+1))
	if err != nil {
		return &lostError{fmt.Errorf("reading the server's answer: %w", err)}
	}
	return readOAuth(res.StatusCode, res.Header.Get("Content-Type"), body, out)
}

// readOAuth makes an error of every answer that is not a success. One without a
// sentence of the server leaves open what happened.
func readOAuth(status int, contentType string, body []byte, out any) error {
	strange := func(detail string) error {
		return &lostError{fixing("check the server's address, and proxies between", fmt.Errorf("the server's answer (status %d) %s", status, detail))}
	}
	if len(body) > maxOAuth {
		return strange(fmt.Sprintf("is longer than %d bytes", maxOAuth))
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	if status == http.StatusOK && out == nil {
		return nil
	}
	if kind != "application/json" {
		return strange("is not JSON: this is no Holdfast server, or it does not let people log in")
	}
	if status == http.StatusOK {
		if err := json.Unmarshal(body, out); err != nil {
			return strange("is not the JSON that was expected")
		}
		return nil
	}
	e := &oauthError{status: status}
	if json.Unmarshal(body, e) != nil || e.Code == "" || len(e.Code) > 64 || len(e.Description) > 1024 {
		return strange("is not an OAuth error")
	}
	if status >= 500 && e.Code != "temporarily_unavailable" {
		return &lostError{e}
	}
	return e
}

// deviceGrant is a sign-in that waits for a person (RFC 8628 section 3.2).
type deviceGrant struct {
	code     enroll.Secret
	shown    string // the user code
	page     string // where it is entered
	direct   string // the page with the code filled in, or empty
	until    time.Time
	interval time.Duration
}

type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	Where      string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// grant checks what a server says before any of it reaches the screen or a
// browser.
func (d deviceAnswer) grant(now time.Time) (deviceGrant, error) {
	g := deviceGrant{code: enroll.NewSecret(d.DeviceCode), shown: d.UserCode, page: d.Where, direct: d.Complete}
	bad := func(what string) (deviceGrant, error) {
		return deviceGrant{}, fixing("check the server's address, and proxies between", fmt.Errorf("the server's answer is not valid: %s", what))
	}
	switch {
	case d.DeviceCode == "" || !tokenText(d.DeviceCode):
		return bad("its device code is not one")
	case d.UserCode == "" || len(d.UserCode) > 32 || !tokenText(d.UserCode):
		return bad("its user code is not one")
	case !pageURL(d.Where) || d.Complete != "" && !pageURL(d.Complete):
		return bad("its page is not an https URL")
	case d.ExpiresIn <= 0:
		return bad("its code has expired already")
	}
	g.until = now.Add(time.Duration(min(d.ExpiresIn, 1800)) * time.Second)
	g.interval = 5 * time.Second // RFC 8628 section 3.2
	if d.Interval > 0 {
		g.interval = time.Duration(min(d.Interval, 60)) * time.Second
	}
	return g, nil
}

// pageURL tells whether text is an https URL that can go to a screen and a browser.
func pageURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= 1024 && tokenText(text) && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && !strings.ContainsAny(text, "\"'`<>\\^{|}")
}

func (z *authorizer) begin(ctx context.Context, scope string) (deviceGrant, error) {
	form := url.Values{}
	if scope != "" {
		form.Set("scope", scope)
	}
	var d deviceAnswer
	if err := z.post(ctx, "/oauth/device_authorization", form, &d); err != nil {
		return deviceGrant{}, err
	}
	return d.grant(z.now())
}

type tokenAnswer struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Refresh   string `json:"refresh_token"`
}

func (t tokenAnswer) tokens(now time.Time) (tokens, error) {
	if t.Access == "" || t.Refresh == "" || !tokenText(t.Access) || !tokenText(t.Refresh) || !strings.EqualFold(t.Type, "bearer") || t.ExpiresIn <= 0 {
		return tokens{}, &lostError{fixing("check the server's address, and proxies between", errors.New("the server's answer has no tokens that can be used"))}
	}
	return tokens{enroll.NewSecret(t.Access), now.Add(time.Duration(min(t.ExpiresIn, 24*3600)) * time.Second), enroll.NewSecret(t.Refresh)}, nil
}

const deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"

// maxSilence is how many calls in a row may get no answer while a person decides.
const maxSilence = 5

// await asks until the person has decided (RFC 8628 section 3.5).
func (z *authorizer) await(ctx context.Context, g deviceGrant, wait func(context.Context, time.Duration) error) (tokens, error) {
	ended := fixing("start again", errors.New("the code was not approved in time"))
	for silent := 0; ; {
		if err := wait(ctx, g.interval); err != nil {
			return tokens{}, err
		}
		if !z.now().Before(g.until) {
			return tokens{}, ended
		}
		var t tokenAnswer
		err := z.post(ctx, "/oauth/token", url.Values{"grant_type": {deviceGrantType}, "device_code": {g.code.Reveal()}}, &t)
		if err == nil {
			return t.tokens(z.now())
		}
		said, isSaid := errors.AsType[*oauthError](err)
		switch {
		case !isSaid || said.Code == "temporarily_unavailable":
			if silent++; silent > maxSilence || ctx.Err() != nil {
				return tokens{}, err
			}
			g.interval = min(2*g.interval, time.Minute)
		case said.Code == "authorization_pending":
			silent = 0
		case said.Code == "slow_down":
			silent = 0
			g.interval = min(g.interval+5*time.Second, time.Minute)
		case said.Code == "expired_token":
			return tokens{}, ended
		case said.Code == "access_denied":
			return tokens{}, fixing("start again, and approve the code that is shown here", errors.New("the sign-in was turned down"))
		default:
			return tokens{}, fmt.Errorf("waiting for the approval: %w", err)
		}
	}
}

// renew trades a refresh token, which is used up then, for new tokens. After a
// *lostError nobody knows whether it is.
func (z *authorizer) renew(ctx context.Context, refresh enroll.Secret) (tokens, error) {
	var t tokenAnswer
	if err := z.post(ctx, "/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}}, &t); err != nil {
		return tokens{}, err
	}
	return t.tokens(z.now())
}

// revoke ends the sign-in of a refresh token, a used one too (RFC 7009).
func (z *authorizer) revoke(ctx context.Context, refresh enroll.Secret) error {
	return z.post(ctx, "/oauth/revoke", url.Values{"token": {refresh.Reveal()}, "token_type_hint": {"refresh_token"}}, nil)
}
