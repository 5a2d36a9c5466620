package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MQTT bounds what MQTT clients may ask for and says what is kept for them.
// What a policy grants a device can be less, never more. Sizes are written
// 64KiB, 1MiB or 8GiB, or as a number of bytes.
type MQTT struct {
	// KeepAlive [mqtt.keep_alive] is the longest keep-alive of a client, 10s to
	// 18h: who is silent for one and a half times its keep-alive is disconnected. A
	// client of MQTT 5 that asks for more, or for none, is told this one
	// (MQTT 5 section 3.2.2.3.14); one of 3.1.1 cannot be told, and keeps what it
	// asked for. Default 20m.
	KeepAlive time.Duration
	// ConnectTimeout [mqtt.connect_timeout] is how long a new connection may take
	// until its CONNECT packet is there, 1s to 5m. Default 10s.
	ConnectTimeout time.Duration
	// WriteTimeout [mqtt.write_timeout] is how long a client may take to accept
	// bytes sent to it before it is disconnected, 1s to 10m. Default 20s.
	WriteTimeout time.Duration
	// MaxPacket [mqtt.max_packet] is the largest packet that a client may send,
	// 1KiB to 256MiB. With nats.url the cluster's max_payload must leave room for
	// it and some KiB more: what the cluster does not take is refused. Default 1MiB.
	MaxPacket int
	// ReceiveMaximum [mqtt.receive_maximum] is how many messages at QoS 1 and 2 a
	// client may have sent without their acknowledgement (MQTT 5 section 3.2.2.3.3),
	// 1 to 65535. Default 64.
	ReceiveMaximum int
	// TopicAliases [mqtt.topic_aliases] is how many topic aliases a client may use,
	// and at most how many are used towards it, 0 to 65535. Each costs memory on
	// both sides. Default 16.
	TopicAliases int
	// SessionExpiry [mqtt.session_expiry] is the longest time that a session is
	// kept without a connection, 1m to 8760h (365 days); who asks for more gets
	// this. A session of MQTT 3.1.1 without clean session gets it too. Default 168h.
	SessionExpiry time.Duration
	// Inflight [mqtt.inflight] is how many messages at QoS 1 and 2 are under way to
	// one client at a time, 1 to 65535; a client may ask for fewer. Default 64.
	Inflight int
	// QueueMessages [mqtt.queue_messages] and QueueBytes [mqtt.queue_bytes] are how
	// much waits in memory for one connected client, 1 to 1000000 messages and 1KiB
	// to 1GiB. Beyond, a client that is too slow loses messages at QoS 0, and those
	// at QoS 1 and 2 are read from the log when it takes them. Defaults 1024 and 1MiB.
	QueueMessages, QueueBytes int
	// Subscriptions [mqtt.subscriptions] is how many subscriptions one session may
	// have, 1 to 100000. Default 100.
	Subscriptions int
	// Connections [mqtt.connections] is how many MQTT connections this node takes, 1
	// to 10000000. The limit of open files (ulimit -n) must allow them. Default 1000000.
	Connections int
	// Refused311 [mqtt.refused_publish_311] is the answer to a message at QoS 1 or 2
	// that policy refuses and MQTT 3.1.1 has no word for. disconnect: the connection
	// ends, so that the client notices; many reconnect and send the same again. drop:
	// the message is acknowledged and goes nowhere, so that the client believes it
	// was delivered. Refusals are counted and reported either way; MQTT 5 always has
	// its reason code. Default disconnect.
	Refused311 string
	// Sync [mqtt.sync] is when the embedded message store calls fsync. always: each
	// stored message, before it is acknowledged, so that a power cut loses nothing
	// acknowledged; much slower. interval: every 2 s, so that a power cut can lose
	// the last of it. A crash of the process loses nothing either way. With nats.url
	// the servers of the cluster decide (sync_interval in their configuration), and
	// always is refused here. Default interval.
	Sync string
	// Retention [mqtt.retention] is how long messages at QoS 1 and 2 are kept, 10m to
	// 87600h (10 years), at least session_expiry: it is the promise to sessions that
	// are offline. Default 168h.
	Retention time.Duration
	// RetentionBytes [mqtt.retention_bytes] bounds the same log in bytes on disk,
	// 512MiB to 1PiB, for all servers together. When it is full the oldest messages
	// go, even before retention is over: make it large enough for the traffic of
	// that time. Default 8GiB.
	RetentionBytes int64
	// Replicas [mqtt.replicas] is how many servers of the NATS cluster keep each
	// message, 1 to 5, no more than the cluster has. With 3 any one may be lost, with
	// 1 none. Default 3 when nats.url is set; the embedded store keeps 1.
	Replicas int
	// Origins [mqtt.origins] are the web origins whose pages may open WebSockets,
	// beside the server's own: https://HOST or https://HOST:PORT as browsers send
	// it, in lower case and without :443. At most 64. Default none.
	Origins []string
	// ConnectRate [mqtt.connect_rate] is how many new connections per second one
	// source address may make, 0.01 to 100000. Many devices behind one NAT are one
	// source, and so is an IPv6 /64. Default 100.
	ConnectRate float64
	// ConnectBurst [mqtt.connect_burst] is how many of them may come at once, 1 to
	// 100000. Default 500.
	ConnectBurst int
	// FlapConnects [mqtt.flap_connects] is how many connections one client id may
	// make within a minute before it has to wait, 2 to 100000. Default 30.
	FlapConnects int
	// AuthFailures [mqtt.auth_failures] is how many failed authentications per minute
	// one source may have before it has to wait, 1 to 100000. Default 20.
	AuthFailures int
}

