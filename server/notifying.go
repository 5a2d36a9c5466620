package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/internal/outbound"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/people"
)

// notifier sends news to a webhook and to people by mail. What waits is in memory:
// a restart loses it; the audit log has all of it.
type notifier struct {
	cfg      config.Notify
	log      *slog.Logger
	now      func() time.Time
	client   *http.Client // nil: no webhook
	key      []byte
	mailer   *mailer // nil: no mail
	hooks    chan news
	mails    chan letter
	patience []time.Duration // before each further try
}

// news is what a webhook gets.
type news struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Person string    `json:"person,omitempty"` // an id
	About  string    `json:"about,omitempty"`  // the id of an approval
	Detail string    `json:"detail,omitempty"`
}

// letter is a mail to one person.
type letter struct{ to, subject, text string }

// maxNews bounds what waits to be sent, each of webhook and mail.
const maxNews = 1000

func newNotifier(cfg config.Notify, log *slog.Logger, now func() time.Time) (*notifier, error) {
	n := &notifier{cfg: cfg, log: log, now: now, hooks: make(chan news, maxNews), mails: make(chan letter, maxNews),
		patience: []time.Duration{time.Second, 4 * time.Second, 15 * time.Second, time.Minute, 4 * time.Minute, 15 * time.Minute}}
	var roots []byte
	var err error
	if cfg.CAFile != "" {
		if roots, err = os.ReadFile(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("reading access.notify.ca_file: %w", err)
		}
	}
	if cfg.Webhook != "" {
		if n.key, err = readPrivate(cfg.WebhookKeyFile, "access.notify.webhook_key_file"); err != nil {
			return nil, err
		}
		if len(n.key) < 32 {
			return nil, errors.New("reading access.notify.webhook_key_file: the key has less than 32 bytes")
		}
		if n.client, err = outbound.New(outbound.Policy{Allow: cfg.Networks, Roots: roots}); err != nil {
			return nil, fmt.Errorf("setting up access.notify.webhook: %w", err)
		}
	}
	if cfg.MailServer != "" {
		if n.mailer, err = newMailer(cfg, roots); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// readPrivate reads a secret that nobody but the server's user may read.
func readPrivate(path, field string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%s is missing: name a file of mode 0600", field)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", field, err)
	}
	if info.Mode().Perm()&0o077 != 0 || info.Size() > 4096 {
		return nil, fmt.Errorf("reading %s: others may read the file, or it is larger than 4096 bytes: make it mode 0600", field)
	}
	text, err := os.ReadFile(path)
	return bytes.TrimSpace(text), err
}

// tell queues news for the webhook; what does not fit is dropped and logged.
func (n *notifier) tell(kind string, person access.PersonID, about, detail string) {
	if n.client == nil {
		return
	}
	select {
	case n.hooks <- news{newID(), n.now().UTC(), kind, string(person), about, audit.Text(detail, 256)}:
	default:
		n.log.Error("dropping news for the webhook: too many wait", "kind", kind, "person", string(person))
	}
}

// write queues a mail to a person who has an address.
func (n *notifier) write(p access.Person, subject, text string) {
	if n.mailer == nil || p.Mail == "" {
		return
	}
	select {
	case n.mails <- letter{p.Mail, subject, text}:
	default:
		n.log.Error("dropping a mail: too many wait", "person", string(p.ID))
	}
}

func (n *notifier) runWebhook(ctx context.Context) error { return deliver(ctx, n, n.hooks, n.post) }

func (n *notifier) runMail(ctx context.Context) error {
	return deliver(ctx, n, n.mails, func(ctx context.Context, l letter) error { return n.mailer.send(ctx, l) })
}

// deliver sends one after the other, each again until it is taken or patience ends.
func deliver[T any](ctx context.Context, n *notifier, queue <-chan T, send func(context.Context, T) error) error {
	for {
		var one T
		select {
		case <-ctx.Done():
			return nil
		case one = <-queue:
		}
		for try := 0; ; try++ {
			err := send(ctx, one)
			if err == nil || ctx.Err() != nil {
				break
			}
			if try == len(n.patience) || errors.Is(err, outbound.ErrRefused) {
				n.log.Error("giving up a notification", "tries", try+1, "err", err)
				break
			}
			n.log.Warn("sending a notification: it is tried again", "after", n.patience[try], "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(n.patience[try]):
			}
		}
	}
}

