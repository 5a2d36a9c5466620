package demo

import (
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
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
	fmt.Fprintf(&b, "  Keys and certificates: %s/DEVICE/{key.pem,cert.pem,ca.pem,issuer.pem}\n\n  Try:\n\n", dir)
	for _, line := range []string{
		"export HOLDFAST_DATA=" + data,
		"holdfast device list",
		"holdfast audit list",
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
