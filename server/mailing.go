package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/server/config"
)

// mailer hands mail to a server (RFC 5321), always under TLS.
type mailer struct {
	cfg  config.Notify
	tls  *tls.Config
	auth smtp.Auth // nil: none
}

const mailTime = 30 * time.Second

func newMailer(cfg config.Notify, roots []byte) (*mailer, error) {
	host, _, err := net.SplitHostPort(cfg.MailServer)
	if err != nil {
		return nil, fmt.Errorf("setting up access.notify.mail_server: %w", err)
	}
	if cfg.MailFrom == "" {
		return nil, errors.New("setting up mail: access.notify.mail_from is missing")
	}
	m := &mailer{cfg: cfg, tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}}
	if len(roots) > 0 {
		if m.tls.RootCAs, err = x509.SystemCertPool(); err != nil {
			m.tls.RootCAs = x509.NewCertPool()
		}
		if !m.tls.RootCAs.AppendCertsFromPEM(roots) {
			return nil, errors.New("setting up mail: access.notify.ca_file holds no certificate")
		}
	}
	if cfg.MailUser != "" {
		password, err := readPrivate(cfg.MailPasswordFile, "access.notify.mail_password_file")
		if err != nil {
			return nil, err
		}
		m.auth = smtp.PlainAuth("", cfg.MailUser, string(password), host)
	}
	return m, nil
}

// send hands one letter over.
func (m *mailer) send(ctx context.Context, l letter) error {
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.cfg.MailServer)
	if err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if m.cfg.MailTLS == "implicit" {
		conn = tls.Client(conn, m.tls)
	}
	c, err := smtp.NewClient(conn, m.tls.ServerName)
	if err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	if m.cfg.MailTLS != "implicit" {
		if err := c.StartTLS(m.tls); err != nil { // also where the server does not offer it
			return fmt.Errorf("sending mail: protecting the connection: %w", err)
		}
	}
	if m.auth != nil {
		if err := c.Auth(m.auth); err != nil {
			return fmt.Errorf("sending mail: signing in: %w", err)
		}
	}
	if err := errors.Join(c.Mail(m.cfg.MailFrom), c.Rcpt(l.to)); err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	if _, err := w.Write(m.message(l, time.Now())); err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("sending mail: %w", err)
	}
	c.Quit() // the letter is theirs already
	return nil
}

// message is a letter as RFC 5322 has it. The text is in base64, so that nothing in
// it can be a header or the end.
func (m *mailer) message(l letter, at time.Time) []byte {
	var b bytes.Buffer
	domain := m.cfg.MailFrom[strings.LastIndex(m.cfg.MailFrom, "@")+1:]
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		m.cfg.MailFrom, l.to, l.subject, at.Format(time.RFC1123Z), newID(), domain)
	text := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(l.text, "\n", "\r\n") + "\r\n"))
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return b.Bytes()
}
