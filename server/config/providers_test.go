package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

const exampleProviders = "../../deploy/config/providers.yaml"

func TestExampleProviders(t *testing.T) {
	data, err := os.ReadFile(exampleProviders)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProviders("example", data)
	if err != nil {
		t.Fatal(err)
	}
	want := []GroupRole{{"fleet-admins", "admin", access.Scope{}}, {"plant-operators", "operator", access.Scope{Zones: []device.ZoneName{"plant", "yard"}}},
		{"pump-service", "viewer", access.Scope{Types: []device.TypeName{"pump"}, Labels: map[string][]string{"site": {"north", "east"}}}}}
	if len(p.OIDC) != 1 || p.OIDC[0].Name != "corp" || !reflect.DeepEqual(p.OIDC[0].Groups, want) || !reflect.DeepEqual(p.OIDC[0].MultiFactor, []string{"mfa", "otp", "hwk"}) {
		t.Errorf("%+v", p.OIDC)
	}
	if len(p.SAML) != 1 || p.SAML[0].Label != "Continue with Example Partner" || len(p.SAML[0].Groups) != 1 || p.SAML[0].GroupsAttribute != "groups" {
		t.Errorf("%+v", p.SAML)
	}
	if len(p.Issuers) != 1 || p.Issuers[0].MaxAge != 10*time.Minute || p.Issuers[0].Clients["repo:example/firmware:ref:refs/heads/main"] != "release-pipeline" || !p.Issuers[0].ReplayCheck {
		t.Errorf("%+v", p.Issuers)
	}
	if len(p.AllowNetworks) != 1 {
		t.Errorf("%v", p.AllowNetworks)
	}
}

// TestGuideProviders reads the examples of the guide.
func TestGuideProviders(t *testing.T) {
	data, err := os.ReadFile("../../docs/guide/people.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(data), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.HasPrefix(text, "oidc:") {
			continue
		}
		n++
		if p, err := ParseProviders("the guide", []byte(text)); err != nil || len(p.OIDC) != 1 || len(p.OIDC[0].Groups) == 0 {
			t.Errorf("%v in\n%s", err, text)
		}
	}
	if n < 3 {
		t.Errorf("only %d examples were found", n)
	}
}

