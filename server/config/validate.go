package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/pki"
)

// Validate checks every field and how they go together. The error is of type
// Problems.
func (c Config) Validate() error {
	var ps Problems
	checkFields(fieldsOf(&c), nil, nil, &ps)
	checkTogether(&c, nil, &ps)
	return ps.err()
}

// checkFields checks the fields that are not in skip, one by one.
func checkFields(fields []field, skip map[string]bool, origins map[string]string, ps *Problems) {
	for _, f := range fields {
		if skip[f.key] {
			continue
		}
		if err := f.check(); err != nil {
			ps.add(origins[f.key], f.key, "", "%s", f.explain(f.show(), err))
		}
	}
}

// checkTogether checks how fields go together.
func checkTogether(c *Config, origins map[string]string, ps *Problems) {
	refuse := func(bad bool, key, fix, detail string) {
		if bad {
			ps.add(origins[key], key, fix, "%s", detail)
		}
	}
	refuse(c.CA.IssuingValidity > c.CA.RootValidity, "ca.issuing_validity", "shorten it, or lengthen ca.root_validity", "the issuing authority would outlive the root")
	refuse(c.CRL.Refresh > c.CRL.Lifetime/2, "crl.refresh", "use at most half of crl.lifetime", "one missed refresh would let the list expire")
	refuse(c.Audit.Quorum > len(c.Audit.Witnesses), "audit.quorum", "add witnesses or lower it", "there are fewer witnesses than the quorum")
	refuse((c.Audit.Syslog.ClientCert == "") != (c.Audit.Syslog.ClientKey == ""), "audit.syslog.client_cert", "give both or none", "client_cert and client_key belong together")
	refuse(c.Audit.Syslog.Address == "" && c.Audit.Syslog.ClientCert+c.Audit.Syslog.CA != "", "audit.syslog.address", "give the collector's address, or remove the rest of the section", "the address is missing")
	refuse(c.NATS.URL == "" && c.NATS.Credentials+c.NATS.CA != "", "nats.url", "give the cluster's URL, or remove the rest of the section", "credentials and ca are for a cluster")
	refuse(c.MQTT.Retention < c.MQTT.SessionExpiry, "mqtt.retention", "lengthen it, or shorten mqtt.session_expiry", "it is shorter than mqtt.session_expiry: a client that comes back in time would find its session without the messages promised to it")
	refuse(c.MQTT.Replicas > 1 && c.NATS.URL == "", "mqtt.replicas", "give the cluster's URL in nats.url, or remove it", "the embedded message store keeps one copy")
	refuse(c.MQTT.Sync == "always" && c.NATS.URL != "", "mqtt.sync", "set sync_interval: always in the cluster's jetstream configuration, and remove it here", "it is for the embedded message store and would change nothing in the cluster of nats.url")
	listens := []string{c.Listen.API, c.Listen.Device, c.Listen.MQTTS, c.Listen.WSS, c.Listen.PKI, c.Listen.Metrics}
	for i, key := range []string{"listen.api", "listen.device", "listen.mqtts", "listen.wss", "listen.pki", "listen.metrics"} {
		refuse(portOf(listens[i]) != 0 && slices.Contains(listens[:i], listens[i]), key, "give each listener its own", "another listener has the same address")
	}
}

// ParseDuration is time.ParseDuration with whole days in front: 365d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("parsing the duration %q: write such as 90m, 24h or 365d", clip(s))
	}
	var d time.Duration
	if rest != "" {
		if d, err = time.ParseDuration(rest); err != nil || d < 0 || d >= day {
			return 0, fmt.Errorf("parsing the duration %q: write such as 90m, 24h or 365d", clip(s))
		}
	}
	return time.Duration(n)*day + d, nil
}

// FormatDuration writes d as ParseDuration reads it, without parts that are zero.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func optional(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return errors.New("expected " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1])
	}
}

func validPath(s string) error {
	if s == "" {
		return errors.New("expected a path")
	}
	return nil
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

func validNode(s string) error {
	if !nodeName.MatchString(s) {
		return errors.New("expected 1 to 64 of A-Z a-z 0-9 . _ - that do not start with a dot")
	}
	return nil
}

func validHostname(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if validDNSName(strings.TrimPrefix(s, "*.")) {
		return nil
	}
	return errors.New("expected DNS names and IP addresses")
}

// validDNSName follows RFC 1034 section 3.5 as relaxed by RFC 1123.
func validDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	return true
}

// portOf returns the port of HOST:PORT, or -1 when there is none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// validListen accepts HOST:PORT, with an empty host for every interface.
func validListen(s string) error {
	host, _, err := net.SplitHostPort(s)
	if err == nil && portOf(s) >= 0 && (host == "" || validHostname(host) == nil) {
		return nil
	}
	return errors.New("expected HOST:PORT such as 127.0.0.1:8443 or [::]:8443")
}

// validTarget accepts HOST:PORT to connect to.
func validTarget(s string) error {
	host, _, err := net.SplitHostPort(s)
	if err == nil && portOf(s) > 0 && validHostname(host) == nil {
		return nil
	}
	return errors.New("expected HOST:PORT such as siem.example:6514")
}

func validPKIURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(s, "/") || len(s) > 200 {
		return errors.New("expected a URL such as http://pki.example.com, with http (not https), without a slash at the end")
	}
	return nil
}

func validDatabase(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return errors.New("expected a URL such as postgres://user@host:5432/holdfast, or nothing for SQLite")
	}
	return nil
}

func validNATS(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(part)
		if err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Host == "" {
			return errors.New("expected URLs such as tls://nats.example:4222 with commas between them")
		}
		if u.User != nil {
			return errors.New("expected no user name or password in the URL: use nats.credentials")
		}
	}
	return nil
}

func validKeys(s string) error {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || !slices.Contains([]string{"file", "tpm", "signer"}, scheme) {
		return errors.New("expected file:DIR, tpm:DEVICE?keys=DIR or signer:SOCKET")
	}
	if path, _, _ := strings.Cut(rest, "?"); scheme != "file" && !filepath.IsAbs(path) {
		return errors.New("expected an absolute path after " + scheme + ":")
	}
	return nil
}

func validCAName(s string) error {
	if s == "" || len(s) > 48 || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return errors.New("expected 1 to 48 characters of printable ASCII")
	}
	return nil
}

func validTrustDomain(s string) error {
	if pki.ValidTrustDomain(s) != nil {
		return errors.New("expected a lower-case DNS name")
	}
	return nil
}

const maxWitnesses = 16

func validWitnesses(ws []Witness) error {
	if len(ws) > maxWitnesses {
		return fmt.Errorf("expected at most %d witnesses", maxWitnesses)
	}
	names := map[string]bool{}
	for _, w := range ws {
		u, err := url.Parse(w.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return fmt.Errorf("expected an http or https URL for a witness, found %q", clip(w.URL))
		}
		key, err := audit.ParsePublicKey(w.Key)
		if err != nil || !key.Witness() {
			return fmt.Errorf("expected a witness's key of the form NAME+HASH+KEY, as `holdfast audit witness` prints it, found %q", clip(w.Key))
		}
		if names[key.Name()] {
			return fmt.Errorf("expected each witness once, found %q twice", clip(key.Name()))
		}
		names[key.Name()] = true
	}
	return nil
}
