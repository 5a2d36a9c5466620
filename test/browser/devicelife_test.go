package browser

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

const pumpPolicy = `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  publish: [{name: telemetry, topic: "plant/${device.id}/telemetry"}]
  subscribe: [{name: commands, topic: "plant/${device.id}/commands"}]
`

// freshFor is how long a factor counts as fresh in this test.
const freshFor = 8 * time.Second

// TestDeviceLife leads a device through its life by pages alone, with a device that
// does what the pages say: it enrols with the commands that are shown, waits, is let
// in, connects, is cut off, comes back, and ends. Each step is on the device's page,
// in its history and in the audit log.
func TestDeviceLife(t *testing.T) {
	tools := programs(t)
	s := upWith(t, false, func(c *config.Config) { c.Access.StepUp = freshFor })
	admin := s.admin(t)
	ctx := t.Context()
	for _, err := range []error{
		errOf(admin.CreateZone(ctx, "plant", adminapi.ZoneInput{})),
		errOf(admin.CreateType(ctx, "pump", device.Develop, adminapi.TypeInput{})),
		errOf(admin.CreateType(ctx, "valve", device.Develop, adminapi.TypeInput{})),
		errOf(admin.CreateDevice(ctx, "valve-1", adminapi.DeviceInput{Type: "valve", Zone: "plant"})),
		errOf(admin.ApplyPolicy(ctx, adminapi.PolicyApply{Files: []adminapi.PolicyFile{{Name: "pump.yaml", Text: pumpPolicy}}, Message: "pumps"})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	signedIn := time.Now()

	l := life{person: p, site: s, dir: t.TempDir(), path: tools}
	l.enrolWaiting()
	l.enrolWithShell()
	l.connect()
	l.quarantineAndRelease()
	for time.Since(signedIn) < freshFor { // meanwhile the passkey's proof grows old
		p.Go("/devices/pump-1")
		p.Ready()
	}
	l.revokeAndRetire()
	l.told()
	l.exports()
	p.clean("the life of a device")
}

// life is a device and the person who watches it.
type life struct {
	*person
	site *site
	dir  string // what the device has
	path string // of the programs that it runs
	conn net.Conn
}

// programs builds holdfast and gives the path to find it in.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "holdfast"), "../../cmd/holdfast")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building holdfast: %v\n%s", err, out)
	}
	return dir + string(filepath.ListSeparator) + os.Getenv("PATH")
}

// run runs a script as a device that has a shell does.
func (l *life) run(folder, script string) (string, error) {
	l.t.Helper()
	dir := filepath.Join(l.dir, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		l.t.Fatal(err)
	}
	c := exec.CommandContext(l.t.Context(), "sh", "-e")
	c.Dir, c.Stdin = dir, strings.NewReader(script)
	c.Env = []string{"PATH=" + l.path, "HOME=" + dir}
	out, err := c.CombinedOutput()
	return string(out), err
}

// token makes a token for a device by the form and returns the commands that are
// shown, with openssl and with holdfast.
func (l *life) token(id string, byHand bool) (openssl, holdfast string) {
	l.t.Helper()
	l.at("/devices/enrol")
	l.fill("token-type", "pump")
	l.fill("token-zone", "plant")
	l.fill("token-device_id", id)
	if byHand {
		uitest.Eval[bool](l.Browser, `(document.querySelector("#token [name=manual]").click(), true)`)
	}
	l.press("Make the token")
	l.wait("the token", `document.querySelector('[data-testid="token"]')`)
	l.reads("Shown once")
	l.wait("the QR code", `document.querySelector("svg.qr[role=img], .qr[aria-label]")?.checkVisibility()`)
	codes := `[...document.querySelectorAll("figure.code")]`
	if !uitest.Eval[bool](l.Browser, codes+`.length === 2 && `+codes+`.every((f) => f.checkVisibility() && f.querySelector("[data-copy]").dataset.copy === f.querySelector("pre").textContent)`) {
		l.t.Error("what is copied is not what is shown")
	}
	return uitest.Eval[string](l.Browser, codes+`[0].querySelector("[data-copy]").dataset.copy`), uitest.Eval[string](l.Browser, codes+`[1].querySelector("[data-copy]").dataset.copy`)
}

// enrolWaiting: from the list to a token that needs approval, the device that asks
// with the command shown, the waiting room, and the certificate.
func (l *life) enrolWaiting() {
	l.Go("/devices")
	l.press("Enrol a device")
	_, command := l.token("pump-1", true)
	l.Shot("life-token")
	if out, err := l.run("one", command); err == nil {
		l.t.Fatalf("the device did not wait: %s", out)
	}
	l.Go("/devices")
	l.follow("the waiting room", `a.getAttribute("href") === "/devices/waiting"`)
	l.reads("pump-1")
	l.press("Approve")
	l.wait("the dialog", `document.querySelector('dialog[open] [data-testid="fingerprint"]')`)
	if shown := strings.ToLower(regexp.MustCompile(`[^0-9A-Fa-f]`).ReplaceAllString(uitest.Eval[string](l.Browser, `document.querySelector('dialog[open] [data-testid="fingerprint"]').innerText`), "")); shown != l.fingerprint("one/pump-1/key.pem") {
		l.t.Errorf("the fingerprint shown is %s, that of the device's key %s", shown, l.fingerprint("one/pump-1/key.pem"))
	}
	l.Shot("life-approve")
	l.fillNamed("reason", "key compared on the phone")
	l.press("Approve")
	l.reads("may come in")
	if out, err := l.run("one", command); err != nil {
		l.t.Fatalf("the command as it is shown, after the approval: %v\n%s", err, out)
	}
	l.Go("/devices/pump-1")
	l.reads("It may connect at any time.")
}

