package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/scim"
)

// listeners are the open sockets of a server.
type listeners struct{ api, device, pki, metrics, mqtts, wss net.Listener }

// maxConns bounds the connections of the device listener, and of the one that people
// and programs use.
const maxConns = 16_384

func (s *Server) listen() (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, one := range []struct {
		to      *net.Listener
		field   string
		address string
	}{{&l.api, "listen.api", s.cfg.Listen.API}, {&l.device, "listen.device", s.cfg.Listen.Device}, {&l.pki, "listen.pki", s.cfg.Listen.PKI}, {&l.metrics, "listen.metrics", s.cfg.Listen.Metrics}, {&l.mqtts, "listen.mqtts", s.cfg.Listen.MQTTS}, {&l.wss, "listen.wss", s.cfg.Listen.WSS}} {
		if *one.to, err = net.Listen("tcp", one.address); err != nil {
			return l, fmt.Errorf("listening (%s): %w: choose another address with --%s or the configuration file", one.field, err, flagOf[one.field])
		}
	}
	l.api = netutil.LimitListener(l.api, maxConns)
	l.device = netutil.LimitListener(l.device, maxConns)
	l.wss = netutil.LimitListener(l.wss, s.cfg.MQTT.Connections)
	return l, nil
}

var flagOf = map[string]string{"listen.api": "listen-api", "listen.device": "listen-device", "listen.pki": "listen-pki", "listen.metrics": "listen-metrics", "listen.mqtts": "listen-mqtts", "listen.wss": "listen-wss"}

func (l listeners) close() {
	for _, one := range []net.Listener{l.api, l.device, l.pki, l.metrics, l.mqtts, l.wss} {
		if one != nil {
			one.Close()
		}
	}
}

// ownCert is this server's certificate, replaced before it ends.
type ownCert struct {
	s       *Server
	current atomic.Pointer[tls.Certificate]
}

const (
	ownValidity = 14 * 24 * time.Hour
	ownCheck    = 10 * time.Minute
)

func (o *ownCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := o.current.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("this server has no certificate yet")
}

// renew issues a new certificate for a key that never leaves memory.
func (o *ownCert) renew(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	checked, err := pki.CheckKey(key.Public())
	if err != nil {
		return err
	}
	names, ips := o.s.ownNames()
	subject := pki.Subject{TrustDomain: o.s.cfg.TrustDomain, ID: o.s.node, Profile: pki.Server, DNSNames: names, IPs: ips}
	leaf, chain, err := o.s.issue(ctx, issuance{by: access.Component("listener"), subject: subject, key: checked, validity: ownValidity, credential: "system:listener"})
	if err != nil {
		return fmt.Errorf("issuing this server's certificate: %w", err)
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, one := range chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return o.staple(ctx, c)
}

// staple puts a fresh OCSP answer beside the certificate and takes it into use.
func (o *ownCert) staple(ctx context.Context, c *tls.Certificate) error {
	is := o.s.authority.Load().issuerOf(c.Leaf)
	serial, err := pki.SerialOf(c.Leaf)
	if err != nil {
		return err
	}
	fresh := *c
	if fresh.OCSPStaple, err = o.s.responder.staple(ctx, is, serial); err != nil {
		return fmt.Errorf("stapling this server's OCSP answer: %w", err)
	}
	o.current.Store(&fresh)
	return nil
}

// keep renews certificate and staple in time, and at once when the certificate is
// no longer issued by the active CA or was revoked.
func (o *ownCert) keep(ctx context.Context) error {
	tick := time.NewTicker(ownCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		c := o.current.Load()
		var err error
		if o.s.now().Add(ownValidity / 2).After(c.Leaf.NotAfter) {
			err = o.renew(ctx)
		} else {
			err = o.staple(ctx, c)
		}
		if err != nil && ctx.Err() == nil {
			o.s.log.Error("renewing this server's certificate", "err", err)
		}
	}
}

// ownNames are the names and addresses that clients may reach this server by.
func (s *Server) ownNames() (names []string, ips []netip.Addr) {
	all := append([]string{"localhost", "127.0.0.1", "::1"}, s.cfg.Hostnames...)
	if host, err := os.Hostname(); err == nil {
		all = append(all, host)
	}
	for _, address := range []string{s.cfg.Listen.API, s.cfg.Listen.Device, s.cfg.Listen.MQTTS, s.cfg.Listen.WSS} {
		if host, _, err := net.SplitHostPort(address); err == nil {
			all = append(all, host)
		}
	}
	for _, name := range all {
		if ip, err := netip.ParseAddr(name); err == nil {
			if !ip.IsUnspecified() && !slices.Contains(ips, ip.WithZone("")) {
				ips = append(ips, ip.WithZone(""))
			}
		} else if subject := (pki.Subject{TrustDomain: "x", ID: "x", Profile: pki.Server, DNSNames: []string{name}}); name != "" && subject.Validate() == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, ips
}

// deviceTLS asks for a client certificate and refuses, in the handshake, one that
// claims to be ours and is not valid, or was revoked. Others are judged later:
// a manufacturer's certificate by the type that it wants to enrol as.
func (s *Server) deviceTLS(own *ownCert) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: own.get, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			leaf, a := cs.PeerCertificates[0], s.authority.Load()
			if a.issuerOf(leaf) == nil {
				return nil
			}
			serial, err := pki.SerialOf(leaf)
			if err != nil {
				return err
			}
			if revoked, _ := s.revoked.state(serial); revoked {
				s.metrics.refusals.WithLabelValues("certificate-revoked").Inc()
				return errors.New("the client certificate is revoked")
			}
			return a.verify(leaf, s.now(), device.MaxGrace)
		},
	}
}

