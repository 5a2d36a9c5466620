package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/internal/idptest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/people"
)

// TestSignInThroughOIDC follows somebody from their first sign-in to their last.
func TestSignInThroughOIDC(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, corpGroups), nil).registered(o)
	o.Groups("plant-operators", "somebody else's", "night shift")
	s := f.surfer()
	if p := s.visit("/sign-in"); !strings.Contains(p.text, "Continue with corp") || !strings.Contains(p.text, "/sign-in/oidc/corp") {
		t.Fatalf("the sign-in page offers no provider: %s", p.text)
	}
	if p := s.logIn(s.begin("/account?x=1")); p.at.Path != "/account" || p.at.RawQuery != "x=1" || p.status != http.StatusOK {
		t.Fatalf("signing in led to %s: %d %s", p.at, p.status, p.text)
	}
	who := f.external("oidc:corp", idptest.Subject)
	if who.Name != idptest.User || who.Display != "Test User2" || who.Mail != "test-user2@zitadel.ch" || who.State != access.PersonActive {
		t.Errorf("the account: %+v", who)
	}
	if got := f.roles(who.ID); !slices.Equal(got, []string{"oidc:corp: operator for zone plant"}) {
		t.Errorf("roles of an operator, one of whose groups gives a role that is not there: %v", got)
	}
	if p := s.visit("/devices"); p.status != http.StatusOK {
		t.Errorf("devices as an operator: %d", p.status)
	}
	if _, err := f.Grant(t.Context(), operator, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(who.ID), Role: "viewer", Reason: "by hand"}); err != nil {
		t.Fatal(err)
	}

	// Out of the group, into another: at the next sign-in, anywhere, the role is gone,
	// in the sign-in that goes on too. What was given by hand stays.
	o.Groups("plant-auditors")
	f.surfer().logInAs("/")
	if got := f.roles(who.ID); !slices.Equal(got, []string{"manual: viewer for everything", "oidc:corp: auditor for everything"}) {
		t.Errorf("roles of an auditor: %v", got)
	}
	rights, err := f.personRights(t.Context(), who.ID)
	if err != nil || rights.Has(access.DeviceWrite, f.now()) || !rights.Everywhere(access.AuditRead, f.now()) {
		t.Errorf("rights of an auditor: %v", err)
	}
	f.recorded("person.roles_from_groups", "roles", "auditor for everything")
	f.recorded("person.roles_from_groups", "roles", "operator for zone plant")
	before := len(f.events(string(who.ID)))
	f.surfer().logInAs("/")
	if after := f.events(string(who.ID)); len(after) > before+1 {
		t.Errorf("a sign-in that changes nothing wrote more than its own event: %v", after[before:])
	}

	// Disabled here: the provider's word does not count.
	if _, err := f.people.Disable(t.Context(), operator, who.ID, "left"); err != nil {
		t.Fatal(err)
	}
	last := f.surfer()
	if p := last.logIn(last.begin("/")); p.status != http.StatusForbidden || !strings.Contains(p.text, "disabled") || last.signedIn() {
		t.Errorf("signing in to a disabled account: %d at %s", p.status, p.at)
	}
	if s.signedIn() {
		t.Error("a disabled person is signed in still")
	}
}

// TestProveAtProvider asks who is signed in for their password again: the sign-in goes
// on with a fresh proof. A session over there alone makes none.
func TestProveAtProvider(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, corpGroups), nil).registered(o)
	s := f.surfer()
	s.logInAs("/account")
	who := f.external("oidc:corp", idptest.Subject)
	signIns := func() []people.SignIn {
		list, err := f.people.SignIns(t.Context(), who.ID)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	was := signIns()
	form := s.begin("/account")
	if p := s.logIn(form); p.at.Path != "/account" {
		t.Fatalf("proving again led to %s", p.at)
	}
	is := signIns()
	if len(was) != 1 || len(is) != 1 || was[0].ID != is[0].ID || is[0].FreshAt.Before(was[0].FreshAt) {
		t.Errorf("the sign-in before %+v and after %+v", was, is)
	}
	f.recorded("person.stepped_up", "method", "oidc")

	old := f.now().Add(-8 * time.Hour)
	_, in, err := f.people.External(t.Context(), people.External{Provider: "oidc:corp", Subject: idptest.Subject, Name: idptest.User, Strong: true, AuthTime: old}, here)
	if err != nil || f.now().Sub(in.FreshAt) < 7*time.Hour {
		t.Errorf("a password of this morning is a proof of %v, %v", in.FreshAt, err)
	}
	_, in, err = f.people.External(t.Context(), people.External{Provider: "oidc:corp", Subject: idptest.Subject, Name: idptest.User, Strong: true}, here)
	if err != nil || !in.FreshAt.IsZero() {
		t.Errorf("a password of nobody knows when is a proof of %v, %v", in.FreshAt, err)
	}

	// The provider is told to ask.
	s.stopBefore("/nowhere")
	s.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if p := s.visit("/sign-in/oidc/corp"); !strings.Contains(p.header.Get("Location"), "max_age=30") {
		t.Errorf("proving again asks %s", p.header.Get("Location"))
	}
	stranger := f.surfer()
	stranger.CheckRedirect = s.CheckRedirect
	p := stranger.visit("/sign-in/oidc/corp")
	if strings.Contains(p.header.Get("Location"), "max_age") {
		t.Errorf("signing in asks %s", p.header.Get("Location"))
	}
	if c := p.header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-holdfast-flow=") || !strings.Contains(c, "SameSite=Lax") || !strings.Contains(c, "Secure") || !strings.Contains(c, "HttpOnly") {
		t.Errorf("the flow's cookie: %s", c)
	}
}