// fingerprint is the SHA-256 of the public key of a device's key.
func (l *life) fingerprint(key string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, key))
	if err != nil {
		l.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		l.t.Fatal("the device's key is no PEM")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
	if err != nil {
		l.t.Fatal(err)
	}
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// enrolWithShell: the commands with openssl and curl work as they are copied.
func (l *life) enrolWithShell() {
	l.Go("/devices")
	l.press("Enrol a device")
	command, _ := l.token("pump-2", false)
	if out, err := l.run("two", command); err != nil {
		l.t.Fatalf("the commands as they are shown: %v\n%s", err, out)
	}
	cert, err := os.ReadFile(filepath.Join(l.dir, "two", "cert.pem"))
	if err != nil || !bytes.Contains(cert, []byte("BEGIN CERTIFICATE")) {
		l.t.Fatalf("they left no certificate: %v", err)
	}
	l.press("Watch for pump-2")
	l.reads("pump-2")
	l.reads("enrolled")
}

// dial connects the device over MQTT; the error is the server's.
func (l *life) dial() error {
	l.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(l.dir, "one/pump-1/cert.pem"), filepath.Join(l.dir, "one/pump-1/key.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	address := l.site.ready.MQTTS[strings.LastIndex(l.site.ready.MQTTS, "/")+1:]
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}}).DialContext(l.t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	l.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	w := mqtt.NewWriter(conn, mqtt.V5)
	if err := w.WritePacket(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: "pump-1"}); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r := mqtt.NewReader(conn)
	r.SetVersion(mqtt.V5)
	r.SetSender(mqtt.Server)
	packet, err := r.ReadPacket()
	if err != nil {
		return err
	}
	if ack, ok := packet.(*mqtt.Connack); !ok || ack.Code != 0 {
		return fmt.Errorf("the server answers %+v", packet)
	}
	conn.SetDeadline(time.Time{})
	l.conn = conn
	return nil
}

// connect: the page that is open shows the session when it begins, without being
// asked again.
func (l *life) connect() {
	l.Go("/devices/pump-1")
	l.wait("no session", `document.querySelector('[data-testid="no-session"]')`)
	uitest.Eval[bool](l.Browser, `(window.same = true)`)
	if err := l.dial(); err != nil {
		l.t.Fatalf("connecting with the certificate: %v", err)
	}
	l.wait("the session", `window.same && document.querySelector('[data-testid="session"] .link-on')`)
	l.Shot("life-session")
}

// cutOff waits until the server has ended the device's connection.
func (l *life) cutOff(why string) {
	l.t.Helper()
	l.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, l.conn); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			l.t.Fatalf("%s, the connection stays", why)
		}
	}
}

// act opens the dialog of an action, reads what will happen, gives the reason and
// does it.
func (l *life) act(open func(), reason, verb string, consequences ...string) {
	l.t.Helper()
	l.Go("/devices/pump-1")
	open()
	l.wait("the dialog", `document.querySelector("dialog[open] .consequences")`)
	text := uitest.Eval[string](l.Browser, `document.querySelector("dialog[open]").innerText`)
	for _, words := range consequences {
		if !strings.Contains(text, words) {
			l.t.Errorf("%s: the dialog does not say %q: %s", verb, words, text)
		}
	}
	l.fillNamed("reason", reason)
	if uitest.Eval[bool](l.Browser, `document.querySelector("dialog[open] [name=confirm]") !== null`) {
		l.fillNamed("confirm", "pump-1")
	}
	l.press(verb)
}

// done waits for the note that leads to the entry of the log.
func (l *life) done() {
	l.t.Helper()
	l.wait("the entry of the log", `document.querySelector('[data-testid="done"] a[href^="/audit/"]')?.checkVisibility()`)
}

func (l *life) button(words string) func() { return func() { l.press(words) } }

func (l *life) menu(words string) func() {
	return func() {
		l.press("More actions for pump-1")
		l.wait("the menu", `document.querySelector("#device-more:popover-open")`)
		l.press(words)
	}
}

