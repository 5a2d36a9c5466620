package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/people"
)

var hookKey = strings.Repeat("k", 32)

// private writes a file that its user alone may read.
func private(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// hook is a receiver that refuses its first requests.
func hook(t *testing.T, refuse int) (srv *httptest.Server, got chan news) {
	t.Helper()
	got = make(chan news, 16)
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Holdfast-Signature") != sign([]byte(hookKey), r.Header.Get("Holdfast-Timestamp"), body) {
			t.Errorf("the signature %q does not fit", r.Header.Get("Holdfast-Signature"))
		}
		if refuse--; refuse >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var n news
		if err := json.Unmarshal(body, &n); err != nil || n.ID != r.Header.Get("Holdfast-Delivery") {
			t.Errorf("a body that is no news: %s", body)
		}
		got <- n
	}))
	t.Cleanup(srv.Close)
	return srv, got
}

func hookConfig(t *testing.T, srv *httptest.Server) config.Notify {
	t.Helper()
	return config.Notify{Webhook: srv.URL + "/hook", WebhookKeyFile: private(t, hookKey), Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		CAFile: private(t, string(pki.EncodePEM("CERTIFICATE", srv.Certificate().Raw))), MailTLS: "starttls"}
}

// receive waits for one value, at most ten seconds.
func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

// running makes a notifier that works until the test ends.
func runNotifier(t *testing.T, cfg config.Notify, log *slog.Logger) *notifier {
	t.Helper()
	n, err := newNotifier(cfg, log, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	n.patience = []time.Duration{time.Millisecond, time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- n.runWebhook(ctx) }()
	go func() { done <- n.runMail(ctx) }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return n
}

func TestWebhook(t *testing.T) {
	srv, got := hook(t, 2)
	n := runNotifier(t, hookConfig(t, srv), slog.New(slog.DiscardHandler))
	n.tell("new-place", "p1", "", "")
	if one := receive(t, got); one.Kind != "new-place" || one.Person != "p1" {
		t.Errorf("the webhook got %+v", one)
	}
	if sign([]byte(hookKey), "1700000000", []byte(`{}`)) == sign([]byte(hookKey), "1700000001", []byte(`{}`)) {
		t.Error("the signature does not cover the time")
	}
}

// lines hands on what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

// TestWebhookInside: a webhook cannot be used to reach what only this machine can.
func TestWebhookInside(t *testing.T) {
	srv, got := hook(t, 0)
	cfg := hookConfig(t, srv)
	cfg.Networks = nil
	logged := make(lines, 16)
	n := runNotifier(t, cfg, slog.New(slog.NewTextHandler(logged, nil)))
	n.tell("new-place", "p1", "", "")
	if line := receive(t, logged); !strings.Contains(line, "giving up") || !strings.Contains(line, "loopback") {
		t.Errorf("the log says %s", line)
	}
	if len(got) != 0 {
		t.Error("the webhook on this machine was called")
	}
}

func TestNotifyConfig(t *testing.T) {
	srv, _ := hook(t, 0)
	for what, change := range map[string]func(*config.Notify){
		"no key":         func(c *config.Notify) { c.WebhookKeyFile = "" },
		"a short key":    func(c *config.Notify) { c.WebhookKeyFile = private(t, "short") },
		"an open key":    func(c *config.Notify) { os.Chmod(c.WebhookKeyFile, 0o644) },
		"no authorities": func(c *config.Notify) { c.CAFile = private(t, "") + "x" },
		"no sender":      func(c *config.Notify) { c.MailServer = "127.0.0.1:25" },
	} {
		cfg := hookConfig(t, srv)
		change(&cfg)
		if _, err := newNotifier(cfg, slog.New(slog.DiscardHandler), time.Now); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

// mailbox is a mail server that offers STARTTLS, or speaks TLS from the beginning,
// and hands on what it took.
func mailbox(t *testing.T, cert tls.Certificate, mode string) (address string, got chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = make(chan string, 16)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go takeMail(conn, conf, mode, got)
		}
	}()
	return l.Addr().String(), got
}

func takeMail(conn net.Conn, conf *tls.Config, mode string, got chan<- string) {
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if mode == "implicit" {
		conn = tls.Server(conn, conf)
	}
	in := bufio.NewReader(conn)
	say := func(s string) { fmt.Fprint(conn, s+"\r\n") }
	say("220 test")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch word, _, _ := strings.Cut(strings.TrimSpace(strings.ToUpper(line)), " "); word {
		case "EHLO":
			if _, secure := conn.(*tls.Conn); secure {
				say("250-test\r\n250 AUTH PLAIN")
			} else if mode == "starttls" {
				say("250-test\r\n250 STARTTLS")
			} else {
				say("250 test")
			}
		case "STARTTLS":
			if mode != "starttls" {
				say("502 no")
				continue
			}
			say("220 go")
			conn = tls.Server(conn, conf)
			in = bufio.NewReader(conn)
		case "AUTH":
			if !strings.Contains(line, base64.StdEncoding.EncodeToString([]byte("\x00holdfast\x00pass"))) {
				say("535 no")
				return
			}
			say("235 yes")
		case "DATA":
			say("354 go")
			var text strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil || line == ".\r\n" {
					break
				}
				text.WriteString(line)
			}
			got <- text.String()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 fine")
		}
	}
}

// opened is the text of a mail.
func opened(t *testing.T, mail string) (head, text string) {
	t.Helper()
	head, body, _ := strings.Cut(mail, "\r\n\r\n")
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatalf("a mail that cannot be read: %v\n%s", err, mail)
	}
	return head, string(raw)
}

