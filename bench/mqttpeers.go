package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// broker is one of those that are measured. Each measurement starts it anew, as a process of its own.
type broker interface {
	name() string
	version() string
	enforces() bool // a policy by certificate: checked before anything is measured
	// start returns when it accepts connections, for one part of the measurement.
	start(ctx context.Context, part string) (*listening, error)
}

// listening is a broker at work, and what its clients need.
type listening struct {
	*process
	address, roots, identities string // host:port and files
	api, token                 string // of Holdfast: address and file
}

// errNoBroker says that a broker is not there to be measured.
var errNoBroker = errors.New("it is not there")

// sensorID and collectorID name the clients: sensors publish their own data and hear news and their own commands,
// collectors hear the data of all sensors and publish news.
func sensorID(i int) string    { return fmt.Sprintf("s%06d", i) }
func collectorID(i int) string { return fmt.Sprintf("c%06d", i) }

// clientIDs are collectors first, then sensors.
func clientIDs(sensors int) (ids []string) {
	for i := range collectors {
		ids = append(ids, collectorID(i))
	}
	for i := range sensors {
		ids = append(ids, sensorID(i))
	}
	return ids
}

// mosquitto is Debian's, with a list of who may do what.
type mosquitto struct {
	*authority
	bin, said string
}

func newMosquitto(dir string, a *authority) (*mosquitto, error) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, fmt.Errorf("mosquitto: %w (Debian's package is called mosquitto)", errNoBroker)
		}
	}
	said, _ := exec.Command(bin, "-h").Output() // it exits with 3
	first, _, _ := strings.Cut(string(said), "\n")
	return &mosquitto{authority: a, bin: bin, said: strings.Replace(first, " version", "", 1)}, os.MkdirAll(filepath.Join(dir, "mosquitto"), 0o700)
}

// tuning gives mosquitto the better setting in each part. Where its defaults stay, each new connection waits 40 ms for the
// client's delayed acknowledgement of the session tickets, and messages are lost at QoS 1 when over 1,000 are queued; but
// at QoS 0 to one subscriber the default is ahead by half, for small segments of TCP are put together.
func (m *mosquitto) tuning(part string) string {
	return fmt.Sprintf("set_tcp_nodelay %t\nmax_inflight_messages 1000\nmax_queued_messages 0\n", part != "qos0-fanin")
}

func (m *mosquitto) name() string    { return "mosquitto" }
func (m *mosquitto) version() string { return m.said }
func (m *mosquitto) enforces() bool  { return true }

func (m *mosquitto) start(ctx context.Context, part string) (*listening, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	var acl strings.Builder
	for i := range collectors {
		fmt.Fprintf(&acl, "user %s\ntopic write news/#\ntopic read fleet/+/data\n\n", collectorID(i))
	}
	acl.WriteString("pattern write fleet/%u/data\npattern read fleet/%u/cmd/#\npattern read news/#\n")
	aclFile, config := filepath.Join(m.dir, "mosquitto.acl"), filepath.Join(m.dir, "mosquitto.conf")
	if err := os.WriteFile(aclFile, []byte(acl.String()), 0o600); err != nil {
		return nil, err
	}
	// As root it would become a user who cannot read the keys of this run.
	text := fmt.Sprintf("user root\npersistence false\nlog_dest stderr\nlistener %d 127.0.0.1\ncafile %s\ncertfile %s\nkeyfile %s\n"+
		"require_certificate true\nuse_identity_as_username true\nallow_anonymous false\nacl_file %s\n%s",
		port, m.roots(), filepath.Join(m.dir, "server.crt"), filepath.Join(m.dir, "server.key"), aclFile, m.tuning(part))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return m.await(ctx, port, m.bin, "-c", config)
}

// await starts a broker and waits until it accepts connections.
func (a *authority) await(ctx context.Context, port int, argv ...string) (*listening, error) {
	p, err := launch(filepath.Join(a.dir, filepath.Base(argv[0])+".log"), nil, argv...)
	if err != nil {
		return nil, err
	}
	l := &listening{process: p, address: fmt.Sprintf("127.0.0.1:%d", port), roots: a.roots(), identities: a.identities()}
	err = p.await(ctx, func() bool {
		conn, err := net.Dial("tcp", l.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return l, nil
}

// freePort finds a port for a server that takes no port 0.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// nats is the nats-server of this module's go.mod, with JetStream on disk, which its MQTT needs.
type nats struct {
	*authority
	bin, said string
}

func (b *bench) newNATS(ctx context.Context, a *authority) (*nats, error) {
	n := &nats{authority: a, bin: filepath.Join(b.dir, "nats-server"), said: "nats-server"}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", n.bin, "github.com/nats-io/nats-server/v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("nats-server: %w: building it: %v\n%s", errNoBroker, err, tail(out, 1000))
	}
	if info, err := buildinfo.ReadFile(n.bin); err == nil {
		n.said += " " + info.Main.Version + " (" + info.GoVersion + ")"
	}
	return n, nil
}

func (n *nats) name() string    { return "NATS" }
func (n *nats) version() string { return n.said }
func (n *nats) enforces() bool  { return false }

// start configures no more than it needs, but for consumers: its default lets 1,000 clients subscribe at QoS 1.
func (n *nats) start(ctx context.Context, _ string) (*listening, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	store, config := filepath.Join(n.dir, "jetstream"), filepath.Join(n.dir, "nats.conf")
	if err := os.RemoveAll(store); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("server_name: bench\nlisten: \"127.0.0.1:-1\"\njetstream {store_dir: %q, limits {default_max_consumers: 1000000}}\nmqtt {\n  listen: \"127.0.0.1:%d\"\n"+
		"  tls {cert_file: %q, key_file: %q, ca_file: %q, verify: true, timeout: 20}\n}\n",
		store, port, filepath.Join(n.dir, "server.crt"), filepath.Join(n.dir, "server.key"), n.roots())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return n.await(ctx, port, n.bin, "-c", config)
}
