package demo

import (
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"
)

// teller prints the story. Safe for concurrent use.
type teller struct {
	mu  sync.Mutex
	out io.Writer // guarded by mu; nil: the log has it
	log *slog.Logger
}

func (t *teller) write(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A terminal that went away must not stop the fleet.
	_, _ = io.WriteString(t.out, text)
}

// title prints a line that starts or ends a part.
func (t *teller) title(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.out == nil {
		t.log.Info("demo", "step", text)
		return
	}
	t.write("\n" + text + "\n\n")
}

// line prints one step: who acted, and what came of it.
func (t *teller) line(who, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.out == nil {
		t.log.Info("demo", "by", who, "step", text)
		return
	}
	t.log.Debug("demo", "by", who, "step", text)
	t.write(fmt.Sprintf("  %-9s %s\n", who, text))
}

// detail prints what belongs to the step before.
func (t *teller) detail(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.out == nil {
		t.log.Info("demo", "of", name, "is", text)
		return
	}
	t.log.Debug("demo", "of", name, "is", text)
	t.write(fmt.Sprintf("              %-9s %s\n", name, strings.Join(wrap(text), "\n"+strings.Repeat(" ", 24))))
}

// The width of details: they are for people, and programs have the log.
const (
	wide     = 100 // characters in a line
	maxLines = 3
)

// wrap breaks a text between words into lines, and cuts what does not fit.
func wrap(text string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= wide:
			line += " " + word
		case len(lines) == maxLines-1:
			return append(lines, line+" …")
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// ending prints what to try next; it is for terminals only.
func (t *teller) ending(text string) {
	if t.out != nil {
		t.write(text)
	}
}

// hints says where everything is and what to try.
func (s *stage) hints() string {
	dir := quote(s.cfg.Dir)
	data := quote(filepath.Dir(s.cfg.Dir))
	var b strings.Builder
	if s.cfg.Console != "" {
		fmt.Fprintf(&b, "  The console:\n\n    %s\n\n", s.cfg.Console)
	}
	fmt.Fprintf(&b, "  Keys and certificates: %s/DEVICE/{key.pem,cert.pem,ca.pem,issuer.pem}\n\n  Try:\n\n", dir)
	for _, line := range []string{
		"export HOLDFAST_DATA=" + data,
		"holdfast device list",
		"holdfast audit list",
	} {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	if s.cfg.MQTTS != "" {
		b.WriteString(s.messageHints(dir))
	}
	b.WriteString("\n  A device's certificate, until it is revoked:\n\n")
	for _, line := range []string{
		"cd " + dir + "/pump-plant-1",
		"openssl x509 -in cert.pem -noout -subject -ext subjectAltName -dates",
		"openssl verify -CAfile ca.pem -untrusted issuer.pem cert.pem",
		"curl --cacert ca.pem --cert cert.pem --key key.pem " + s.cfg.DeviceAPI + "/.well-known/est/cacerts",
		`openssl ocsp -issuer issuer.pem -cert cert.pem -CAfile ca.pem -no_nonce -url "$(openssl x509 -in cert.pem -noout -ocsp_uri)"`,
		"holdfast device revoke pump-plant-1 --yes --reason 'trying it out'",
	} {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	b.WriteString("\n  Then run curl and openssl ocsp again.\n\n")
	return b.String()
}

// messageHints says how to look at messages and at what decides about them.
func (s *stage) messageHints(dir string) string {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s.cfg.MQTTS, "mqtts://"))
	if err != nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n  The messages, and what decides about them:\n\n")
	for _, line := range []string{
		"holdfast session list",
		"holdfast tap 'water/+/+/telemetry' --count 5",
		"holdfast policy explain --as app:scada --publish " + s.topicAt(doserID, "cmd/dose") + ` --payload '{"ml_per_min": 900}'`,
		"holdfast policy export",
		"cd " + dir + "/" + scadaName,
		"mosquitto_sub -V 5 -h " + host + " -p " + port + " --cafile ca.pem --cert cert.pem --key key.pem -i scada/me -t 'water/#' -v",
	} {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return b.String()
}

// quote makes a path fit for a shell.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short is enough of a serial number to tell it from others.
func short(serial *big.Int) string {
	text := serial.Text(16)
	return text[:min(len(text), 8)] + "…"
}
