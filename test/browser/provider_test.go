package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-iot/holdfast/internal/idptest"
	"github.com/holdfast-iot/holdfast/server/config"
)

// federated is a site whose people sign in elsewhere. The provider is at an address of
// numbers and the console at localhost: another site, as it is for people.
func federated(t *testing.T, providers string) *site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "providers.yaml")
	if err := os.WriteFile(file, []byte(providers), 0o600); err != nil {
		t.Fatal(err)
	}
	return upWith(t, false, func(c *config.Config) { c.Access.Providers = file })
}

// TestSignInElsewhere presses the button of an OpenID provider: the account is there
// with the roles of the groups, and without them when the groups are others.
func TestSignInElsewhere(t *testing.T) {
	o := idptest.NewOIDC(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(idptest.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := federated(t, fmt.Sprintf("allow_networks: [127.0.0.1/32]\nca_file: %s\noidc:\n  - {name: corp, label: Continue with Example Corp, issuer: '%s', client_id: %s, client_secret_file: %s, user_info: true, multi_factor: [pwd], groups: [{group: operators, role: operator}]}\n  - {name: lost, label: Continue with Lost Corp, issuer: '%s', client_id: a}\n",
		o.CAFile, o.URL, idptest.ClientID, secret, idptest.NewOIDC(t).URL))
	o.Register(s.ready.Console + "/sign-in/oidc/corp/callback")
	o.Groups("operators")
	through := func() *person {
		p := s.person(t)
		p.Go("/account?from=test")
		p.at("/sign-in")
		p.Axe("signing in with a provider to choose")
		p.press("Continue with Example Corp")
		p.fill("username", idptest.User)
		p.fill("password", idptest.Password)
		p.press("Login")
		p.wait("where they wanted to go", `location.pathname + location.search === "/account?from=test"`)
		p.reads("Test User2")
		return p
	}
	operator := `[...document.querySelectorAll("main .tag")].some((e) => e.innerText.trim() === "operator")`
	first := through()
	first.wait("the role of the group", operator)
	o.Groups("others")
	through().reads("none yet")
	first.Go("/account")
	first.wait("the role to be gone where they were signed in", `document.readyState === "complete" && location.pathname === "/account" && !`+operator)

	stranger := s.person(t)
	stranger.Go("/sign-in")
	stranger.press("Continue with Lost Corp")
	stranger.reads("does not answer")
	stranger.Axe("a provider that does not answer")
}

// TestSignInBySAML does it by posts of another site's page, whose browser sends no
// cookies with them but the flow's; then it proves who is signed in again.
func TestSignInBySAML(t *testing.T) {
	idp := idptest.NewSAML(t)
	s := federated(t, fmt.Sprintf("allow_networks: [127.0.0.1/32]\nca_file: %s\nsaml:\n  - {name: corp, label: Continue with Example Corp, metadata_url: '%s', provider_id: '%s', subject_attribute: '%s', name_attribute: '%s', display_attribute: '%s', groups_attribute: '%s', multi_factor: ['urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport'], groups: [{group: ops, role: operator}]}\n",
		idp.CAFile, idp.EntityID(), idp.EntityID(), idptest.UID, idptest.UID, idptest.CN, idptest.GroupList))
	idp.Put("ops")
	p := s.person(t)
	client := p.client()
	client.Jar = nil
	res, err := client.Get(s.ready.Console + "/sign-in/saml/corp/metadata")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	metadata := make([]byte, 64<<10)
	n, _ := res.Body.Read(metadata)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("our metadata: %d", res.StatusCode)
	}
	idp.Register(metadata[:n])
	p.Go("/account")
	p.at("/sign-in")
	p.press("Continue with Example Corp")
	p.wait("the provider's form", `document.querySelector("[name=user]")?.checkVisibility()`)
	p.fillNamed("user", idptest.User)
	p.fillNamed("password", idptest.Password)
	p.wait("it to be sent", `document.querySelector("form").submit() || true`)
	p.wait("the provider to know the browser", `document.body.innerText.includes("CreateTime")`) // its form forgets what it was asked for
	p.Go("/account")
	p.press("Continue with Example Corp")
	p.at("/account")
	p.reads("Test User2")
	p.Go("/devices")
	p.reads("Devices")
	p.Go("/sign-in?again=1&next=%2Faccount%2Fsign-ins")
	p.press("Continue with Example Corp")
	p.at("/account/sign-ins")
	p.wait("one sign-in, which went on", `document.querySelectorAll("main tbody tr, main li.sign-in, main .sign-in").length <= 1`)
}
