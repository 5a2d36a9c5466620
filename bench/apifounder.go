package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// visitor is a browser without a screen: it keeps cookies and reads pages.
type visitor struct {
	http *http.Client
	base string
	page string // the last one read
}

// founder follows the link of the first start, as a person does, sets up a password and an authenticator app, and is
// signed in afterwards.
func (h *instance) founder(ctx context.Context) (*visitor, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	v := &visitor{http: apiHTTP(h.roots), base: h.ready.Console}
	v.http.Jar = jar
	token, err := url.Parse(h.ready.SignIn)
	if err != nil || h.ready.SignIn == "" {
		return nil, errors.New("signing in: the server has no link for its first person")
	}
	const word = "quarry lantern meadow tin"
	if err := v.send(ctx, "/join", url.Values{"token": {token.Query().Get("token")}}); err != nil {
		return nil, err
	}
	if err := v.send(ctx, "/sign-in/setup", url.Values{"name": {"bench"}, "display": {"Bench"}}); err != nil {
		return nil, err
	}
	if err := v.send(ctx, "/sign-in/setup/password", url.Values{"password": {word}, "again": {word}}); err != nil {
		return nil, err
	}
	if err := v.get(ctx, "/sign-in/setup/app"); err != nil {
		return nil, err
	}
	flow, secret := v.found(`name="flow" value="([^"]+)"`), strings.ReplaceAll(v.found(`<code>([A-Z2-7 ]{16,})</code>`), " ", "")
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		return nil, fmt.Errorf("setting up an authenticator app: %w", err)
	}
	if err := v.send(ctx, "/sign-in/setup/app", url.Values{"flow": {flow}, "code": {code}}); err != nil {
		return nil, err
	}
	return v, v.get(ctx, "/")
}

func (v *visitor) found(pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(v.page)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

func (v *visitor) get(ctx context.Context, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+path, nil)
	if err != nil {
		return err
	}
	return v.do(r)
}

func (v *visitor) send(ctx context.Context, path string, form url.Values) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.do(r)
}

func (v *visitor) do(r *http.Request) error {
	res, err := v.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	v.page = string(page)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: the console answered %s: %.600s", r.URL.Path, res.Status, v.page)
	}
	return err
}

// cookies are those that the browser would send.
func (v *visitor) cookies() string {
	u, err := url.Parse(v.base)
	if err != nil {
		return ""
	}
	var list []string
	for _, c := range v.http.Jar.Cookies(u) {
		list = append(list, c.Name+"="+c.Value)
	}
	return strings.Join(list, "; ")
}
