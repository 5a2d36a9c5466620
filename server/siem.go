package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// syslogCursor names the index of the next event to send.
const syslogCursor = "syslog_cursor"

const (
	syslogLease   = "syslog"
	syslogTimeout = 10 * time.Second
	syslogPause   = time.Second
)

// sendSyslog sends every sequenced event to the configured collector (RFC 5424
// over TLS, RFC 5425): one node at a time, from a cursor in the database, at
// least once each. TLS acknowledges nothing to the application, so what was under
// way when a connection broke is sent again.
func (s *Server) sendSyslog(ctx context.Context) error {
	if s.cfg.Audit.Syslog.Address == "" {
		return nil
	}
	conf, err := s.syslogTLS()
	if err != nil {
		return err
	}
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	tick := time.NewTicker(syslogPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := s.now()
		if mine, err := s.store.AcquireLease(ctx, syslogLease, s.holder, now, now.Add(leaseTime)); err != nil || !mine {
			continue
		}
		if conn, err = s.syslogBatch(ctx, conn, conf); err != nil && ctx.Err() == nil {
			s.log.Warn("sending audit events to syslog: they are kept and sent later", "address", s.cfg.Audit.Syslog.Address, "err", err)
		}
	}
}

func (s *Server) syslogTLS() (*tls.Config, error) {
	c := s.cfg.Audit.Syslog
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("reading audit.syslog.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading audit.syslog.ca: %s holds no PEM certificate", c.CA)
		}
	}
	if c.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("reading audit.syslog.client_cert and client_key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// syslogBatch sends what is new over conn, dialling if it is nil, and returns the
// connection to use next: nil after an error.
func (s *Server) syslogBatch(ctx context.Context, conn net.Conn, conf *tls.Config) (net.Conn, error) {
	at := int64(0)
	text, err := s.store.Meta(ctx, syslogCursor)
	if err == nil {
		at, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		return conn, err
	}
	rows, err := s.store.Leaves(ctx, at, exportChunk)
	if err != nil || len(rows) == 0 {
		return conn, err
	}
	if conn == nil {
		dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: syslogTimeout}, Config: conf}
		if conn, err = dialer.DialContext(ctx, "tcp", s.cfg.Audit.Syslog.Address); err != nil {
			return nil, err
		}
	}
	var out []byte
	for _, l := range rows {
		e, err := audit.Decode(l.Bytes)
		if err != nil {
			return conn, err
		}
		msg := audit.Syslog(e, l.Index, s.cfg.Node)
		out = append(strconv.AppendInt(out, int64(len(msg)), 10), ' ')
		out = append(out, msg...)
	}
	conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
	if _, err := conn.Write(out); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, s.store.SetMeta(ctx, syslogCursor, strconv.FormatInt(rows[len(rows)-1].Index+1, 10))
}
