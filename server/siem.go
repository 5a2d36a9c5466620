package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
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
	var conn *collector
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

// collector is a connection to the collector. A collector never answers, so that
// a write to one that is gone can succeed: reading tells that it closed, and then
// what was sent last is sent again.
type collector struct {
	net.Conn
	gone chan struct{} // closed when the collector closed the connection
	from int64         // where the last batch began
	size int           // entries of the next batch: few after a break, so that each connection gets somewhere
}

func (s *Server) dialCollector(ctx context.Context, conf *tls.Config, size int) (*collector, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: syslogTimeout}, Config: conf}
	conn, err := dialer.DialContext(ctx, "tcp", s.cfg.Audit.Syslog.Address)
	if err != nil {
		return nil, err
	}
	c := &collector{Conn: conn, gone: make(chan struct{}), from: -1, size: size}
	go func() {
		defer close(c.gone)
		io.Copy(io.Discard, conn) // ends with the connection
	}()
	return c, nil
}

func (c *collector) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// syslogBatch sends what is new over conn, dialling if it is nil, and returns the
// connection to use next: nil after an error.
func (s *Server) syslogBatch(ctx context.Context, conn *collector, conf *tls.Config) (*collector, error) {
	at := int64(0)
	text, err := s.store.Meta(ctx, syslogCursor)
	if err == nil {
		at, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		return conn, err
	}
	size := exportChunk
	switch {
	case conn != nil && conn.isGone(): // nobody knows whether it took the last batch
		if size = max(1, conn.size/8); conn.from >= 0 {
			at = conn.from
		}
		conn.Close()
		conn = nil
	case conn != nil:
		size = conn.size
	}
	rows, err := s.store.Leaves(ctx, at, size)
	if err != nil || len(rows) == 0 {
		return conn, err
	}
	if conn == nil {
		if conn, err = s.dialCollector(ctx, conf, size); err != nil {
			return nil, errors.Join(err, s.store.SetMeta(ctx, syslogCursor, strconv.FormatInt(at, 10)))
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
	conn.from, conn.size = rows[0].Index, min(2*size, exportChunk)
	conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
	if _, err := conn.Write(out); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, s.store.SetMeta(ctx, syslogCursor, strconv.FormatInt(rows[len(rows)-1].Index+1, 10))
}
