package adminapi

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// description is the frame of the OpenAPI document.
func description(version string) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "Holdfast",
			Version: version,
			Description: "Inventory, certificates, enrolment, revocation, message policy and audit of a fleet of devices.\n\n" +
				"Every error is a problem document (RFC 9457) with a stable `code`, a sentence in `detail` and what to do in `fix`. " +
				"An update names the `version` it was made from; 409 `changed-meanwhile` says that somebody else was faster. " +
				"202 says that nothing has happened yet: a second person has to approve the request, and `approval` says which waits; " +
				"the reason they read is the body's `reason` or the header `Holdfast-Reason` (percent-encoded). " +
				"Every answer to a known caller carries `RateLimit-Policy` and `RateLimit`; 429 and 503 carry `Retry-After`. " +
				"Lists are paged: give `next` of one answer as `after` (for the audit log: `before`) of the next request. " +
				"Durations are text as Go writes it: `90m`, `2160h`. Times are RFC 3339 in UTC.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Tags: []*huma.Tag{
			{Name: "types", Description: "Kinds of device: how they enrol and what their certificates look like"},
			{Name: "zones", Description: "Groups of devices with common security requirements (IEC 62443-3-2)"},
			{Name: "devices", Description: "The inventory"},
			{Name: "tokens", Description: "Permissions to enrol"},
			{Name: "waiting", Description: "Enrolments that wait for an operator"},
			{Name: "certificates", Description: "Certificates one by one"},
			{Name: "authority", Description: "Our certificate authorities"},
			{Name: "policy", Description: "What may be said to whom: manifests, their tests, decisions explained"},
			{Name: "apps", Description: "Programs that use the data, and what they sign in with"},
			{Name: "sessions", Description: "MQTT sessions and the messages that pass"},
			{Name: "access", Description: "Roles, and who has them"},
			{Name: "people", Description: "Accounts of people and their sign-ins"},
			{Name: "account", Description: "The caller's own account"},
			{Name: "clients", Description: "Programs that use this API"},
			{Name: "approvals", Description: "Requests that wait for a second person"},
			{Name: "audit", Description: "The transparency log of all changes"},
			{Name: "status", Description: "How the server is"},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer", Description: "an API key, or an access token of /oauth/token; the first administrator's token is in the file that `holdfast up` names"},
			},
		},
	}
}

// serveDescription encodes the document once, when all operations are known. A
// document that cannot be encoded is a mistake in this package.
func (a *api) serveDescription() {
	asJSON, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		panic("adminapi: encoding the OpenAPI document: " + err.Error())
	}
	asYAML, err := a.huma.OpenAPI().YAML()
	if err != nil {
		panic("adminapi: encoding the OpenAPI document: " + err.Error())
	}
	serve := func(path, kind string, document []byte) {
		a.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Write(document)
		})
	}
	serve("/openapi.json", "application/openapi+json", asJSON)
	serve("/openapi.yaml", "application/openapi+yaml", asYAML)
}
