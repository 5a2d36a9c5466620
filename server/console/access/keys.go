package access

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// keyPrefix begins every key; its id follows.
const keyPrefix = "hfk_"

func liveKey(k access.Key, now time.Time) bool {
	return k.RevokedAt.IsZero() && now.Before(k.ExpiresAt)
}

// liveKeys are the keys that count, and past the others.
func liveKeys(list []access.Key, now time.Time) (live, past []access.Key) {
	for _, k := range list {
		if liveKey(k, now) {
			live = append(live, k)
		} else {
			past = append(past, k)
		}
	}
	return live, past
}

func credential(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	held, err := clientMay(r, c.ID)
	if err != nil {
		return err
	}
	p := ui.Page{Title: "How " + c.Name + " proves who it is", Crumbs: crumbsOf(c.APIClient), Narrow: true}
	if !signsIn(c, r) {
		p.Lead = "Step 3 of 3: choose one. You can add another later."
	}
	return r.Page(p, credentialView(c, held, newGuide(r, c.ID)))
}

// clientMay are the permissions that the roles of a client give; none where they
// may not be seen.
func clientMay(r *ui.Request, id string) ([]access.Permission, error) {
	if !r.Can(access.RoleRead) {
		return nil, nil
	}
	grants, err := r.API.Grants(r.Context(), access.ToClient, id)
	if err != nil {
		return nil, err
	}
	roles, err := r.API.Roles(r.Context())
	if err != nil {
		return nil, err
	}
	return access.Resolve(grants, func(name string) (access.Role, bool) { return roleNamed(roles, name) }, nil, r.Now).Held(r.Now), nil
}

func permissions(list []string) []access.Permission {
	out := make([]access.Permission, len(list))
	for i, p := range list {
		out[i] = access.Permission(p)
	}
	return out
}

func createKey(r *ui.Request) error {
	life, err := time.ParseDuration(r.Form("life"))
	if err != nil {
		return badField("life", "the time cannot be read", "choose one of the list")
	}
	return makeKey(r, adminapi.KeyInput{Permissions: permissions(r.FormAll("permission")), ValidFor: adminapi.Duration(life), Note: r.Form("note")}, "")
}

// makeKey makes a key and shows it this once; note says what else happened.
func makeKey(r *ui.Request, in adminapi.KeyInput, note string) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	k, secret, err := r.API.CreateKey(r.Context(), c.ID, in)
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "The key of " + c.Name, Crumbs: crumbsOf(c.APIClient), Narrow: true}, keyView(c.APIClient, k, secret, newGuide(r, c.ID), note))
}

// keyNamed finds a key of the client in the path.
func keyNamed(r *ui.Request) (adminapi.ClientDetails, access.Key, error) {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return c, access.Key{}, err
	}
	for _, k := range c.Keys {
		if k.ID == r.Value("key") {
			return c, k, nil
		}
	}
	return c, access.Key{}, ui.NotFound()
}

func keyPath(client, key, verb string) string { return at("clients", client, "keys", key, verb) }

func askRevokeKey(r *ui.Request) error {
	c, k, err := keyNamed(r)
	if err != nil {
		return err
	}
	return r.Dialog(ui.Confirm{ID: "revoke-key", Title: "Revoke the key " + keyPrefix + k.ID + "?", Action: keyPath(c.ID, k.ID, "revoke"), Verb: "Revoke", Kind: ui.Danger,
		Consequences: []string{"It is refused at once, on every server within a second.", lastUse(k), "It cannot be brought back."}})
}

func lastUse(k access.Key) string {
	if k.UsedDay == "" {
		return "It was never used."
	}
	return "It was last used on " + k.UsedDay + "."
}

func revokeKey(r *ui.Request) error {
	if err := r.API.RevokeKey(r.Context(), r.Value("id"), r.Value("key")); err != nil {
		return err
	}
	return r.Done("The key is revoked.", at("clients", r.Value("id")))
}

func askRotateKey(r *ui.Request) error {
	c, k, err := keyNamed(r)
	if err != nil {
		return err
	}
	return r.Dialog(ui.Confirm{ID: "rotate-key", Title: "Replace the key " + keyPrefix + k.ID + "?", Action: keyPath(c.ID, k.ID, "rotate"), Verb: "Make the new key", Kind: ui.Primary,
		Consequences: []string{"A new key is made with the same permissions and for as long. It is shown once.", lastUse(k)},
		Body: ui.Radios(ui.FieldProps{Form: "rotate-key-form", Name: "old", Label: "What becomes of the old key", Value: "revoke"}, []ui.Option{
			{Value: "revoke", Label: "Revoke it now", Hint: "For a key that leaked. The program fails until it has the new one."},
			{Value: "keep", Label: "Keep it until I revoke it", Hint: "For a change without an interruption. Revoke it as soon as the program uses the new one."}})})
}

