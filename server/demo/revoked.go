package demo

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/holdfast-iot/holdfast/pki"
)

// sessionEnds waits until the server has ended a session, and tells with which answer.
func (s *stage) sessionEnds(ctx context.Context, l *link, what string) error {
	why, ended := l.waitGone(ctx, reaction)
	if !ended {
		return fmt.Errorf("cutting off %s: its MQTT session was still open after %s", l.id, reaction)
	}
	s.tale.line("ended", "%s: %s", l.id, what)
	if a := refused(why); a != nil {
		s.tale.detail("answer", "%v", a)
	} else {
		s.tale.detail("answer", "the connection was closed")
	}
	return nil
}

// revokeOld is the story of a certificate that was copied: the device renews, the
// operator revokes the old one, and whoever is connected with it is out.
func (s *stage) revokeOld(ctx context.Context) error {
	t, err := s.thing(leakedID)
	if err != nil {
		return err
	}
	l := s.linkOf(ctx, leakedID)
	if l == nil {
		return nil
	}
	old := t.badge.Load()
	if l.cert != old {
		return nil // it has just renewed, and is connected with an older one
	}
	if err := t.renew(ctx, s); problemOf(err) != nil {
		return nil // it has many certificates, or an operator stopped it
	} else if err != nil {
		return fmt.Errorf("renewing device %s: %w", leakedID, err)
	}
	serial, err := pki.SerialOf(old.Leaf)
	if err != nil {
		return err
	}
	asked := s.now()
	if _, err := s.api.RevokeCertificate(ctx, serial.String(), "superseded"); err != nil {
		return fmt.Errorf("revoking the old certificate of %s: %w", leakedID, err)
	}
	s.tale.line(who, "%s renewed; its old certificate %s, found on a laptop, is revoked", leakedID, short(old.Leaf.SerialNumber))
	if err := s.sessionEnds(ctx, l, "the session that was opened with it ends"); err != nil {
		return err
	}
	s.tale.detail("after", "%s", s.since(asked))
	if err := s.cannotConnect(ctx, leakedID, old); err != nil {
		return err
	}
	if _, err := s.live.members[leakedID].link(ctx, reaction, l); err != nil {
		return err
	}
	s.tale.line("devices", "%s is back with its new certificate", leakedID)
	return nil
}

// cannotConnect tries MQTT with a certificate that is not accepted any more.
func (s *stage) cannotConnect(ctx context.Context, id string, cert *tls.Certificate) error {
	l, err := s.dial(ctx, login{id: id, cert: cert}, nil)
	if err == nil {
		l.close()
		return fmt.Errorf("trying what must be refused: %s connects with a revoked certificate: the server let it through", id)
	}
	s.tale.line("refused", "%s connects with the revoked certificate again", id)
	s.tale.detail("answer", "%v", inner(err))
	return nil
}