type connKey struct{}

// deviceHandler serves EST and notes whose connection each request came on.
func (s *Server) deviceHandler() http.Handler {
	inner := est.Handler(enrolling{s}, est.Config{
		AllowAnonymous: true, // decided by the device type; the default is no
		Source:         s.sourceOf,
		OnError:        func(r *http.Request, err error) { s.log.Error("serving EST", "path", r.URL.Path, "err", err) },
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			s.seen(r)
		}
		inner.ServeHTTP(w, r)
	})
}

// seen registers an authenticated connection and records a device's first contact
// with its certificate. A connection whose certificate was revoked between its
// handshake and its registration is closed here.
func (s *Server) seen(r *http.Request) {
	leaf := r.TLS.PeerCertificates[0]
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok || s.authority.Load().issuerOf(leaf) == nil {
		return
	}
	serial, err := pki.SerialOf(leaf)
	if err != nil {
		return
	}
	s.sessions.add(conn, serial)
	if revoked, held := s.revoked.state(serial); revoked || held || s.now().After(leaf.NotAfter) {
		if revoked {
			s.sessionsClosed(s.sessions.closeRevoked(s.revoked))
		}
		return
	}
	profile, id, err := pki.Identity(leaf, s.cfg.TrustDomain)
	if err != nil || profile != pki.Device && profile != pki.Gateway || r.Method == http.MethodPost {
		return // a renewal activates its device by itself
	}
	s.activate(r.Context(), device.ID(id), string(profile), addrText(s.sourceOf(r)))
}

func (s *Server) activate(ctx context.Context, id device.ID, profile, source string) {
	d, err := s.store.Device(ctx, id)
	if err != nil || d.State != device.Enrolled {
		return
	}
	if d.State, err = device.Next(d.State, device.Activate, true); err != nil {
		return
	}
	d.UpdatedAt, d.SeenAt, d.Version = s.now(), s.now(), d.Version+1
	by := access.Actor{Kind: access.Device, ID: string(id), Source: source}
	if err := s.store.ActivateDevice(ctx, d, s.event(by, "device.activated", "device", string(id), "principal", enroll.Principal(profile, string(id)))); err != nil && !isChanged(err) {
		s.log.Warn("recording a device's first contact", "device", id, "err", err)
	}
}

// pkiHandler serves what certificates point to, over plain HTTP.
func (s *Server) pkiHandler() http.Handler {
	mux := http.NewServeMux()
	files := &crls{s: s, at: map[string]storedCRL{}}
	mux.Handle("GET /crl/{name}", files)
	mux.Handle("GET /ca/{name}", files)
	// OCSP by GET has base64 in its path, where // may stand: no mux may clean it.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); p == "/ocsp" || len(p) > 6 && p[:6] == "/ocsp/" {
			s.responder.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// apiHandler serves the admin API, the authorization server and the console.
func (s *Server) apiHandler() (http.Handler, error) {
	api := adminapi.Handler(adminapi.Config{
		Authenticate: s, Types: s, Zones: s, Devices: s, Enrolment: s, Certificates: s, Authority: s, Audit: s, Policies: s, Apps: s, Sessions: s, Tap: s, Roles: s, Clients: s, Watch: s, Approvals: s, People: accounts{s}, Account: accounts{s}, Status: s.Status, Version: Version, Source: s.sourceOf,
		Now: s.now, StepUp: s.cfg.Access.StepUp, Used: s.used, Limit: s.limit,
		OnError: func(id string, err error) { s.log.Error("serving the API", "request", id, "err", err) },
	})
	pages, err := s.consoleHandler(api)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/api/", "/openapi.json", "/openapi.yaml"} {
		mux.Handle(path, api)
	}
	for _, path := range []string{"/oauth/", "/.well-known/oauth-authorization-server"} {
		mux.Handle(path, s.tokens.Handler())
	}
	provisioning, err := s.scimHandler()
	if err != nil {
		return nil, err
	}
	if provisioning != nil {
		mux.Handle(scim.Prefix+"/", provisioning)
	}
	mux.Handle("/", pages)
	s.health(mux)
	return secured(drained(mux)), nil
}