// TestSignInRefused is what strangers try with the answer of a provider.
func TestSignInRefused(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, corpGroups), nil).registered(o)
	refused := func(what string, s *surfer, p page, status int, code string) {
		t.Helper()
		if p.status != status || strings.Contains(p.text, "id2") {
			t.Errorf("%s: %d at %s: %s", what, p.status, p.at, p.text)
		}
		if s.signedIn() {
			t.Errorf("%s: signed in", what)
		}
		f.recorded("provider.sign_in_refused", "code", code)
	}
	stopped := func() (*surfer, *url.URL) {
		s := f.surfer()
		form := s.begin("/")
		at := s.stopBefore(callback)
		s.logIn(form)
		s.CheckRedirect = nil
		if at.RawQuery == "" {
			t.Fatal("the provider did not send the browser back")
		}
		return s, at
	}

	s, at := stopped()
	q := at.Query()
	q.Set("state", strings.Repeat("A", len(q.Get("state"))))
	refused("a forged state", s, s.visit(callback+"?"+q.Encode()), http.StatusUnauthorized, "sso-flow")

	s, at = stopped()
	victim := f.surfer()
	refused("somebody else's answer in a browser that began nothing", victim, victim.visit(at.RequestURI()), http.StatusUnauthorized, "sso-flow")
	victim.begin("/")
	refused("somebody else's answer in a browser that began something", victim, victim.visit(at.RequestURI()), http.StatusUnauthorized, "sso-flow")

	console, err := url.Parse(f.ready.Console)
	if err != nil {
		t.Fatal(err)
	}
	kept := s.Jar.Cookies(console)
	if p := s.visit(at.RequestURI()); p.status != http.StatusOK || !s.signedIn() {
		t.Fatalf("the answer, in the browser that it is for: %d", p.status)
	}
	thief := f.surfer()
	thief.Jar.SetCookies(console, kept)
	refused("the same answer once more, with the same cookie", thief, thief.visit(at.RequestURI()), http.StatusUnauthorized, "sso-replay")

	no := f.surfer()
	no.begin("/")
	flow := no.Jar.Cookies(console)
	cut := *flow[0]
	cut.Value = cut.Value[:len(cut.Value)-4] + "AAAA"
	no.Jar.SetCookies(console, []*http.Cookie{&cut})
	refused("a cookie that was changed", no, no.visit(callback+"?state=x&code=y"), http.StatusUnauthorized, "sso-flow")

	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprint("group ", i)
	}
	o.Groups(many...)
	s = f.surfer()
	refused("too many groups", s, s.logIn(s.begin("/")), http.StatusForbidden, "sso-profile")
	o.Groups()

	s, at = stopped()
	o.Down(true)
	if p := s.visit(at.RequestURI()); p.status != http.StatusServiceUnavailable || !strings.Contains(p.text, "does not answer") {
		t.Errorf("a provider that went down: %d %s", p.status, p.text)
	}
	f.recorded("provider.sign_in_refused", "code", "sso-unavailable")
	if p := s.visit("/sign-in/oidc/nobody"); p.status != http.StatusNotFound {
		t.Errorf("a provider that there is not: %d", p.status)
	}
	if p := s.visit("/sign-in/saml/corp"); p.status != http.StatusNotFound {
		t.Errorf("a provider of another kind: %d", p.status)
	}
}

