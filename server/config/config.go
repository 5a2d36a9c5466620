// Package config is the server's configuration: one struct whose field
// comments are the manual, read from defaults, a YAML file, the environment and
// flags, later ones winning.
//
// It promises that a Config that Load returned is whole and passed Validate,
// that an unknown or doubled key, a wrong type or a bad value is refused naming
// the place and what is expected, and that printing or logging a Config shows
// no secret. It reads one file of at most 1 MiB and opens nothing else: whether
// a folder or an address works is for its user to find out.
//
// It trusts whoever can write the file, the environment or the command line:
// they decide where keys are kept, which witnesses count and who may connect.
package config

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Config is the configuration of one server. The words in brackets are the
// field's key in the file; in the environment listen.api is HOLDFAST_LISTEN_API,
// on the command line it is --listen-api (and nats.url is --nats).
type Config struct {
	// Data [data] is the folder for everything that this server keeps: database,
	// messages, keys, run/ready.json. Created with mode 0700 when missing.
	// Default /var/lib/holdfast.
	Data string
	// TrustDomain [trust_domain] is the SPIFFE trust domain that every identity
	// starts with, a lower-case DNS name of at most 253 characters. It is part of
	// each certificate: it cannot be changed later. Default holdfast.local.
	TrustDomain string
	// Node [node] names this server among those that share a database. Default:
	// the host name.
	Node string
	// Hostnames [hostnames] are further DNS names and IP addresses in the
	// server's own certificate, beside localhost, the host name and the addresses
	// listened on. At most 64.
	Hostnames []string
	// Listen [listen] says where to listen.
	Listen Listen
	// PKIURL [pki_url] is the base of the http URLs written into certificates
	// (issuers' certificates, OCSP and CRL): devices must reach it, and it cannot
	// be changed in certificates already issued. Default: http:// and the address
	// of listen.pki; empty after Load only when that port is 0.
	PKIURL string
	// Database [database] is empty for SQLite in the data folder, or a URL of
	// PostgreSQL: postgres://user:password@host:5432/name?sslmode=verify-full.
	// Give a URL with a password in the environment (HOLDFAST_DATABASE) or in a
	// file of mode 0600: other users can see a process's flags.
	Database Secret
	// NATS [nats] says where messages and control events go.
	NATS NATS
	// Keys [keys] is where private keys live: file:DIR, tpm:DEVICE?keys=DIR or
	// signer:SOCKET. Default file: and the folder keys in the data folder.
	Keys string
	// KeyEncryptionFile [key_encryption_file] holds the key that seals key files.
	// It is used, and created at first start, only when neither the environment
	// variable HOLDFAST_KEY nor the systemd credential holdfast-key is given.
	// Default: secret.key in the data folder.
	KeyEncryptionFile string
	// CA [ca] shapes new authorities; those that exist stay as they are.
	CA CA
	// CRL [crl] times the certificate revocation lists.
	CRL CRL
	// OCSP [ocsp] times the answers of the OCSP responder.
	OCSP OCSP
	// Enrolment [enrolment] bounds what sources and devices may ask.
	Enrolment Enrolment
	// MQTT [mqtt] bounds MQTT clients and says what is kept for them.
	MQTT MQTT
	// Access [access] bounds how people and programs use the console and the API.
	Access Access
	// TrustedProxies [trusted_proxies] are networks (CIDR) whose X-Forwarded-For
	// header is believed for the source address in rate limits and audit. At most
	// 64. Default: none, the header is ignored.
	TrustedProxies []netip.Prefix
	// Audit [audit] says who else sees the audit log.
	Audit Audit
	// Log [log] shapes the server's own log on standard error.
	Log Log
	// Demo [demo] adds a simulated fleet with real protocol traffic. Not for
	// servers that have real devices. Default false.
	Demo bool
}

// Listen holds the addresses, each HOST:PORT. Port 0 lets the system choose;
// run/ready.json in the data folder says what it chose.
type Listen struct {
	// API [listen.api] serves the admin API and the console over TLS. Default 127.0.0.1:8443.
	API string
	// Device [listen.device] serves EST (RFC 7030) to devices over TLS. Default 127.0.0.1:8444.
	Device string
	// MQTTS [listen.mqtts] serves MQTT 5 and 3.1.1 over mutual TLS. Default 127.0.0.1:8883.
	MQTTS string
	// WSS [listen.wss] serves MQTT over WebSocket over TLS, path /mqtt (MQTT 5
	// section 6). Default 127.0.0.1:8884.
	WSS string
	// PKI [listen.pki] serves OCSP, CRLs and CA certificates over plain HTTP, as
	// RFC 5280 section 4.2.1.13 wants: what it serves is signed. Default 127.0.0.1:8080.
	PKI string
	// Metrics [listen.metrics] serves Prometheus metrics, /healthz and /readyz
	// over plain HTTP. It shows no secret and asks for none. Default 127.0.0.1:9100.
	Metrics string
}

// NATS is the message bus.
type NATS struct {
	// URL [nats.url] is empty for the embedded server, or the cluster's URLs with
	// commas between them: tls://nats1.example:4222,tls://nats2.example:4222.
	// User names and passwords do not go here: use credentials.
	URL string
	// Credentials [nats.credentials] is a file with the NATS user's JWT and seed.
	Credentials string
	// CA [nats.ca] is a PEM file with the authorities of the cluster's
	// certificates. Default: the system's.
	CA string
}

