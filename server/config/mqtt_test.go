package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestMQTT(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := `nats: {url: 'tls://n.example:4222'}
listen: {mqtts: ':1883', wss: '127.0.0.1:0'}
mqtt:
  keep_alive: 1h
  max_packet: 65536
  queue_bytes: 3KiB
  session_expiry: 1d
  retention: 2d12h
  origins: [https://a.example]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--mqtt-retention-bytes=2TiB", "--mqtt-refused-publish-311=drop", "--mqtt-origins", "https://b.example,https://c.example:8443"}); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{"HOLDFAST_MQTT_MAX_PACKET=256MiB", "HOLDFAST_MQTT_CONNECT_RATE=0.5", "HOLDFAST_MQTT_REFUSED_PUBLISH_311=disconnect"}, flags)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.NATS.URL, want.Listen.MQTTS, want.Listen.WSS = "tls://n.example:4222", ":1883", "127.0.0.1:0"
	m := &want.MQTT
	m.KeepAlive, m.SessionExpiry, m.Retention = time.Hour, day, 60*time.Hour
	m.MaxPacket, m.QueueBytes, m.RetentionBytes = 256<<20, 3<<10, 2<<40
	m.Origins, m.ConnectRate, m.Refused311, m.Replicas = []string{"https://b.example", "https://c.example:8443"}, 0.5, "drop", 3
	if want = want.Complete(); !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%v\nwant\n%v", c, want)
	}
}

func TestReplicasFollowTheBus(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{"", 1},
		{"mqtt: {replicas: 1}", 1},
		{"nats: {url: 'tls://n:1'}", 3},
		{"nats: {url: 'tls://n:1'}\nmqtt: {replicas: 1}", 1},
		{"nats: {url: 'tls://n:1'}\nmqtt: {replicas: 5}", 5},
	} {
		if got, err := load("c.yaml", []byte(c.text), nil, nil); err != nil || got.MQTT.Replicas != c.want {
			t.Errorf("%q gave %d replicas, %v; want %d", c.text, got.MQTT.Replicas, err, c.want)
		}
	}
}

func TestMQTTRefusals(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"mqtt: {keepalive: 20m}", "c.yaml:1:8: mqtt.keepalive: unknown key (did you mean mqtt.keep_alive?)"},
		{"mqttt: {sync: always}", "c.yaml:1:1: mqttt: unknown key (did you mean mqtt?)"},
		{"max_packet: 1MiB", "c.yaml:1:1: max_packet: unknown key (did you mean mqtt.max_packet?)"},
		{"listen: {mqtt: ':1'}", "c.yaml:1:10: listen.mqtt: unknown key (did you mean listen.mqtts?)"},
		{"listen: {wss: ':8883', mqtts: ':8883'}", "c.yaml:1:15: listen.wss: another listener has the same address"},
		{"listen: {pki: '127.0.0.1:8883'}", "listen.pki: another listener has the same address"},
		{"listen: {wss: 'wss://127.0.0.1:8884'}", "c.yaml:1:15: listen.wss: expected HOST:PORT"},
		{"mqtt: {max_packet: 1MB}", `c.yaml:1:20: mqtt.max_packet: expected a size such as 64KiB, 1MiB or 8GiB, or a number of bytes, found "1MB"`},
		{"mqtt: {max_packet: 1.5}", `c.yaml:1:20: mqtt.max_packet: expected a size such as 64KiB, 1MiB or 8GiB, or a number of bytes, found 1.5`},
		{"mqtt: {max_packet: [1MiB]}", `c.yaml:1:20: mqtt.max_packet: expected a size such as 64KiB, 1MiB or 8GiB, or a number of bytes, found a list`},
		{"mqtt: {max_packet: -1}", `mqtt.max_packet: expected a size`},
		{"mqtt: {retention: 24h}", "c.yaml:1:19: mqtt.retention: it is shorter than mqtt.session_expiry: a client that comes back in time would find its session without the messages promised to it (lengthen it, or shorten mqtt.session_expiry)"},
		{"mqtt: {session_expiry: 169h}", "mqtt.retention: it is shorter than mqtt.session_expiry"},
		{"mqtt: {replicas: 3}", "c.yaml:1:18: mqtt.replicas: the embedded message store keeps one copy (give the cluster's URL in nats.url, or remove it)"},
		{"mqtt: {sync: always}\nnats: {url: 'tls://n:1'}", "c.yaml:1:14: mqtt.sync: it is for the embedded message store"},
		{"mqtt: {sync: never}", `c.yaml:1:14: mqtt.sync: expected interval or always, found "never"`},
		{"mqtt: {refused_publish_311: ignore}", `c.yaml:1:29: mqtt.refused_publish_311: expected disconnect or drop, found "ignore"`},
		{"mqtt: {origins: https://a.example}", `c.yaml:1:17: mqtt.origins: expected a list of texts such as [a, b], found the text "https://a.example"`},
		{"mqtt: {origins: ['http://a.example']}", "c.yaml:1:17: mqtt.origins: expected origins such as https://console.example.com"},
	} {
		_, err := load("c.yaml", []byte(c.text), nil, nil)
		var ps Problems
		if !errors.As(err, &ps) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
	// A configuration made in code meets the same rules.
	c := Default()
	c.MQTT.Retention = time.Hour
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "mqtt.retention: it is shorter than") {
		t.Errorf("a short retention gave %v", err)
	}
}

// TestMQTTRanges tries the ends of every range, and what lies just beyond.
func TestMQTTRanges(t *testing.T) {
	for _, c := range []struct{ key, least, most, below, above, expected string }{
		{"keep_alive", "10s", "18h", "9s", "18h1s", "10s to 18h"},
		{"connect_timeout", "1s", "5m", "999ms", "5m1s", "1s to 5m"},
		{"write_timeout", "1s", "10m", "999ms", "10m1s", "1s to 10m"},
		{"max_packet", "1024", "256MiB", "1023", "268435457", "1KiB to 256MiB"},
		{"receive_maximum", "1", "65535", "0", "65536", "1 to 65535"},
		{"topic_aliases", "0", "65535", "-1", "65536", "0 to 65535"},
		{"session_expiry", "1m", "365d", "59s", "366d", "1m to 8760h"},
		{"inflight", "1", "65535", "0", "65536", "1 to 65535"},
		{"queue_messages", "1", "1000000", "0", "1000001", "1 to 1000000"},
		{"queue_bytes", "1KiB", "1GiB", "0", "8PiB", "1KiB to 1GiB"},
		{"subscriptions", "1", "100000", "0", "100001", "1 to 100000"},
		{"connections", "1", "10000000", "0", "10000001", "1 to 10000000"},
		{"retention", "10m", "3650d", "9m", "3651d", "10m to 87600h"},
		{"retention_bytes", "512MiB", "1PiB", "511MiB", "1025TiB", "512MiB to 1PiB"},
		{"replicas", "1", "5", "0", "6", "1 to 5"},
		{"connect_rate", "0.01", "100000", "0.001", ".nan", "0.01 to 100000"},
		{"connect_burst", "1", "100000", "0", "100001", "1 to 100000"},
		{"flap_connects", "2", "100000", "1", "100001", "2 to 100000"},
		{"auth_failures", "1", "100000", "0", "100001", "1 to 100000"},
	} {
		rest := "nats: {url: 'tls://n:1'}\n"
		switch c.key {
		case "session_expiry":
			rest += "mqtt:\n  retention: 365d\n"
		case "retention":
			rest += "mqtt:\n  session_expiry: 1m\n"
		default:
			rest += "mqtt:\n"
		}
		for _, value := range []string{c.least, c.most} {
			if _, err := load("c.yaml", []byte(rest+"  "+c.key+": "+value), nil, nil); err != nil {
				t.Errorf("%s: %s: %v", c.key, value, err)
			}
		}
		for _, value := range []string{c.below, c.above} {
			_, err := load("c.yaml", []byte(rest+"  "+c.key+": "+value), nil, nil)
			if want := "mqtt." + c.key + ": expected " + c.expected; value != ".nan" && (err == nil || !strings.Contains(err.Error(), want)) || err == nil {
				t.Errorf("%s: %s gave %v, want %s", c.key, value, err, want)
			}
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, s := range []string{"https://a.example", "https://a.example:8443", "https://localhost", "https://192.0.2.7:1", "https://[2001:db8::1]", "https://[::1]:8443"} {
		if err := validOrigin(s); err != nil {
			t.Errorf("%q gave %v", s, err)
		}
	}
	for _, s := range []string{"", "*", "null", "https://", "https:", "a.example", "http://a.example", "wss://a.example", "https://a.example/", "https://a.example/x",
		"https://A.example", "HTTPS://a.example", "https://a.example:443", "https://[::1]:443", "https://a.example:", "https://[::1]:", "https://a.example:0", "https://a.example:08443",
		"https://a.example:65536", "https://a.example:x", "https://u@a.example", "https://a.example?x", "https://a.example#x", "https://*.a.example", "https://a_b.example", "https://::1", "https://[::1", "https://é.example"} {
		if validOrigin(s) == nil {
			t.Errorf("%q passed", s)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1": 1, "1023": 1023, "64KiB": 64 << 10, "1MiB": 1 << 20, "8GiB": 8 << 30, "3TiB": 3 << 40, "7PiB": 7 << 50, "1536KiB": 1536 << 10} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("ParseSize(%q) = %d, %v", text, n, err)
		}
		if n, err := ParseSize(FormatSize(want)); err != nil || n != want {
			t.Errorf("ParseSize(FormatSize(%d)) = %d, %v", want, n, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "+1", "1.5GiB", "1 MiB", "1mib", "1MB", "1M", "1B", "0x10", "1_000", "8192PiB", "9223372036854775808", "1KiBKiB"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, n)
		}
	}
	for n, want := range map[int64]string{0: "0", 1: "1", 1000: "1000", 1 << 10: "1KiB", 1536 << 10: "1536KiB", 1 << 20: "1MiB", 1 << 30: "1GiB", math.MaxInt64: "9223372036854775807"} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestManualNamesEveryKey looks for each key in brackets in the field comments.
func TestManualNamesEveryKey(t *testing.T) {
	var manual strings.Builder
	for _, file := range []string{"config.go", "mqtt.go", "access.go", "notify.go"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		manual.Write(data)
	}
	c := Default()
	for _, f := range fieldsOf(&c) {
		if !strings.Contains(manual.String(), "["+f.key+"]") {
			t.Errorf("no field comment names [%s]", f.key)
		}
	}
}
