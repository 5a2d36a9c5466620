package config

import (
	"errors"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
)

// Notify is where news of accounts and approvals goes beside the audit log.
type Notify struct {
	// Webhook [access.notify.webhook] is an https URL that gets each piece of news,
	// with the ids of people and never their names. Default: none.
	Webhook string
	// WebhookKeyFile [access.notify.webhook_key_file] holds the key that signs what
	// the webhook gets, 32 bytes at least. Needed with a webhook.
	WebhookKeyFile string
	// Networks [access.notify.networks] are private networks (CIDR) that the webhook
	// may be in. Default: it has to be on the public Internet.
	Networks []netip.Prefix
	// CAFile [access.notify.ca_file] holds further authorities (PEM) that the webhook
	// and the mail server may have their certificates from.
	CAFile string
	// MailServer [access.notify.mail_server] is the HOST:PORT that takes mail to the
	// people whom news is about. Default: no mail.
	MailServer string
	// MailTLS [access.notify.mail_tls] protects the mail on its way there: starttls
	// (RFC 3207) or implicit (RFC 8314). Default starttls. Mail never goes in the clear.
	MailTLS string
	// MailFrom [access.notify.mail_from] is the address that mail comes from.
	MailFrom string
	// MailUser [access.notify.mail_user] and MailPasswordFile
	// [access.notify.mail_password_file] sign in at the mail server. Default: nobody does.
	MailUser, MailPasswordFile string
	// MailLinks [access.notify.mail_links] puts the one-time link of an invitation into
	// its mail: whoever reads that mailbox first has the account. Default false.
	MailLinks bool
}

func validHook(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("expected https://HOST/PATH without a name or password in it")
	}
	return nil
}

func validMailServer(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return errors.New("expected HOST:PORT")
	}
	return nil
}

func validMail(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || strings.ContainsAny(s, "\r\n") {
		return errors.New("expected an address as holdfast@example.com")
	}
	return nil
}
