package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// field is one key: how it is written, read and checked.
type field struct {
	key  string
	help string // for --help, one line
	kind kind
	// set takes text, or for lists []any of text or of map[string]any.
	set func(v any) error
	// show is the inverse of set for text, without secrets.
	show func() string
	// check refuses values that set accepts; the error says what is expected.
	check  func() error
	secret bool // its value stands in no message
	// node reads YAML that is more than one value or a list of texts; nil for most.
	node func(w walker, n *yaml.Node)
}

// kind says how a value looks in YAML.
type kind int

const (
	text kind = iota
	duration
	integer
	float
	size
	boolean
	list      // of text
	witnesses // list of mappings
)

// expects describes a kind, and tags names the YAML tags it may have.
var kinds = map[kind]struct{ expects, tags string }{
	text:      {"text; put it in quotes", "!!str"},
	duration:  {"a duration such as 90m, 24h or 365d", "!!str"},
	integer:   {"a whole number", "!!int"},
	float:     {"a number", "!!int !!float"},
	size:      {"a size such as 64KiB, 1MiB or 8GiB, or a number of bytes", "!!str !!int"},
	boolean:   {"true or false", "!!bool"},
	list:      {"a list of texts such as [a, b]", "!!seq"},
	witnesses: {"a list such as [{url: \"https://witness.example\", key: \"NAME+HASH+KEY\"}]", "!!seq"},
}

func (f field) env() string {
	return "HOLDFAST_" + strings.ToUpper(strings.ReplaceAll(f.key, ".", "_"))
}