func TestProvidersRefused(t *testing.T) {
	oidc := func(more string) string {
		return "oidc:\n  - name: corp\n    issuer: https://a.example\n    client_id: h\n" + more
	}
	group := func(more string) string { return oidc("    groups:\n      - group: g\n        role: viewer\n" + more) }
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":                 {"oidc: [", "reading YAML"},
		"two documents":           {"oidc: []\n---\noidc: []\n", "single document"},
		"not keys":                {"- oidc", "f:1:1: expected keys with values"},
		"an unknown key":          {oidc("    isuer: https://a.example\n"), "f:5:5: oidc.isuer: unknown key (did you mean oidc.issuer?)"},
		"an unknown section":      {"oicd: []\n", "f:1:1: oicd: unknown key (did you mean oidc?)"},
		"a key twice":             {oidc("    name: b\n"), "stands twice"},
		"a secret in the file":    {oidc("    client_secret: x\n"), "unknown key"},
		"no name":                 {"oidc: [{issuer: 'https://a.example', client_id: h}]\n", "oidc.name"},
		"no issuer":               {"oidc: [{name: corp, client_id: h}]\n", "oidc.issuer"},
		"a name with a slash":     {"oidc: [{name: a/b, issuer: 'https://a.example', client_id: h}]\n", "oidc.name"},
		"no TLS":                  {"oidc: [{name: corp, issuer: 'http://a.example', client_id: h}]\n", "f:1:29: oidc.issuer: expected a URL such as https://"},
		"a name twice":            {"oidc:\n  - {name: a, issuer: 'https://a.example', client_id: h}\n  - {name: a, issuer: 'https://b.example', client_id: h}\n", "f:3:5: oidc: a stands there twice"},
		"secret and key":          {oidc("    client_secret_file: a\n    client_key_file: b\n"), "one of client_secret_file"},
		"a key id without a key":  {oidc("    client_key_id: a\n"), "belong to client_key_file"},
		"HMAC":                    {oidc("    algorithms: [HS256]\n"), "oidc.algorithms"},
		"a mapping for a list":    {"oidc: {name: corp}\n", "expected a list of at most 64 entries"},
		"a text for a mapping":    {oidc("    require: x\n"), "expected at most 64 keys"},
		"a number required":       {oidc("    require: {hd: 1}\n"), "expected text for hd"},
		"an alias":                {"oidc: &a []\nsaml: *a\n", "alias"},
		"a pattern of groups":     {oidc("    groups: [{group: 'admin*', role: admin}]\n"), "* stands for nothing else"},
		"no group":                {oidc("    groups: [{role: admin}]\n"), "groups.group"},
		"no role":                 {oidc("    groups: [{group: g}]\n"), "groups.role"},
		"no zones":                {group("        zones: []\n"), "leave it out where the whole fleet is meant"},
		"zones of nothing":        {group("        zones:\n"), "groups.zones"},
		"an empty zone":           {group("        zones: ['']\n"), "groups.zones"},
		"no labels":               {group("        labels: {}\n"), "leave it out where the whole fleet is meant"},
		"a label without values":  {group("        labels: {site: []}\n"), "expected a list of values for site"},
		"a label that is text":    {group("        labels: {site: north}\n"), "expected a list of values for site"},
		"SAML without metadata":   {"saml: [{name: a, provider_id: p}]\n", "one of metadata_file and metadata_url"},
		"SAML of anybody":         {"saml: [{name: a, metadata_file: f}]\n", "saml.provider_id"},
		"SAML with both":          {"saml: [{name: a, provider_id: p, metadata_file: f, metadata_url: 'https://a.example'}]\n", "one of metadata_file and metadata_url"},
		"groups of no attribute":  {"saml: [{name: a, provider_id: p, metadata_file: f, groups: [{group: g, role: viewer}]}]\n", "groups_attribute"},
		"a pin cut short":         {"saml: [{name: a, provider_id: p, metadata_file: f, pins: [00ff]}]\n", "saml.pins"},
		"an issuer for nobody":    {"issuers: [{issuer: 'https://a.example', audience: h}]\n", "expected clients"},
		"an issuer for anybody":   {"issuers: [{issuer: 'https://a.example', clients: {a: b}}]\n", "issuers.audience"},
		"the whole Internet":      {"allow_networks: [0.0.0.0/0]\n", "narrower"},
		"a proxy with a password": {"proxy: http://a:b@p.example:3128\n", "proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseProviders("f", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if p, err := ParseProviders("f", []byte("# nothing\n")); err != nil || len(p.OIDC) != 0 {
		t.Errorf("nothing: %v %v", p, err)
	}
}

func TestLoadProviders(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, key, metadata := put("secret", "s3cret\n", 0o600), put("key", "a key", 0o600), put("metadata", "<xml/>", 0o644)
	text := "ca_file: " + metadata + "\noidc:\n- {name: a, issuer: 'https://a.example', client_id: h, client_secret_file: " + secret + "}\n- {name: b, issuer: 'https://b.example', client_id: h, client_key_file: " + key +
		"}\nsaml:\n- {name: a, provider_id: p, metadata_file: " + metadata + "}\n"
	file := put("providers.yaml", text, 0o644)
	p, err := LoadProviders(file)
	if err != nil || p.OIDC[0].Secret.Reveal() != "s3cret" || p.OIDC[1].Key.Reveal() != "a key" || string(p.SAML[0].Metadata) != "<xml/>" || string(p.Roots) != "<xml/>" || p.OIDC[0].Label != "Continue with a" {
		t.Fatalf("%v %v", p, err)
	}
	for name, c := range map[string]struct {
		path string
		mode os.FileMode
		want string
	}{
		"a secret that others read":  {secret, 0o640, "chmod 0600"},
		"a key that others read":     {key, 0o604, "chmod 0600"},
		"metadata that others write": {metadata, 0o666, "may be written by others"},
		"providers of anybody":       {file, 0o646, "may be written by others"},
	} {
		was, err := os.Stat(c.path)
		if err == nil {
			err = os.Chmod(c.path, c.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadProviders(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Chmod(c.path, was.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	put("secret", "", 0o600)
	if _, err := LoadProviders(file); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("no secret: %v", err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := LoadProviders(path); err == nil || !strings.Contains(err.Error(), "access.providers") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzProviders(f *testing.F) {
	data, err := os.ReadFile(exampleProviders)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("oidc: [{name: a, groups: [{group: g, labels: {a: [b]}}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProviders("f", data)
		if err != nil {
			return
		}
		for _, o := range p.OIDC {
			for _, g := range o.Groups {
				if o.Name == "" || g.Group == "" || g.Role == "" || g.Scope.Validate() != nil {
					t.Errorf("%+v", o)
				}
			}
		}
	})
}