// rotateKey makes the new key first: a failure in between leaves two, and not none.
func rotateKey(r *ui.Request) error {
	c, k, err := keyNamed(r)
	if err != nil {
		return err
	}
	life := k.ExpiresAt.Sub(k.CreatedAt).Round(time.Minute)
	in := adminapi.KeyInput{Permissions: k.Permissions, ValidFor: adminapi.Duration(min(life, access.MaxKeyLife)), Note: k.Note}
	if r.Form("old") == "keep" {
		return makeKey(r, in, "The old key "+keyPrefix+k.ID+" still counts. Revoke it as soon as the program uses this one.")
	}
	fresh, secret, err := r.API.CreateKey(r.Context(), c.ID, in)
	if err != nil {
		return err
	}
	note := "The old key " + keyPrefix + k.ID + " is revoked."
	if err := r.API.RevokeKey(r.Context(), c.ID, k.ID); err != nil {
		note = "The old key " + keyPrefix + k.ID + " could not be revoked and still counts: " + ui.TroubleOf(err).Detail
	}
	return r.Result(ui.Page{Title: "The key of " + c.Name, Crumbs: crumbsOf(c.APIClient), Narrow: true}, keyView(c.APIClient, fresh, secret, newGuide(r, c.ID), note))
}

func askSecret(r *ui.Request) error {
	return r.Dialog(ui.Confirm{ID: "client-secret", Title: "Make a new client secret?", Action: at("clients", r.Value("id"), "secret"), Verb: "Make the secret", Kind: ui.Primary,
		Consequences: []string{"The secret that it has now stops working at once.", "Access tokens that it got with it live for some minutes more."}})
}

func newSecret(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	secret, err := r.API.CreateClientSecret(r.Context(), c.ID)
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "The secret of " + c.Name, Crumbs: crumbsOf(c.APIClient), Narrow: true}, secretView(c.APIClient, secret, newGuide(r, c.ID)))
}

func askRemoveSecret(r *ui.Request) error {
	return r.Dialog(ui.Confirm{ID: "client-secret", Title: "Remove the client secret?", Action: at("clients", r.Value("id"), "secret", "remove"), Verb: "Remove", Kind: ui.Danger,
		Consequences: []string{"The client cannot get access tokens with it any more.", "Access tokens that it has live for some minutes more. Disable the client to end them at once."}})
}

func removeSecret(r *ui.Request) error {
	if err := r.API.RemoveClientSecret(r.Context(), r.Value("id")); err != nil {
		return err
	}
	return r.Done("The secret is removed.", at("clients", r.Value("id")))
}

// setKeys writes the public keys of a client and nothing else of it.
func setKeys(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	in := adminapi.ClientInput{Description: c.Description, Owner: c.Owner, Networks: c.Networks, Rate: c.Rate, JWKS: r.Form("jwks")}
	if _, err := r.API.UpdateAPIClient(r.Context(), c.ID, c.Version, in); err != nil {
		return err
	}
	said := "The public keys count from now on."
	if in.JWKS == "" {
		said = "The client has no public keys any more."
	}
	return r.Done(said, at("clients", c.ID))
}

// guide is what a program needs to know of this server.
type guide struct {
	api    string // address, without a slash at its end
	ca     string // the certificates that it proves itself with, PEM
	client string
}

func newGuide(r *ui.Request, client string) guide {
	g := guide{api: "https://HOLDFAST", client: client}
	if status, err := r.API.Status(r.Context()); err == nil && status.Endpoints["api"] != "" {
		g.api = strings.TrimSuffix(status.Endpoints["api"], "/")
	}
	if bundle, err := r.API.Bundle(r.Context()); err == nil {
		g.ca = strings.TrimSpace(string(bundle)) + "\n"
	}
	return g
}

func (g guide) token() string { return g.api + "/oauth/token" }

// host is for sentences.
func (g guide) host() string {
	if u, err := url.Parse(g.api); err == nil {
		return u.Host
	}
	return g.api
}

// curlKey are commands that use a key. They ask who the caller is, which every
// client may. The addresses are this server's own; what a shell could read as
// anything but itself is not in them.
func (g guide) curlKey(secret string) string {
	return fmt.Sprintf(`curl --fail-with-body --cacert ca.pem \
  -H "Authorization: Bearer %s" \
  %s/api/v1/account
`, secret, g.api)
}

func (g guide) curlSecret(secret string) string {
	return fmt.Sprintf(`curl --fail-with-body --cacert ca.pem -u "%s:%s" \
  -d grant_type=client_credentials \
  %s
`, g.client, secret, g.token())
}

// goKey is a program that uses a key from the environment.
func (g guide) goKey() string {
	return g.program(`
	req, err := http.NewRequest("GET", "`+g.api+`/api/v1/account", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+os.Getenv("HOLDFAST_TOKEN"))
	res, err := client.Do(req)`, "")
}

// goSecret is a program that gets its first access token.
func (g guide) goSecret() string {
	return g.program(`
	form := strings.NewReader("grant_type=client_credentials")
	req, err := http.NewRequest("POST", "`+g.token()+`", form)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("`+g.client+`", os.Getenv("HOLDFAST_SECRET"))
	res, err := client.Do(req)`, "\t\"strings\"\n")
}

func (g guide) program(ask, imports string) string {
	return `package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"os"
` + imports + `)

func main() {
	ca, err := os.ReadFile("ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
` + ask + `
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	io.Copy(os.Stdout, res.Body)
}
`
}

// revealed is a secret where it is shown this once.
func revealed(s enroll.Secret) string { return s.Reveal() }