// TestManyAnswers sends more answers than an office full of people would.
func TestManyAnswers(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, ""), nil).registered(o)
	s := f.surfer()
	s.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for n := 1; ; n++ {
		s.visit("/sign-in/oidc/corp")
		status := s.visit(callback + "?state=x&code=y").status
		if status == http.StatusTooManyRequests && n > 100 {
			return
		}
		if status != http.StatusUnauthorized || n > 3000 {
			t.Fatalf("answer %d: %d", n, status)
		}
	}
}

// TestProviderInside has a provider whose address is inside, without leave.
func TestProviderInside(t *testing.T) {
	o := idptest.NewOIDC(t)
	text := strings.Replace(corp(t, o, ""), "allow_networks: [127.0.0.1/32]\n", "", 1)
	f := federate(t, "", text, nil).registered(o)
	s := f.surfer()
	if p := s.visit("/sign-in/oidc/corp"); p.status != http.StatusServiceUnavailable || strings.Contains(p.text, "127.0.0.1") {
		t.Errorf("a provider inside: %d at %s", p.status, p.at)
	}
	f.recorded("provider.sign_in_refused", "code", "sso-misconfigured")
}

// TestOneFactorThere has a provider that asks for a password alone: who would hold
// privileged permissions sets up a second factor here first.
func TestOneFactorThere(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", strings.Replace(corp(t, o, corpGroups), "[pwd]", "[mfa]", 1), nil).registered(o)
	f.surfer().logInAs("/account")
	o.Groups("plant-operators")
	s := f.surfer()
	if p := s.logIn(s.begin("/account")); !strings.HasPrefix(p.at.Path, "/sign-in/setup") || s.signedIn() {
		t.Errorf("an operator with one factor came to %s", p.at)
	}
}

// TestSeparatedGroups has groups that together give what nobody may hold together.
func TestSeparatedGroups(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, corpGroups), func(c *config.Config) { c.Access.Separate = []string{"device.write+audit.read"} }).registered(o)
	o.Groups("plant-operators")
	s := f.surfer()
	s.logInAs("/account")
	o.Groups("plant-operators", "plant-auditors")
	both := f.surfer()
	if p := both.logIn(both.begin("/")); p.status != http.StatusForbidden || !strings.Contains(p.text, "take you out of one of your groups") || both.signedIn() {
		t.Errorf("signing in with both: %d %s", p.status, p.text)
	}
	who := f.external("oidc:corp", idptest.Subject)
	if got := f.roles(who.ID); len(got) != 0 {
		t.Errorf("roles of who would hold both: %v", got)
	}
	f.recorded("person.sign_in_refused", "method", "oidc:corp")
}

// TestProviderGone takes a provider out of the file, and puts another one under its
// name.
func TestProviderGone(t *testing.T) {
	o := idptest.NewOIDC(t)
	text := corp(t, o, corpGroups)
	f := federate(t, "", text, nil).registered(o)
	o.Groups("plant-auditors")
	f.surfer().logInAs("/account")
	who := f.external("oidc:corp", idptest.Subject)
	again := func(providers string) *federated {
		t.Helper()
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		f = federate(t, f.cfg.Data, providers, nil)
		return f
	}
	again("")
	if list, err := f.people.SignIns(t.Context(), who.ID); err != nil || len(list) != 0 {
		t.Errorf("sign-ins of somebody whose provider is gone: %v %v", list, err)
	}
	if p := f.surfer().visit("/sign-in/oidc/corp"); p.status != http.StatusNotFound {
		t.Errorf("the provider that is gone: %d", p.status)
	}
	if got := f.roles(who.ID); len(got) != 1 {
		t.Errorf("roles of somebody whose provider is gone: %v", got)
	}
	again(text).registered(o).surfer().logInAs("/account")
	if is := f.external("oidc:corp", idptest.Subject); is.ID != who.ID {
		t.Errorf("the provider is back, and the account another one")
	}

	// Another issuer must not get the accounts, unless it is said to be the same.
	other := idptest.NewOIDC(t)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	cfg := f.cfg
	cfg.Access.Providers = written(t, f.dir, "other.yaml", corp(t, other, corpGroups))
	s, err := NewWith(cfg, slog.New(slog.DiscardHandler), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "give it another name") {
		t.Errorf("another issuer under the same name: %v", err)
	}
	f = federate(t, f.cfg.Data, corp(t, other, "    formerly: "+o.URL+"\n"), nil).registered(other)
	f.surfer().logInAs("/account")
	if is := f.external("oidc:corp", idptest.Subject); is.ID != who.ID {
		t.Errorf("the provider has moved, and the account is another one")
	}
	f.recorded("provider.moved", "to", other.URL)
}