func (f field) flag() string {
	if f.key == "nats.url" {
		return "nats"
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(f.key)
}

// fieldsOf lists every key, in the order of the manual, bound to c.
func fieldsOf(c *Config) []field {
	return slices.Concat([]field{
		textField("data", "folder for everything this server keeps", &c.Data, validPath),
		textField("trust_domain", "SPIFFE trust domain of all identities; cannot be changed later", &c.TrustDomain, validTrustDomain),
		textField("node", "name of this server among those on one database (default: the host name)", &c.Node, optional(validNode)),
		listField("hostnames", "further DNS names and IP addresses in the server's certificate", &c.Hostnames, validHostname),
		textField("listen.api", "HOST:PORT of the admin API and console (TLS)", &c.Listen.API, validListen),
		textField("listen.device", "HOST:PORT for devices: EST (TLS)", &c.Listen.Device, validListen),
		textField("listen.mqtts", "HOST:PORT of MQTT (mutual TLS)", &c.Listen.MQTTS, validListen),
		textField("listen.wss", "HOST:PORT of MQTT over WebSocket, path /mqtt (TLS)", &c.Listen.WSS, validListen),
		textField("listen.pki", "HOST:PORT for OCSP, CRLs and CA certificates (plain HTTP)", &c.Listen.PKI, validListen),
		textField("listen.metrics", "HOST:PORT for metrics and health (plain HTTP)", &c.Listen.Metrics, validListen),
		textField("pki_url", "base URL of OCSP and CRLs in certificates (default: http:// and listen.pki)", &c.PKIURL, optional(validPKIURL)),
		secretField("database", "postgres:// URL (default: SQLite in the data folder)", &c.Database, validDatabase),
		quiet(textField("nats.url", "URLs of a NATS cluster (default: embedded)", &c.NATS.URL, optional(validNATS))),
		textField("nats.credentials", "file with the NATS user's JWT and seed", &c.NATS.Credentials, optional(validPath)),
		textField("nats.ca", "PEM file with the authorities of the NATS cluster", &c.NATS.CA, optional(validPath)),
		textField("keys", "where private keys live: file:DIR, tpm:DEVICE?keys=DIR or signer:SOCKET (default: file:DATA/keys)", &c.Keys, optional(validKeys)),
		textField("key_encryption_file", "file with the key that seals key files (default: DATA/secret.key)", &c.KeyEncryptionFile, optional(validPath)),
		textField("ca.name", "common name of a new root", &c.CA.Name, validCAName),
		textField("ca.algorithm", "key algorithm of new authorities: P-256, P-384 or Ed25519", &c.CA.Algorithm, oneOf("P-256", "P-384", "Ed25519")),
		durationField("ca.root_validity", "validity of a new root", &c.CA.RootValidity, year, 40*year),
		durationField("ca.issuing_validity", "validity of a new issuing authority", &c.CA.IssuingValidity, day, 20*year),
		durationField("crl.lifetime", "how long a revocation list may be believed", &c.CRL.Lifetime, 10*time.Minute, 30*day),
		durationField("crl.refresh", "how often a revocation list is remade", &c.CRL.Refresh, time.Minute, 15*day),
		durationField("ocsp.lifetime", "how long an OCSP answer may be believed", &c.OCSP.Lifetime, 10*time.Minute, 7*day),
		numberField("enrolment.rate", "enrolment requests per second from one source", float, &c.Enrolment.Rate, 0.01, 100_000, parseFloat),
		numberField("enrolment.burst", "enrolment requests at once from one source", integer, &c.Enrolment.Burst, 1, 100_000, strconv.Atoi),
		numberField("enrolment.max_certificates", "live certificates of one device", integer, &c.Enrolment.MaxCertificates, 1, 1000, strconv.Atoi),
	}, mqttFields(&c.MQTT), accessFields(&c.Access), []field{
		prefixesField("trusted_proxies", "networks whose X-Forwarded-For is believed", &c.TrustedProxies),
		witnessesField("audit.witnesses", "witnesses that cosign checkpoints, as [{url: …, key: …}]", &c.Audit.Witnesses),
		numberField("audit.quorum", "witnesses that must have cosigned a checkpoint", integer, &c.Audit.Quorum, 0, maxWitnesses, strconv.Atoi),
		textField("audit.syslog.address", "HOST:PORT of a syslog collector (TLS)", &c.Audit.Syslog.Address, optional(validTarget)),
		textField("audit.syslog.ca", "PEM file with the authorities of the collector", &c.Audit.Syslog.CA, optional(validPath)),
		textField("audit.syslog.client_cert", "PEM file with this server's certificate for the collector", &c.Audit.Syslog.ClientCert, optional(validPath)),
		textField("audit.syslog.client_key", "PEM file with the key of client_cert", &c.Audit.Syslog.ClientKey, optional(validPath)),
		levelField("log.level", "least that is logged: debug, info, warn or error", &c.Log.Level),
		textField("log.format", "text or json", &c.Log.Format, oneOf("text", "json")),
		boolField("demo", "add a simulated fleet", &c.Demo),
	})
}

// quiet keeps the value out of messages: people put passwords where they do not belong.
func quiet(f field) field {
	f.secret = true
	return f
}

// keysOf lists the keys of fields.
func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

const maxText = 4096

// asText takes the text that set was given.
func asText(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", errors.New("expected one value")
	}
	if len(s) > maxText {
		return "", fmt.Errorf("expected at most %d bytes", maxText)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", errors.New("expected no control characters")
	}
	return s, nil
}

func textField(key, help string, p *string, check func(string) error) field {
	return field{key: key, help: help, kind: text,
		set:   func(v any) (err error) { *p, err = asText(v); return err },
		show:  func() string { return *p },
		check: func() error { return check(*p) }}
}

func secretField(key, help string, p *Secret, check func(string) error) field {
	return field{key: key, help: help, kind: text, secret: true,
		set: func(v any) error {
			s, err := asText(v)
			*p = NewSecret(s)
			return err
		},
		show:  func() string { return p.String() },
		check: func() error { return check(p.text) }}
}

func durationField(key, help string, p *time.Duration, least, most time.Duration) field {
	return field{key: key, help: help, kind: duration,
		set: func(v any) error {
			s, err := asText(v)
			if err != nil {
				return err
			}
			d, err := ParseDuration(s)
			if err != nil {
				return errors.New("expected " + kinds[duration].expects)
			}
			*p = d
			return nil
		},
		show: func() string { return FormatDuration(*p) },
		check: func() error {
			if *p < least || *p > most {
				return fmt.Errorf("expected %s to %s", FormatDuration(least), FormatDuration(most))
			}
			return nil
		}}
}

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func numberField[N int | float64](key, help string, k kind, p *N, least, most N, parse func(string) (N, error)) field {
	return field{key: key, help: help, kind: k,
		set: func(v any) error {
			s, err := asText(v)
			if err != nil {
				return err
			}
			n, err := parse(s)
			if err != nil {
				return errors.New("expected " + kinds[k].expects)
			}
			*p = n
			return nil
		},
		show: func() string { return fmt.Sprint(*p) },
		check: func() error {
			if !(*p >= least && *p <= most) { // so that NaN is refused
				return fmt.Errorf("expected %v to %v", least, most)
			}
			return nil
		}}
}