func (l *life) quarantineAndRelease() {
	l.act(l.button("Quarantine"), "it floods the plant", "Quarantine", "Its session ends within a second", "Its certificate is put on hold", "no command reaches it", "You can release it again")
	l.cutOff("in quarantine")
	l.reads("In quarantine")
	l.reads("it floods the plant")
	l.done()
	l.wait("no session", `document.querySelector('[data-testid="no-session"]')`)
	if err := l.dial(); err == nil {
		l.t.Error("a quarantined device connects")
	}
	l.act(l.button("Release"), "false alarm", "Release", "is accepted again", "what the policy allows it")
	l.done()
	for end := time.Now().Add(10 * time.Second); ; {
		if err := l.dial(); err == nil {
			break
		} else if time.Now().After(end) {
			l.t.Fatalf("released, it cannot connect: %v", err)
		}
	}
	l.wait("the session again", `document.querySelector('[data-testid="session"] .link-on')`)
}

// revokeAndRetire: what cannot be undone asks for the name and for a fresh proof of
// who does it, and goes on by itself after it.
func (l *life) revokeAndRetire() {
	l.act(l.menu("Revoke certificates"), "key was read out", "Revoke", "is revoked for good", "has to enrol anew", "cannot be undone")
	l.wait("the question who it is", `document.querySelector("dialog[open]#step-up [data-passkey]")`)
	l.Axe("the question who it is")
	l.Shot("life-step-up")
	l.Faults() // the refusal that asks for it is noted by the browser
	uitest.Eval[bool](l.Browser, `(document.querySelector("#step-up [data-passkey]").click(), true)`)
	l.cutOff("revoked")
	l.reads("Not enrolled yet")
	l.done()
	if err := l.dial(); err == nil {
		l.t.Error("a revoked certificate is accepted")
	}
	l.act(l.menu("Retire"), "scrapped", "Retire", "can never enrol again", "no other device can ever get its id", "history stays")
	l.proveAgain(`document.querySelector("main").innerText.includes("Its life has ended")`)
	l.reads("Its life has ended")
	l.reads("pump-1 is retired.")
	if text := uitest.Eval[string](l.Browser, `document.body.innerText`); strings.Contains(text, "%!") {
		l.t.Error("what is said of it is not formed well")
	}
	l.done()
	if n := uitest.Eval[int](l.Browser, `document.querySelectorAll('.page-actions a, .page-actions button').length`); n != 0 {
		l.t.Errorf("a retired device offers %d actions", n)
	}
	l.Shot("life-retired")
}

// proveAgain answers the question who it is if it is asked before something is there.
func (l *life) proveAgain(there string) {
	l.t.Helper()
	l.wait("what was asked for, or the question who it is", `(`+there+`) || document.querySelector("dialog[open]#step-up [data-passkey]")`)
	if uitest.Eval[bool](l.Browser, `document.querySelector("dialog[open]#step-up [data-passkey]") !== null`) {
		l.Faults()
		uitest.Eval[bool](l.Browser, `(document.querySelector("#step-up [data-passkey]").click(), true)`)
	}
}

// told: everything that happened stands in the history and in the audit log, with who
// did it and why.
func (l *life) told() {
	l.press("History")
	l.at("/devices/pump-1/history")
	for _, words := range []string{"Asked for a certificate, waits for approval", "Enrolment approved", "key compared on the phone", "Certificate issued", "Connected and became active", "by you",
		"Quarantined", "it floods the plant", "Released from quarantine", "false alarm", "All certificates revoked", "key was read out", "Retired", "scrapped"} {
		l.reads(words)
	}
	l.Go("/audit?subject=pump-1&who=me")
	for _, words := range []string{"Ada Lovelace quarantined pump-1", "Ada Lovelace released pump-1", "Ada Lovelace revoked pump-1", "Ada Lovelace retired pump-1", "Ada Lovelace approved the enrolment of pump-1"} {
		l.reads(words)
	}
}

// exports hold what the filter of the list selects, and nothing else.
func (l *life) exports() {
	l.Go("/devices?type=pump&state=retired")
	l.press("Export")
	l.wait("the exports", `document.querySelector('a[href*="/devices/export"]')?.checkVisibility()`)
	client := l.client()
	for _, href := range uitest.Eval[[]string](l.Browser, `[...document.querySelectorAll('a[href*="/devices/export"]')].map((a) => a.href)`) {
		res, err := client.Get(href)
		if err != nil {
			l.t.Fatal(err)
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") {
			l.t.Fatalf("%s answers %d, %v", href, res.StatusCode, err)
		}
		if !bytes.Contains(body, []byte("pump-1")) || bytes.Contains(body, []byte("pump-2")) || bytes.Contains(body, []byte("valve-1")) {
			l.t.Errorf("%s has other devices than the list: %s", href, body)
		}
		switch {
		case strings.Contains(href, "format=csv"):
			if rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll(); err != nil || len(rows) != 2 {
				l.t.Errorf("the CSV has %d rows, %v", len(rows), err)
			}
		default:
			if d := json.NewDecoder(bytes.NewReader(body)); d.Decode(new(any)) != nil {
				l.t.Errorf("%s is no JSON: %s", href, body)
			}
		}
	}
	l.Do(chromedp.KeyEvent("\x1b"))
}