// TestSignInThroughSAML is the same by posts of another site.
func TestSignInThroughSAML(t *testing.T) {
	idp := idptest.NewSAML(t)
	f := federate(t, "", fmt.Sprintf("allow_networks: [127.0.0.1/32]\nca_file: %s\nsaml:\n  - name: corp\n    metadata_url: %s\n    provider_id: %s\n    subject_attribute: %s\n    name_attribute: %s\n    display_attribute: %s\n    groups_attribute: %s\n    multi_factor: [\"urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport\"]\n    groups:\n      - {group: ops, role: operator}\n",
		idp.CAFile, idp.EntityID(), idp.EntityID(), idptest.UID, idptest.UID, idptest.CN, idptest.GroupList), nil)
	s := f.surfer()
	metadata := s.visit("/sign-in/saml/corp/metadata")
	if metadata.status != http.StatusOK || metadata.header.Get("Content-Type") != "application/samlmetadata+xml" || !strings.Contains(metadata.text, f.ready.Console+"/sign-in/saml/corp/acs") {
		t.Fatalf("our metadata: %d %s", metadata.status, metadata.text)
	}
	idp.Register([]byte(metadata.text))
	idp.Put("ops", "others")
	answer := func(s *surfer) url.Values {
		t.Helper()
		form := s.visit("/sign-in/saml/corp?next=%2Faccount")
		v := idptest.Form([]byte(form.text))
		v.Set("user", idptest.User)
		v.Set("password", idptest.Password)
		out := v
		if v.Get("SAMLResponse") == "" { // else the provider knows this browser, and has just asked it
			out = idptest.Form([]byte(s.read(s.PostForm(idp.SignInURL(), v)).text))
		}
		if out.Get("SAMLResponse") == "" {
			t.Fatalf("the provider answered nothing to %d %s", form.status, form.text)
		}
		return url.Values{"SAMLResponse": out["SAMLResponse"], "RelayState": out["RelayState"]}
	}
	post := func(s *surfer, path string, v url.Values) page {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, s.here(path), strings.NewReader(v.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", idp.URL)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		return s.read(s.Do(r))
	}
	const acs = "/sign-in/saml/corp/acs"
	console, err := url.Parse(f.ready.Console)
	if err != nil {
		t.Fatal(err)
	}
	v := answer(s)
	kept := s.Jar.Cookies(console)
	if p := post(s, acs, v); p.at.Path != "/account" || !s.signedIn() {
		t.Fatalf("signing in led to %s: %d %s", p.at, p.status, p.text)
	}
	who := f.external("saml:corp", idptest.User)
	if got := f.roles(who.ID); who.Display != "Test User2" || who.Mail != "" || !slices.Equal(got, []string{"saml:corp: operator for everything"}) {
		t.Errorf("the account %+v with %v", who, got)
	}

	thief := f.surfer()
	thief.Jar.SetCookies(console, kept)
	if p := post(thief, acs, v); p.status != http.StatusUnauthorized || thief.signedIn() {
		t.Errorf("the same answer once more: %d at %s", p.status, p.at)
	}
	f.recorded("provider.sign_in_refused", "code", "sso-replay")
	victim := f.surfer()
	if p := post(victim, acs, answer(f.surfer())); p.status != http.StatusUnauthorized || victim.signedIn() {
		t.Errorf("an answer that nobody asked for here: %d at %s", p.status, p.at)
	}
	f.recorded("provider.sign_in_refused", "code", "sso-flow")
	mixed := f.surfer()
	own, others := answer(mixed), answer(f.surfer())
	if p := post(mixed, acs, url.Values{"SAMLResponse": others["SAMLResponse"], "RelayState": own["RelayState"]}); p.status != http.StatusUnauthorized || mixed.signedIn() {
		t.Errorf("another browser's answer with this one's state: %d at %s", p.status, p.at)
	}
	for _, path := range []string{"/sign-in/saml/nobody/acs", "/sign-in/saml/corp/acs/x", "/sign-in", "/sign-out"} {
		if p := post(s, path, v); p.status != http.StatusForbidden {
			t.Errorf("another site posts to %s: %d", path, p.status)
		}
	}

	// Who is signed in proves themselves again; the post comes without their cookie.
	form := answer(s)
	bare := f.surfer()
	for _, c := range s.Jar.Cookies(console) {
		if strings.HasSuffix(c.Name, "-flow") {
			bare.Jar.SetCookies(console, []*http.Cookie{c})
		}
	}
	if p := post(bare, acs, form); p.at.Path != "/account" || !bare.signedIn() {
		t.Errorf("proving again led to %s: %d", p.at, p.status)
	}
	if list, err := f.people.SignIns(t.Context(), who.ID); err != nil || len(list) != 1 {
		t.Errorf("sign-ins after proving again: %v %v", list, err)
	}
	f.recorded("person.stepped_up", "method", "saml")

	idp.Put("others")
	later := f.surfer()
	if p := post(later, acs, answer(later)); p.at.Path != "/account" {
		t.Errorf("signing in led to %s", p.at)
	}
	if got := f.roles(who.ID); len(got) != 0 {
		t.Errorf("roles after leaving the group: %v", got)
	}

	// The key outlives the process: providers have imported its certificate.
	before := metadata.text[strings.Index(metadata.text, "<X509Certificate"):]
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.cfg.Access.Providers)
	if err != nil {
		t.Fatal(err)
	}
	f = federate(t, f.cfg.Data, string(text), nil)
	after := f.surfer().visit("/sign-in/saml/corp/metadata").text
	cert := func(s string) string { return strings.SplitN(s, "</", 2)[0] }
	if i := strings.Index(after, "<X509Certificate"); i < 0 || cert(after[i:]) != cert(before) {
		t.Error("after a start the key for SAML is another one")
	}
}

