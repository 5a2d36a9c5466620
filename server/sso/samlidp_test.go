package sso

import (
	"encoding/base64"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/crewjam/saml/samlidp"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/holdfast-iot/holdfast/refusal"
)

// realIdP starts a SAML identity provider that somebody else wrote, with one
// person, and imports our metadata.
func realIdP(t *testing.T) (metadataURL string, add func(metadata []byte)) {
	t.Helper()
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	u, _ := url.Parse(s.URL)
	idp, err := samlidp.New(samlidp.Options{URL: *u, Key: keys().rsa, Certificate: certs().idp, Store: &samlidp.MemoryStore{}, Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	idp.IDP.SignatureMethod = dsig.RSASHA256SignatureMethod
	h = idp
	put := func(path, body string) {
		r, err := http.NewRequest("PUT", s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("%s: %v %v", path, resp, err)
		}
		resp.Body.Close()
	}
	put("/users/ada", `{"name":"ada","password":"hunter2","groups":["ops","R&D"],"email":"ada@example.com","common_name":"Ada L"}`)
	return s.URL + "/metadata", func(m []byte) { put("/services/holdfast", string(m)) }
}

var field = regexp.MustCompile(`name="([A-Za-z]+)" value="([^"]*)"`)

// fields reads the values of a page's form.
func fields(page []byte) url.Values {
	v := url.Values{}
	for _, m := range field.FindAllSubmatch(page, -1) {
		v.Set(string(m[1]), html.UnescapeString(string(m[2])))
	}
	return v
}

func TestRealIdP(t *testing.T) {
	at, add := realIdP(t)
	cfg := samlConfig(t)
	cfg.Metadata, cfg.MetadataURL, cfg.Client, cfg.AllowHTTP = nil, at, local(t), true
	cfg.SubjectAttribute, cfg.NameAttribute, cfg.DisplayAttribute = "urn:oid:0.9.2342.19200300.100.1.1", "urn:oid:0.9.2342.19200300.100.1.1", "urn:oid:2.5.4.3"
	cfg.GroupsAttribute, cfg.MailAttribute = "urn:oid:1.3.6.1.4.1.5923.1.1.1.1", "urn:oid:1.3.6.1.4.1.5923.1.1.1.6"
	p := newSAML(t, cfg)
	w := httptest.NewRecorder()
	p.ServeMetadata(w, httptest.NewRequest("GET", entity, nil))
	if w.Code != 200 || strings.Contains(w.Body.String(), `use="encryption"`) || strings.Contains(w.Body.String(), "Artifact") {
		t.Fatalf("our metadata: %d %s", w.Code, w.Body)
	}
	add(w.Body.Bytes())
	to, kept, err := p.Begin(t.Context(), "/home")
	if err != nil {
		t.Fatal(err)
	}
	b := browser(t)
	resp, err := b.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	form := fields(page)
	form.Set("user", "ada")
	form.Set("password", "hunter2")
	resp, err = b.PostForm(strings.Replace(at, "/metadata", "/sso", 1), form)
	if err != nil {
		t.Fatal(err)
	}
	page, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	back := fields(page)
	if back.Get("SAMLResponse") == "" {
		t.Fatalf("no response in the page: %s", page)
	}
	e, err := p.Finish(t.Context(), kept, postForm(url.Values{"SAMLResponse": back["SAMLResponse"], "RelayState": back["RelayState"]}))
	if err != nil {
		raw, _ := base64.StdEncoding.DecodeString(back.Get("SAMLResponse"))
		t.Fatalf("%v in %s", err, raw)
	}
	if e.Subject != "ada" || e.Display != "Ada L" || e.Mail != "ada@example.com" || strings.Join(e.Groups, "|") != "ops|R&D" || e.SessionRef == "" || e.ReturnTo != "/home" || e.Factors {
		t.Errorf("%+v", e)
	}
	if _, err := p.Finish(t.Context(), kept, postForm(url.Values{"SAMLResponse": back["SAMLResponse"], "RelayState": back["RelayState"]})); !refusal.Is(err, CodeReplay) {
		t.Errorf("again: %v", err)
	}
}
