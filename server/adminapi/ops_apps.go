package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

type appName struct {
	Name string `path:"name" maxLength:"64" example:"historian"`
}

type appTokenPost struct {
	Name string `path:"name" maxLength:"64" example:"historian"`
	Body AppTokenInput
}

type appTokenName struct {
	Name string `path:"name" maxLength:"64" example:"historian"`
	ID   string `path:"id" maxLength:"64" example:"q7mzk3a2bfxe9hgt"`
}

type appCertificatePost struct {
	Name string `path:"name" maxLength:"64" example:"historian"`
	Body AppCertificateInput
}

type createdAppToken struct {
	Token  AppToken `json:"token"`
	Secret string   `json:"secret" doc:"the app's password, with its name as user name; it is never shown again"`
}

func (a *api) appOperations() {
	const tag = "apps"
	register(a, operation{id: "list-apps", allow: access.AppRead, method: http.MethodGet, path: "/apps", tag: tag, summary: "List apps",
		description: "The apps that the active policy declares, and those that it does not declare any more but that have tokens.", response: list[App]{[]App{exampleApp}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[App]], error) {
			apps, err := a.cfg.Apps.Apps(ctx)
			return &body[list[App]]{list[App]{present(apps)}}, err
		})
	register(a, operation{id: "list-app-tokens", allow: access.AppRead, method: http.MethodGet, path: "/apps/{name}/tokens", tag: tag, summary: "List an app's tokens",
		description: "Its tokens without their secrets, newest first.", response: list[AppToken]{[]AppToken{exampleAppToken}}},
		func(ctx context.Context, _ access.Actor, in *appName) (*body[list[AppToken]], error) {
			tokens, err := a.cfg.Apps.AppTokens(ctx, in.Name)
			return &body[list[AppToken]]{list[AppToken]{present(tokens)}}, err
		})
	register(a, operation{id: "create-app-token", allow: access.AppWrite, fresh: true, method: http.MethodPost, path: "/apps/{name}/tokens", tag: tag, status: http.StatusCreated, summary: "Create a token for an app",
		description: "What an app without a certificate connects with over TLS: its name as user name, the secret as password. The answer is the only place that the secret is ever shown in.",
		request:     AppTokenInput{ValidFor: Duration(device.DefaultValidity), Note: "control room"}, response: createdAppToken{exampleAppToken, "hfm_q7mzk3a2bfxe9hgt_..."}},
		func(ctx context.Context, by access.Actor, in *appTokenPost) (*body[createdAppToken], error) {
			validFor := time.Duration(in.Body.ValidFor)
			if validFor == 0 {
				validFor = device.DefaultValidity
			}
			if validFor < time.Minute || validFor > enroll.MaxTokenTTL {
				return nil, refusal.New(refusal.Invalid, "bad-expiry", "use 1m to 8784h", "a token cannot be valid for %s", validFor)
			}
			t, secret, err := a.cfg.Apps.CreateAppToken(ctx, by, in.Name, validFor, in.Body.Note)
			return &body[createdAppToken]{createdAppToken{t, secret.Reveal()}}, err
		})
	register(a, operation{id: "revoke-app-token", allow: access.AppWrite, method: http.MethodDelete, path: "/apps/{name}/tokens/{id}", tag: tag, status: http.StatusNoContent, summary: "Revoke a token of an app",
		description: "Sessions that it opened end within a second."},
		func(ctx context.Context, by access.Actor, in *appTokenName) (*none, error) {
			return nil, a.cfg.Apps.RevokeAppToken(ctx, by, in.Name, in.ID)
		})
	register(a, operation{id: "issue-app-certificate", allow: access.AppWrite, fresh: true, method: http.MethodPost, path: "/apps/{name}/certificate", tag: tag, status: http.StatusCreated, summary: "Issue an app's certificate",
		description: "For a certificate request (PKCS #10) that its key has signed. The app has to be declared by the active policy.",
		request:     AppCertificateInput{CSR: exampleCSR, Validity: Duration(device.DefaultValidity)}, response: IssuedCertificate{exampleAppCertificate, []string{examplePEM}}},
		func(ctx context.Context, by access.Actor, in *appCertificatePost) (*body[IssuedCertificate], error) {
			c, chain, err := a.cfg.Apps.IssueAppCertificate(ctx, by, in.Name, []byte(in.Body.CSR), time.Duration(in.Body.Validity))
			return &body[IssuedCertificate]{IssuedCertificate{c, present(chain)}}, err
		})
}