func boolField(key, help string, p *bool) field {
	return field{key: key, help: help, kind: boolean,
		set: func(v any) error {
			switch s, err := asText(v); {
			case err != nil:
				return err
			case s == "true" || s == "false":
				*p = s == "true"
				return nil
			}
			return errors.New("expected true or false")
		},
		show:  func() string { return strconv.FormatBool(*p) },
		check: func() error { return nil }}
}

func levelField(key, help string, p *slog.Level) field {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return field{key: key, help: help, kind: text,
		set: func(v any) error {
			s, err := asText(v)
			if err != nil {
				return err
			}
			level, ok := levels[s]
			if !ok {
				return errors.New("expected debug, info, warn or error")
			}
			*p = level
			return nil
		},
		show:  func() string { return strings.ToLower(p.String()) },
		check: func() error { return nil }}
}

// maxList bounds a list of texts.
const maxList = 64

// asList takes a YAML list, or text with commas between the items.
func asList(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		items := []any{}
		for item := range strings.SplitSeq(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
		v = items
	}
	items, ok := v.([]any)
	if !ok {
		return nil, errors.New("expected a list")
	}
	if len(items) > maxList {
		return nil, fmt.Errorf("expected at most %d items", maxList)
	}
	var texts []string // nil when there are none, as in Default
	for _, item := range items {
		s, err := asText(item)
		if err != nil {
			return nil, err
		}
		texts = append(texts, s)
	}
	return texts, nil
}

func listField(key, help string, p *[]string, check func(string) error) field {
	return field{key: key, help: help, kind: list,
		set:  func(v any) (err error) { *p, err = asList(v); return err },
		show: func() string { return strings.Join(*p, ",") },
		check: func() error {
			if len(*p) > maxList {
				return fmt.Errorf("expected at most %d items", maxList)
			}
			for _, s := range *p {
				if err := check(s); err != nil {
					return err
				}
			}
			return nil
		}}
}

func prefixesField(key, help string, p *[]netip.Prefix) field {
	return field{key: key, help: help, kind: list,
		set: func(v any) error {
			items, err := asList(v)
			if err != nil {
				return err
			}
			var prefixes []netip.Prefix
			for _, s := range items {
				prefix, err := netip.ParsePrefix(s)
				if err != nil || prefix != prefix.Masked() {
					return fmt.Errorf("%q is not a network: expected CIDR such as 10.1.0.0/16 or 192.0.2.7/32", clip(s))
				}
				prefixes = append(prefixes, prefix)
			}
			*p = prefixes
			return nil
		},
		show: func() string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(*p), " ", ","), "[]") },
		check: func() error {
			for _, prefix := range *p {
				if !prefix.IsValid() || prefix.Bits() == 0 {
					return errors.New("expected networks narrower than the whole Internet: every client could forge its address")
				}
			}
			return nil
		}}
}

func witnessesField(key, help string, p *[]Witness) field {
	return field{key: key, help: help, kind: witnesses,
		set: func(v any) error {
			if s, ok := v.(string); ok { // from the environment or a flag
				var node yaml.Node
				problems := Problems{}
				if err := unmarshalOne([]byte(s), &node); err != nil {
					return errors.New("expected " + kinds[witnesses].expects)
				}
				v = walker{problems: &problems}.witnesses(key, &node)
				if len(problems) > 0 {
					return errors.New(problems[0].Detail)
				}
			}
			var found []Witness
			items, _ := v.([]any)
			for _, item := range items {
				m, _ := item.(map[string]any)
				url, _ := m["url"].(string)
				verifier, _ := m["key"].(string)
				found = append(found, Witness{URL: url, Key: verifier})
			}
			*p = found
			return nil
		},
		show: func() string {
			var urls []string
			for _, w := range *p {
				urls = append(urls, w.URL)
			}
			return strings.Join(urls, ",")
		},
		check: func() error { return validWitnesses(*p) }}
}
