package natsd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// waitingForCluster bounds what is published while the cluster is away, in
// bytes.
const waitingForCluster = 1 << 20

func (b *Bus) startClustered() error {
	local, err := checkURLs(b.config.URL)
	if err != nil {
		return fmt.Errorf("reading the message bus's address: %w", err)
	}
	options := append(b.options(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(waitingForCluster))
	if !local || b.config.CAFile != "" || b.config.CertFile != "" {
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	for _, file := range []string{b.config.CAFile, b.config.CertFile, b.config.KeyFile, b.config.CredsFile} {
		if file == "" {
			continue
		}
		// Looked at here because the client's own error names no file.
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("connecting to the message bus: %w", err)
		}
	}
	if b.config.CAFile != "" {
		options = append(options, nats.RootCAs(b.config.CAFile))
	}
	if (b.config.CertFile == "") != (b.config.KeyFile == "") {
		return errors.New("connecting to the message bus: a client certificate needs both its certificate file and its key file")
	}
	if b.config.CertFile != "" {
		options = append(options, nats.ClientCert(b.config.CertFile, b.config.KeyFile))
	}
	if b.config.CredsFile != "" {
		options = append(options, nats.UserCredentials(b.config.CredsFile))
	}
	b.conn, err = nats.Connect(b.config.URL, options...)
	if err != nil {
		return fmt.Errorf("connecting to the message bus at %s: %w", redactURLs(b.config.URL), err)
	}
	return nil
}

// checkURLs refuses addresses that would be misread, and says whether all of
// them are on this machine's loopback. All others get TLS whatever their scheme.
func checkURLs(list string) (local bool, err error) {
	if len(list) > 4096 {
		return false, errors.New("it is longer than 4096 bytes")
	}
	local = true
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			return false, errors.New("it is not a list of URLs such as tls://nats1.example:4222") // the inner error would repeat a password
		}
		if u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
			return false, fmt.Errorf("%q is not like tls://nats1.example:4222", u.Redacted())
		}
		ip := net.ParseIP(u.Hostname())
		local = local && u.Scheme == "nats" && (u.Hostname() == "localhost" || ip.IsLoopback())
	}
	return local, nil
}

// redactURLs hides passwords in addresses that checkURLs accepted.
func redactURLs(list string) string {
	var out []string
	for text := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(text)); err == nil {
			if u.User != nil {
				u.User = url.User("xxxxx") // a token stands where a name does
			}
			out = append(out, u.String())
		}
	}
	return strings.Join(out, ",")
}

// options are those of both forms.
func (b *Bus) options() []nats.Option {
	return []nats.Option{
		nats.Name(b.config.Name),
		nats.Timeout(b.config.ConnectTimeout),
		nats.DrainTimeout(24 * time.Hour), // Close's context decides
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.CustomReconnectDelay(func(int) time.Duration {
			return b.config.ReconnectWait/2 + rand.N(b.config.ReconnectWait) // so that nodes do not come back in step
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("message bus disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			b.log.Info("message bus reconnected", "server", c.ConnectedServerName())
			b.messagesMissed()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			b.log.Error("message bus error", "subject", subject, "error", err)
			if errors.Is(err, nats.ErrSlowConsumer) {
				b.messagesMissed()
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
}