// TestSignedOutThere has the provider say that somebody signed out.
func TestSignedOutThere(t *testing.T) {
	o := idptest.NewOIDC(t)
	f := federate(t, "", corp(t, o, ""), nil).registered(o)
	s := f.surfer()
	s.logInAs("/account")
	who := f.external("oidc:corp", idptest.Subject)
	for _, session := range []string{"s1", "s1", "s2"} {
		if _, _, err := f.people.External(t.Context(), people.External{Provider: "oidc:corp", Subject: idptest.Subject, Name: idptest.User, Strong: true, Session: session}, here); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(token string) int {
		t.Helper()
		stranger := f.surfer()
		return stranger.read(stranger.PostForm(stranger.here("/sign-in/oidc/corp/logout"), url.Values{"logout_token": {token}})).status
	}
	left := func(want int, what string) {
		t.Helper()
		if list, err := f.people.SignIns(t.Context(), who.ID); err != nil || len(list) != want {
			t.Errorf("%s: %d sign-ins are left, want %d, %v", what, len(list), want, err)
		}
	}
	token := o.LogoutToken("1", "s1")
	if got := tell(token); got != http.StatusOK {
		t.Errorf("a session ended: %d", got)
	}
	left(2, "a session ended")
	for what, bad := range map[string]string{"the same token once more": token, "no token": "", "a token that was changed": o.LogoutToken("2", "")[:200] + "x"} {
		if got := tell(bad); got != http.StatusBadRequest {
			t.Errorf("%s: %d", what, got)
		}
	}
	left(2, "tokens that do not count")
	f.recorded("provider.sign_out_refused", "code", "sso-replay")
	if got := tell(o.LogoutToken("3", "")); got != http.StatusOK || s.signedIn() {
		t.Errorf("the person signed out: %d", got)
	}
	left(0, "the person signed out")
	if p := s.visit("/sign-in/saml/corp/logout"); p.status == http.StatusOK && p.at.Path == "/sign-in/saml/corp/logout" {
		t.Error("SAML has a way to sign out")
	}
}

// TestTrustedIssuer lets a program in by the token of its pipeline.
func TestTrustedIssuer(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ci := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	}))
	t.Cleanup(ci.Close)
	ca := written(t, t.TempDir(), "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ci.Certificate().Raw})))
	f := federate(t, "", fmt.Sprintf("allow_networks: [127.0.0.1/32]\nca_file: %s\nissuers:\n  - issuer: %s\n    jwks_url: %s/jwks\n    audience: holdfast\n    clients: {\"repo:*\": pipeline}\n    replay_check: true\n", ca, ci.URL, ci.URL), nil)
	c, err := f.CreateClient(t.Context(), operator, access.APIClient{Name: "pipeline"})
	if err == nil {
		_, err = f.Grant(t.Context(), operator, adminapi.GrantInput{Kind: access.ToClient, Subject: c.ID, Role: "viewer", Reason: "test"})
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k1").WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	call := func(subject, audience, id string) int {
		t.Helper()
		now := time.Now()
		token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: ci.URL, Subject: subject, Audience: jwt.Audience{audience}, ID: id, IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodGet, f.ready.API+"/api/v1/devices", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		s := f.surfer()
		return s.read(s.Do(r)).status
	}
	if got := call("repo:a", "holdfast", "1"); got != http.StatusOK {
		t.Errorf("the pipeline: %d", got)
	}
	for what, got := range map[string]int{"a token twice": call("repo:a", "holdfast", "1"), "another audience": call("repo:a", "other", "2"), "a subject for nobody": call("user:a", "holdfast", "3")} {
		if got != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, got)
		}
	}
}