func defaultMQTT() MQTT {
	return MQTT{
		KeepAlive: 20 * time.Minute, ConnectTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second,
		MaxPacket: mib, ReceiveMaximum: 64, TopicAliases: 16, SessionExpiry: 7 * day,
		Inflight: 64, QueueMessages: 1024, QueueBytes: mib, Subscriptions: 100, Connections: 1_000_000,
		Refused311: "disconnect", Sync: "interval", Retention: 7 * day, RetentionBytes: 8 * gib,
		ConnectRate: 100, ConnectBurst: 500, FlapConnects: 30, AuthFailures: 20,
	}
}

func mqttFields(m *MQTT) []field {
	return []field{
		durationField("mqtt.keep_alive", "longest keep-alive of a client", &m.KeepAlive, 10*time.Second, 18*time.Hour),
		durationField("mqtt.connect_timeout", "from a new connection to its CONNECT", &m.ConnectTimeout, time.Second, 5*time.Minute),
		durationField("mqtt.write_timeout", "for a client to accept bytes", &m.WriteTimeout, time.Second, 10*time.Minute),
		sizeField("mqtt.max_packet", "largest packet a client may send", &m.MaxPacket, kib, 256*mib),
		numberField("mqtt.receive_maximum", "unacknowledged messages from one client", integer, &m.ReceiveMaximum, 1, 65535, strconv.Atoi),
		numberField("mqtt.topic_aliases", "topic aliases of one client, each way", integer, &m.TopicAliases, 0, 65535, strconv.Atoi),
		durationField("mqtt.session_expiry", "longest time a session is kept without a connection", &m.SessionExpiry, time.Minute, year),
		numberField("mqtt.inflight", "unacknowledged messages to one client", integer, &m.Inflight, 1, 65535, strconv.Atoi),
		numberField("mqtt.queue_messages", "messages that wait in memory for one client", integer, &m.QueueMessages, 1, 1_000_000, strconv.Atoi),
		sizeField("mqtt.queue_bytes", "bytes that wait in memory for one client", &m.QueueBytes, kib, gib),
		numberField("mqtt.subscriptions", "subscriptions of one session", integer, &m.Subscriptions, 1, 100_000, strconv.Atoi),
		numberField("mqtt.connections", "MQTT connections of this node", integer, &m.Connections, 1, 10_000_000, strconv.Atoi),
		textField("mqtt.refused_publish_311", "answer to a refused message of MQTT 3.1.1: disconnect, or drop (acknowledge and discard)", &m.Refused311, oneOf("disconnect", "drop")),
		textField("mqtt.sync", "fsync of the embedded message store: interval (every 2 s) or always (before each acknowledgement)", &m.Sync, oneOf("interval", "always")),
		durationField("mqtt.retention", "how long messages are kept for offline sessions; at least mqtt.session_expiry", &m.Retention, 10*time.Minute, 10*year),
		sizeField("mqtt.retention_bytes", "bytes on disk of the messages kept", &m.RetentionBytes, 512*mib, 1<<50),
		derived(numberField("mqtt.replicas", "NATS servers that keep each message (default: 3 with nats.url, else 1)", integer, &m.Replicas, 1, 5, strconv.Atoi)),
		listField("mqtt.origins", "web origins that may open WebSockets, beside the server's own", &m.Origins, validOrigin),
		numberField("mqtt.connect_rate", "new MQTT connections per second from one source", float, &m.ConnectRate, 0.01, 100_000, parseFloat),
		numberField("mqtt.connect_burst", "new MQTT connections at once from one source", integer, &m.ConnectBurst, 1, 100_000, strconv.Atoi),
		numberField("mqtt.flap_connects", "connections of one client id within a minute before it has to wait", integer, &m.FlapConnects, 2, 100_000, strconv.Atoi),
		numberField("mqtt.auth_failures", "failed authentications of one source within a minute before it has to wait", integer, &m.AuthFailures, 1, 100_000, strconv.Atoi),
	}
}

// derived is a number whose zero follows from other fields: Complete fills it.
func derived(f field) field {
	set, show, check := f.set, f.show, f.check
	f.set = func(v any) error {
		if err := set(v); err != nil {
			return err
		}
		return check()
	}
	f.show = func() string {
		if s := show(); s != "0" {
			return s
		}
		return ""
	}
	f.check = func() error {
		if f.show() == "" {
			return nil
		}
		return check()
	}
	return f
}

// validOrigin accepts an origin in the one form in which browsers send it
// (RFC 6454 section 6.2): another form would never match.
func validOrigin(s string) error {
	bad := errors.New("expected origins such as https://console.example.com or https://console.example.com:8443, in lower case, without :443 and a slash at the end")
	host, ok := strings.CutPrefix(s, "https://")
	u, err := url.Parse(s)
	if !ok || err != nil || u.Host != host || strings.ToLower(s) != s || validHostname(u.Hostname()) != nil || strings.HasPrefix(host, "*") {
		return bad
	}
	if _, port, err := net.SplitHostPort(host); err == nil && (portOf(host) < 1 || port == "443" || port[0] == '0') {
		return bad
	}
	if host[len(host)-1] == ':' {
		return bad
	}
	return nil
}