// CA shapes new authorities.
type CA struct {
	// Name [ca.name] is the common name of a new root, 1 to 48 characters of
	// printable ASCII. Default Holdfast.
	Name string
	// Algorithm [ca.algorithm] of new authorities' keys: P-256, P-384 or Ed25519.
	// Default P-256, which every device can verify.
	Algorithm string
	// RootValidity [ca.root_validity] of a new root: 8760h to 350400h (1 to 40
	// years). Default 175200h (20 years).
	RootValidity time.Duration
	// IssuingValidity [ca.issuing_validity] of a new issuing authority: 24h to
	// 175200h, at most the root's. Default 43800h (5 years).
	IssuingValidity time.Duration
}

// CRL times the revocation lists (RFC 5280 section 5).
type CRL struct {
	// Lifetime [crl.lifetime] is how long a list may be believed (nextUpdate): 10m
	// to 720h. Default 24h.
	Lifetime time.Duration
	// Refresh [crl.refresh] is how often a new list is made when nothing was
	// revoked; a revocation makes one at once. 1m to half the lifetime. Default 6h.
	Refresh time.Duration
}

// OCSP times the responder (RFC 6960).
type OCSP struct {
	// Lifetime [ocsp.lifetime] is how long an answer may be believed (nextUpdate):
	// 10m to 168h. Default 12h.
	Lifetime time.Duration
}

// Enrolment bounds enrolment.
type Enrolment struct {
	// Rate [enrolment.rate] is how many enrolment requests per second one source
	// address may make, 0.01 to 100000. Default 10.
	Rate float64
	// Burst [enrolment.burst] is how many of them may come at once, 1 to 100000.
	// Default 50.
	Burst int
	// MaxCertificates [enrolment.max_certificates] is how many certificates of
	// one device may be alive at a time, 1 to 1000. Default 8.
	MaxCertificates int
}

// Audit says who else sees the log.
type Audit struct {
	// Witnesses [audit.witnesses] cosign checkpoints (C2SP tlog-witness). Each has
	// url, its base address, and key, its verifier key (NAME+HASH+KEY). At most
	// 16. In the environment and in flags: [{url: "https://…", key: "…"}].
	Witnesses []Witness
	// Quorum [audit.quorum] is how many witnesses must have cosigned a checkpoint
	// before it is published, 0 to the number of witnesses. Default 0.
	Quorum int
	// Syslog [audit.syslog] sends every event to a collector.
	Syslog Syslog
}

// Witness is one cosigner.
type Witness struct{ URL, Key string }

// Syslog is a collector of RFC 5424 messages over TLS (RFC 5425).
type Syslog struct {
	// Address [audit.syslog.address] is HOST:PORT of the collector. Empty: none.
	Address string
	// CA [audit.syslog.ca] is a PEM file with the authorities of its certificate.
	// Default: the system's.
	CA string
	// ClientCert [audit.syslog.client_cert] and ClientKey [audit.syslog.client_key]
	// are PEM files that authenticate this server to it. Both or none.
	ClientCert, ClientKey string
}

// Log shapes the server's own log.
type Log struct {
	// Level [log.level] is the least that is logged: debug, info, warn or error.
	// Default info.
	Level slog.Level
	// Format [log.format] is text or json. Default text.
	Format string
}

// Default returns the configuration of a server that was told nothing. Fields
// that follow from others (node, keys, key_encryption_file, pki_url,
// mqtt.replicas) are empty.
func Default() Config {
	return Config{
		Data:        "/var/lib/holdfast",
		TrustDomain: "holdfast.local",
		Listen: Listen{API: "127.0.0.1:8443", Device: "127.0.0.1:8444", MQTTS: "127.0.0.1:8883", WSS: "127.0.0.1:8884",
			PKI: "127.0.0.1:8080", Metrics: "127.0.0.1:9100"},
		CA:        CA{Name: "Holdfast", Algorithm: "P-256", RootValidity: 20 * year, IssuingValidity: 5 * year},
		CRL:       CRL{Lifetime: day, Refresh: 6 * time.Hour},
		OCSP:      OCSP{Lifetime: 12 * time.Hour},
		Enrolment: Enrolment{Rate: 10, Burst: 50, MaxCertificates: 8},
		MQTT:      defaultMQTT(),
		Access:    defaultAccess(),
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
	}
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// Complete fills the empty fields that follow from others, and makes the data
// folder's path absolute. Load has done it;
// who starts from Default does it after the last change.
func (c Config) Complete() Config {
	// run/ready.json names files to programs that run in other folders.
	if data, err := filepath.Abs(c.Data); err == nil && c.Data != "" {
		c.Data = data
	}
	if c.Node == "" {
		c.Node = "localhost"
		if host, err := os.Hostname(); err == nil && validNode(host) == nil {
			c.Node = host
		}
	}
	if c.Keys == "" {
		c.Keys = "file:" + filepath.Join(c.Data, "keys")
	}
	if c.KeyEncryptionFile == "" {
		c.KeyEncryptionFile = filepath.Join(c.Data, "secret.key")
	}
	if c.PKIURL == "" && portOf(c.Listen.PKI) != 0 {
		c.PKIURL = "http://" + c.Listen.PKI
	}
	if c.MQTT.Replicas == 0 {
		c.MQTT.Replicas = 1
		if c.NATS.URL != "" {
			c.MQTT.Replicas = 3
		}
	}
	return c
}