func TestMail(t *testing.T) {
	srv, _ := hook(t, 0)
	for _, mode := range []string{"starttls", "implicit"} {
		cfg := hookConfig(t, srv)
		cfg.MailTLS, cfg.MailFrom, cfg.MailUser, cfg.MailPasswordFile = mode, "holdfast@example.com", "holdfast", private(t, "pass\n")
		address, got := mailbox(t, srv.TLS.Certificates[0], mode)
		cfg.MailServer = address
		n := runNotifier(t, cfg, slog.New(slog.DiscardHandler))
		n.write(access.Person{ID: "p1", Mail: "ann@example.com"}, "Holdfast: about your account", "one\n.\ntwo: ü")
		head, text := opened(t, receive(t, got))
		if !strings.Contains(head, "To: ann@example.com\r\n") || text != "one\r\n.\r\ntwo: ü\r\n" {
			t.Errorf("%s: the mail is\n%s\n%s", mode, head, text)
		}
	}
}

// TestMailInTheClear: a server without TLS gets nothing, neither mail nor password.
func TestMailInTheClear(t *testing.T) {
	srv, _ := hook(t, 0)
	cfg := hookConfig(t, srv)
	cfg.MailFrom = "holdfast@example.com"
	address, got := mailbox(t, srv.TLS.Certificates[0], "none")
	cfg.MailServer = address
	m, err := newNotifier(cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.mailer.send(context.Background(), letter{"ann@example.com", "s", "t"}); err == nil || len(got) != 0 {
		t.Errorf("mail went to a server without TLS: %v", err)
	}
}

// TestNotified follows what people and those who watch hear from a running server.
func TestNotified(t *testing.T) {
	for _, links := range []bool{false, true} {
		srv, heard := hook(t, 0)
		address, mails := mailbox(t, srv.TLS.Certificates[0], "starttls")
		cfg := config.Default()
		cfg.Data, cfg.Node = tempData(t), "test"
		cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
		cfg.Access.Notify = hookConfig(t, srv)
		cfg.Access.Notify.MailServer, cfg.Access.Notify.MailFrom, cfg.Access.Notify.MailLinks = address, "holdfast@example.com", links
		r := startWith(t, cfg, Options{})
		ctx := context.Background()
		p, err := accounts{r.Server}.InvitePerson(ctx, operator, adminapi.PersonInput{Name: "ann@example.com", Mail: "ann@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if one := receive(t, heard); one.Kind != "invited" || one.Person != string(p.Person.ID) {
			t.Errorf("the webhook got %+v", one)
		}
		if _, text := opened(t, receive(t, mails)); strings.Contains(text, p.Link) != links {
			t.Errorf("with links %v the mail says\n%s", links, text)
		}
		for kind := range said {
			r.alarm(ctx, people.Notice{Kind: kind, Person: p.Person, Source: "192.0.2.7", At: r.now(), Detail: "Ann's phone"})
			if one := receive(t, heard); one.Kind != string(kind) || one.Detail != "" && !strings.HasPrefix(one.Kind, "recovery-") {
				t.Errorf("the webhook got %+v, want %s", one, kind)
			}
			if head, text := opened(t, receive(t, mails)); !strings.Contains(head, "To: ann@example.com\r\n") || !strings.HasPrefix(text, said[kind]) {
				t.Errorf("the mail about %s is\n%s", kind, text)
			}
		}
		a, err := r.Ask(ctx, access.Identity{Actor: operator}, access.Approval{Action: access.RetireDevice, Operation: "o", Method: "POST", Path: "/p", Reason: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if one := receive(t, heard); one.Kind != "approval-waiting" || one.About != a.ID {
			t.Errorf("the webhook got %+v", one)
		}
	}
}

// TestNotifiedOfApprovals: who may decide hears of a request, who asked of the
// decision, and nobody else of either.
func TestNotifiedOfApprovals(t *testing.T) {
	srv, _ := hook(t, 0)
	address, mails := mailbox(t, srv.TLS.Certificates[0], "starttls")
	cfg := config.Default()
	cfg.Data, cfg.Node = tempData(t), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Access.Notify = hookConfig(t, srv)
	cfg.Access.Notify.Webhook, cfg.Access.Notify.MailServer, cfg.Access.Notify.MailFrom = "", address, "holdfast@example.com"
	r := startWith(t, cfg, Options{})
	ctx := context.Background()
	who := map[string]access.Identity{}
	for name, role := range map[string]string{"asks": access.Admin, "decides": access.Admin, "reads": "viewer"} {
		p, err := r.people.Provision(ctx, operator, people.External{Provider: "oidc:corp", Subject: name, Name: name, Mail: name + "@example.com"})
		if err == nil {
			_, err = r.Grant(ctx, operator, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(p.ID), Role: role})
		}
		if err == nil {
			who[name], err = r.personIdentity(ctx, p, nil, "", "s", access.Proof{Method: "test", Strong: true, Fresh: r.now()})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := r.Ask(ctx, who["asks"], access.Approval{Action: access.RetireDevice, Operation: "o", Method: "POST", Path: "/p", Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if head, text := opened(t, receive(t, mails)); !strings.Contains(head, "To: decides@example.com\r\n") || !strings.Contains(text, "waits") {
		t.Errorf("the mail about a request:\n%s\n%s", head, text)
	}
	if _, err := r.Decide(ctx, who["decides"], a.ID, true, ""); err != nil {
		t.Fatal(err)
	}
	if head, text := opened(t, receive(t, mails)); !strings.Contains(head, "To: asks@example.com\r\n") || !strings.Contains(text, "approved") {
		t.Errorf("the mail about the decision:\n%s\n%s", head, text)
	}
}