// sign is the value of the header Holdfast-Signature: of the time in seconds since
// 1970, a dot and the body.
func sign(key []byte, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(at + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (n *notifier) post(ctx context.Context, one news) error {
	body, err := json.Marshal(one)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.cfg.Webhook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(n.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Holdfast-Delivery", one.ID)
	req.Header.Set("Holdfast-Timestamp", at)
	req.Header.Set("Holdfast-Signature", sign(n.key, at, body))
	resp, err := n.client.Do(req)
	if err != nil {
		return fmt.Errorf("calling the webhook: %w", err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("calling the webhook: its answer's status is %d", resp.StatusCode)
	}
	return nil
}

// said is what people are told of notices about their accounts.
var said = map[people.NoticeKind]string{
	people.NoticeNewPlace:        "Somebody signed in as you from a network and browser that were not seen with your account before.",
	people.NoticeBreakGlass:      "Your account for emergencies was used.",
	people.NoticeFactorAdded:     "A passkey, an authenticator app or recovery codes were added to your account.",
	people.NoticeFactorRemoved:   "A passkey or an authenticator app was removed from your account.",
	people.NoticePasswordChanged: "The password of your account was changed.",
	people.NoticeReset:           "An administrator removed all that you sign in with. You will get a new link from them.",
	people.NoticeRecoveryUsed:    "A recovery code of your account was used.",
	people.NoticeRecoveryLow:     "Two or fewer recovery codes of your account are left. Make new ones on your account page.",
	people.NoticeCloned:          "A passkey of your account seems to exist twice. Remove it and make a new one.",
	people.NoticeFactorGuessed:   "Somebody who knows your password guesses your second factor. Change your password.",
	people.NoticeGuessed:         "Many wrong passwords were tried with your account. Sign in with a passkey, or from where you signed in before.",
	people.NoticeReused:          "A token of your command line was used twice and was ended. Sign in again with `holdfast login`.",
	people.NoticeDozing:          "Your account was not used for long and will be disabled soon. Sign in to keep it.",
	people.NoticeDormant:         "Your account was disabled because it was not used for long.",
}

const notYou = "\n\nIf this was not you, or should not be, tell an administrator of Holdfast."

// notifyPerson tells the webhook and the person of a notice.
func (s *Server) notifyPerson(n people.Notice) {
	detail := "" // elsewhere it is words of people: names of passkeys, reasons
	if n.Kind == people.NoticeRecoveryUsed || n.Kind == people.NoticeRecoveryLow {
		detail = n.Detail
	}
	s.notifier.tell(string(n.Kind), n.Person.ID, "", detail)
	text := said[n.Kind] + "\n\nWhen: " + n.At.UTC().Format(time.RFC1123)
	if n.Source != "" {
		text += "\nFrom: " + n.Source
	}
	s.notifier.write(n.Person, "Holdfast: about your account", text+notYou)
}

// notifyInvited tells a person that they were invited; the link is in the mail only
// where the configuration says so.
func (s *Server) notifyInvited(p access.Person, link people.Link) {
	s.notifier.tell("invited", p.ID, "", "")
	text := "You were invited to Holdfast at " + s.console() + ".\n\nWho invited you gives you a link that is good until " + link.ExpiresAt.UTC().Format(time.RFC1123) + "."
	if s.cfg.Access.Notify.MailLinks {
		text = "You were invited to Holdfast. Set up how you sign in with this link; it is good once, until " + link.ExpiresAt.UTC().Format(time.RFC1123) + ":\n\n" + s.linkURL(link)
	}
	s.notifier.write(p, "Holdfast: you were invited", text)
}

// notifyWaiting tells those who may decide that a request waits.
func (s *Server) notifyWaiting(ctx context.Context, by access.Actor, a access.Approval) {
	s.notifier.tell("approval-waiting", "", a.ID, string(a.Action))
	if s.notifier.mailer == nil {
		return
	}
	list, err := s.deciders(ctx, by)
	if err != nil {
		s.log.Warn("finding who may decide about a request", "approval", a.ID, "err", err)
	}
	for _, p := range list {
		if p.State == access.PersonActive {
			s.notifier.write(p, "Holdfast: a request waits for you", fmt.Sprintf("A request (%s) waits for a second person until %s.\n\nLook at it on the console: %s", a.Action, a.ExpiresAt.UTC().Format(time.RFC1123), s.console()))
		}
	}
}

// notifyDecided tells who asked what became of their request.
func (s *Server) notifyDecided(ctx context.Context, a access.Approval, approved bool) {
	word := "rejected"
	if approved {
		word = "approved"
	}
	s.notifier.tell("approval-"+word, "", a.ID, string(a.Action))
	id, human := strings.CutPrefix(a.RequestedBy, string(access.Human)+":")
	if !human || s.notifier.mailer == nil {
		return
	}
	p, err := s.person(ctx, access.PersonID(id))
	if err != nil {
		s.log.Warn("finding who asked for a second person", "approval", a.ID, "err", err)
		return
	}
	s.notifier.write(p, "Holdfast: your request was "+word, fmt.Sprintf("Your request (%s) was %s.\n\nSee it on the console: %s", a.Action, word, s.console()))
}
