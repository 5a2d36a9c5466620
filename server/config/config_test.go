package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

const example = "../../deploy/config/holdfast.yaml"

func TestExampleIsTheDefault(t *testing.T) {
	got, err := Load(example, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default().Complete(); !reflect.DeepEqual(got, want) {
		t.Errorf("the example says\n%v\nand the defaults are\n%v", got, want)
	}
}

// TestExampleNamesEveryKey takes the comments off the optional values.
func TestExampleNamesEveryKey(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`(?m)^( *)# ([a-z_]+: [^ ].*)$`).ReplaceAllString(string(data), "$1$2")
	whole = regexp.MustCompile(`(?m)^(trust_domain|nats|enrolment): .*[a-z] [a-z].*\n`).ReplaceAllString(whole, "")
	c := Default()
	origins := map[string]string{}
	var problems Problems
	fields := fieldsOf(&c)
	if _, err := (yamlParser{file: "example", fields: fields, origins: origins, problems: &problems}).Unmarshal([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if origins[f.key] == "" {
			t.Errorf("the example does not show %s", f.key)
		}
	}
	if _, err := load("example", []byte(whole), nil, nil); err != nil {
		t.Error(err)
	}
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "data: /from-file\ncrl: {lifetime: 2d}\nlisten: {api: '127.0.0.1:1', device: '127.0.0.1:2', pki: '127.0.0.1:3'}\nhostnames: [a.example]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--listen-api", "127.0.0.1:0", "--demo", "--nats=tls://n.example:4222", "--trusted-proxies", "10.0.0.0/8,192.0.2.1/32"}); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOLDFAST_LISTEN_API=127.0.0.1:9", "HOLDFAST_LISTEN_DEVICE=127.0.0.1:10", "HOLDFAST_OCSP_LIFETIME=1d12h", "HOLDFAST_HOSTNAMES=b.example, 192.0.2.9",
		"HOLDFAST_PORT_8443_TCP=tcp://10.0.0.1", "HOLDFAST_MQTT_PORT=tcp://10.0.0.1:8883", "HOLDFAST_MQTT_SERVICE_PORT=8883", "HOLDFAST_NODE=", "HOLDFAST_KEY=x", "OTHER=1",
		`HOLDFAST_AUDIT_WITNESSES=[{url: "https://w.example", key: "w.example+3f2ff981+BDrdH4Q8vxRxXbMIZDcqJGJf3rWJrcCa3LwkR2ZWJFRO"}]`}
	c, err := Load(file, env, flags)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data, want.CRL.Lifetime, want.OCSP.Lifetime = "/from-file", 48*time.Hour, 36*time.Hour
	want.Listen.API, want.Listen.Device, want.Listen.PKI = "127.0.0.1:0", "127.0.0.1:10", "127.0.0.1:3"
	want.Hostnames, want.Demo, want.NATS.URL = []string{"b.example", "192.0.2.9"}, true, "tls://n.example:4222"
	want.TrustedProxies = c.TrustedProxies
	want.Audit.Witnesses = []Witness{{"https://w.example", "w.example+3f2ff981+BDrdH4Q8vxRxXbMIZDcqJGJf3rWJrcCa3LwkR2ZWJFRO"}}
	if want = want.Complete(); !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%v\nwant\n%v", c, want)
	}
	if fmt.Sprint(c.TrustedProxies) != "[10.0.0.0/8 192.0.2.1/32]" || c.Keys != "file:/from-file/keys" || c.PKIURL != "http://127.0.0.1:3" {
		t.Errorf("got %v", c)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown", "data: /x\nlisten:\n  apii: 127.0.0.1:1\n", `c.yaml:3:3: listen.apii: unknown key (did you mean listen.api?)`},
		{"unknown section", "lisen:\n  api: a:1\n", `c.yaml:1:1: lisen: unknown key (did you mean listen?)`},
		{"wrong section", "rate: 3\n", `c.yaml:1:1: rate: unknown key (did you mean enrolment.rate?)`},
		{"far off", "blue: 1\n", `c.yaml:1:1: blue: unknown key (see the example`},
		{"twice", "demo: true\nnode: n\ndemo: false\n", `c.yaml:3:1: demo: the key stands twice, first on line 1`},
		{"text", "node: 12\n", `c.yaml:1:7: node: expected text; put it in quotes, found 12`},
		{"number", "enrolment: {burst: many}\n", `c.yaml:1:20: enrolment.burst: expected a whole number, found the text "many"`},
		{"fraction", "enrolment: {burst: 1.5}\n", `c.yaml:1:20: enrolment.burst: expected a whole number, found 1.5`},
		{"range", "enrolment: {burst: 0}\n", `c.yaml:1:20: enrolment.burst: expected 1 to 100000, found "0"`},
		{"nan", "enrolment: {rate: .nan}\n", `c.yaml:1:19: enrolment.rate: expected`},
		{"duration", "crl: {lifetime: 24}\n", `c.yaml:1:17: crl.lifetime: expected a duration such as 90m, 24h or 365d, found 24`},
		{"duration text", "crl: {lifetime: a day}\n", `c.yaml:1:17: crl.lifetime: expected a duration such as 90m, 24h or 365d, found "a day"`},
		{"bool", "demo: yes please\n", `c.yaml:1:7: demo: expected true or false, found the text "yes please"`},
		{"list", "hostnames: a.example\n", `c.yaml:1:12: hostnames: expected a list of texts such as [a, b], found the text "a.example"`},
		{"section", "listen: 127.0.0.1:1\n", `c.yaml:1:9: listen: expected keys with values below it, found the text "127.0.0.1:1"`},
		{"null", "node:\n", `c.yaml:1:6: node: expected text; put it in quotes, found nothing`},
		{"address", "listen: {api: '8443'}\n", `c.yaml:1:15: listen.api: expected HOST:PORT such as 127.0.0.1:8443 or [::]:8443, found "8443"`},
		{"same address", "listen: {api: ':1', device: ':1'}\n", `listen.device: another listener has the same address`},
		{"alias", "node: &a n\nkeys: *a\n", `c.yaml:2:7: keys: expected text; put it in quotes, found an alias`},
		{"yaml", "data: [\n", `c.yaml:`},
		{"documents", "data: /x\n---\ndata: /y\n", `expected a single document`},
		{"trust domain", "trust_domain: Example.com\n", `c.yaml:1:15: trust_domain: expected a lower-case DNS name, found "Example.com"`},
		{"pki url", "pki_url: https://x.example\n", `pki_url: expected a URL such as http://`},
		{"refresh", "crl: {lifetime: 1h}\n", `crl.refresh: one missed refresh would let the list expire (use at most half of crl.lifetime)`},
		{"proxies", "trusted_proxies: [0.0.0.0/0]\n", `narrower than the whole Internet`},
		{"network", "trusted_proxies: [10.0.0.1/8]\n", `is not a network`},
		{"witness", "audit: {witnesses: [{url: 'https://w', keys: x}]}\n", `c.yaml:1:40: audit.witnesses.keys: unknown key (did you mean audit.witnesses.key?)`},
		{"witness key", "audit: {witnesses: [{url: 'https://w', key: w.example+00000000+AAAA}]}\n", `c.yaml:1:20: audit.witnesses: expected a witness's key`},
		{"quorum", "audit: {quorum: 2}\n", `audit.quorum: there are fewer witnesses than the quorum`},
		{"keys", "keys: tpm:tpm0\n", `expected an absolute path after tpm:`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load("c.yaml", []byte(c.text), nil, nil)
			var ps Problems
			if !errors.As(err, &ps) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestRefusalsOutsideTheFile(t *testing.T) {
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--crl-refresh=soon"}); err != nil {
		t.Fatal(err)
	}
	_, err := Load("", []string{"HOLDFAST_LISTN_API=127.0.0.1:1", "HOLDFAST_DEMO=1"}, flags)
	for _, want := range []string{
		"environment HOLDFAST_LISTN_API: unknown variable (did you mean HOLDFAST_LISTEN_API?)",
		`environment HOLDFAST_DEMO: demo: expected true or false, found "1"`,
		`flag --crl-refresh: crl.refresh: expected a duration such as 90m, 24h or 365d, found "soon"`,
	} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got\n%v\nwithout %s", err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gave %v", err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, nil, nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a big file gave %v", err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2"
	c := Default()
	c.Database = NewSecret("postgres://u:" + secret + "@h/db")
	c.NATS = NATS{URL: "tls://u:" + secret + "@n.example:1", Credentials: "/" + secret}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configuration", "config", c, "database", c.Database)
	out := fmt.Sprintf("%v %+v %#v %s %q %x %v %#v", c, c, c, c, c.Database, c.Database, &c, c.Database) + log.String() + fmt.Sprint(c.Validate())
	if strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
		t.Errorf("the secret shows in %s", out)
	}
	if _, err := json.Marshal(c.Database); err == nil {
		t.Error("a secret was marshalled")
	}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "use nats.credentials") {
		t.Errorf("a password in the NATS URL gave %v", err)
	}
	_, err := load("c", []byte("database: [x, "+secret+"]"), []string{"HOLDFAST_DATABASE=mysql://" + secret}, nil)
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a bad database URL gave %v", err)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"365d": 365 * day, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "0d": 0} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("ParseDuration(%q) = %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1d24h", "1.5d", "1d-1h", "99999d", "3"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v", text, d)
		}
	}
	for d, want := range map[time.Duration]string{day: "24h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", 10 * time.Minute: "10m"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %s, want %s", d, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	if data, err := os.ReadFile(example); err == nil {
		f.Add(data)
	}
	f.Add([]byte("audit: {witnesses: [{url: 'https://w', key: 'w.example+3f2ff981+BDrdH4Q8vxRxXbMIZDcqJGJf3rWJrcCa3LwkR2ZWJFRO'}], quorum: 1}\n"))
	f.Add([]byte("mqtt: {max_packet: 65536, queue_bytes: 3KiB, retention: 3d, session_expiry: 1d, origins: ['https://[::1]:8443']}\nnats: {url: 'tls://n:1'}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("listen: {api: ':1', api: ':2'}\n? [x]\n: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := load("f", data, nil, nil)
		var ps Problems
		if err != nil {
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("a loaded configuration is not valid: %v", err)
		}
		// What was read can be given back as environment and means the same.
		var env []string
		for _, f := range fieldsOf(&c) {
			if f.kind != witnesses && !f.secret && f.key != "audit.quorum" && f.show() != "" {
				env = append(env, f.env()+"="+f.show())
			}
		}
		again, err := load("", nil, env, nil)
		if err != nil && !strings.Contains(err.Error(), "nats") {
			t.Fatalf("%v\nfrom %v", err, env)
		} else if err == nil {
			again.Database, again.NATS.URL, again.Audit = c.Database, c.NATS.URL, c.Audit
			if !reflect.DeepEqual(again, c) {
				t.Fatalf("got\n%v\nwant\n%v", again, c)
			}
		}
	})
}
