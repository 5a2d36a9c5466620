package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/demo"
)

// Ready says where everything is; it is also DATA/run/ready.json.
type Ready struct {
	Console        string   `json:"console"`
	API            string   `json:"api"`
	DeviceAPI      string   `json:"device_api"`
	PKI            string   `json:"pki"`
	MQTTS          string   `json:"mqtts"`
	WSS            string   `json:"wss"`
	Metrics        string   `json:"metrics"`
	CAFile         string   `json:"ca_file"`
	AdminTokenFile string   `json:"admin_token_file,omitempty"`
	SignIn         string   `json:"sign_in,omitempty"` // one-time link of the first person, until they followed it
	PID            int      `json:"pid"`
	Warnings       []string `json:"-"`
}

// drainTime bounds the end of requests under way after the stop was asked for.
const drainTime = 6 * time.Second

// Run listens, serves until ctx ends, drains and closes everything. ready is
// called once when all listeners serve. A Server runs once.
func (s *Server) Run(ctx context.Context, ready func(Ready)) (err error) {
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		err = errors.Join(err, s.Close(closing))
	}()
	l, err := s.listen()
	if err != nil {
		return err
	}
	defer l.close()
	s.endpoints.Store(s.addresses(l))
	if err := s.openAccess(ctx); err != nil {
		return err
	}
	own := &ownCert{s: s}
	version, err := s.prepareToServe(ctx, own)
	if err != nil {
		return err
	}
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	failed := make(chan error, 16)
	start := func(name string, loop func(context.Context) error) {
		wg.Go(func() {
			if err := loop(loops); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("control events", func(ctx context.Context) error { return s.watchChanges(ctx, version) })
	start("audit log", s.auditor.sequence)
	start("audit witnesses", s.auditor.askWitnesses)
	start("syslog", s.sendSyslog)
	start("revocation lists", s.makeCRLs)
	start("reservations", s.tidy)
	start("server certificate", own.keep)
	start("refused messages", s.recordRefused)
	start("message rates", s.watch)
	start("permissions used", s.recordUses)
	start("accounts", s.people.Run)
	start("access tokens", s.tokens.Run)
	start("webhook", s.notifier.runWebhook)
	start("mail", s.notifier.runMail)
	api, err := s.apiHandler()
	if err != nil {
		return err
	}
	servers := s.serve(l, own, api, failed)
	start("MQTT", func(ctx context.Context) error { return s.serveMQTT(ctx, l.mqtts, own) })
	if err = s.announceReady(ready); err == nil {
		if s.cfg.Demo {
			start("demo", s.demo)
		}
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
		s.log.Info("draining")
	}
	os.Remove(s.readyFile())
	drain(servers)
	l.mqtts.Close()
	if cerr := s.closeBroker(); err == nil {
		err = cerr
	}
	stop()
	wg.Wait()
	return err
}

func (s *Server) addresses(l listeners) *Ready {
	r := &Ready{
		Console: s.consoleURL(l.api), API: "https://" + reachable(l.api), DeviceAPI: "https://" + reachable(l.device),
		PKI: "http://" + reachable(l.pki), MQTTS: reachable(l.mqtts), WSS: "wss://" + reachable(l.wss) + webSocketPath, Metrics: "http://" + reachable(l.metrics),
		CAFile: filepath.Join(s.cfg.Data, "ca.pem"), PID: os.Getpid(), Warnings: s.warnings,
	}
	if path := filepath.Join(s.cfg.Data, adminTokenFile); fileExists(path) {
		r.AdminTokenFile = path
	}
	return r
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// reachable is a listener's address as a client on this machine would write it.
func reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// prepareToServe loads what every request needs. The version of changes is read
// first: what happens after it is caught up with.
func (s *Server) prepareToServe(ctx context.Context, own *ownCert) (version int64, err error) {
	if version, err = s.store.ChangeVersion(ctx); err != nil {
		return 0, err
	}
	if err := s.loadAuthority(ctx); err != nil {
		return 0, err
	}
	if s.authority.Load().active == nil {
		return 0, errors.New("starting: no issuing key of this installation is on this server: servers that share a database share the keys (configuration field keys) and the key that seals them")
	}
	if err := s.loadRevocations(ctx); err != nil {
		return 0, err
	}
	if err := own.renew(ctx); err != nil {
		return 0, err
	}
	var bundle []byte
	for _, root := range s.authority.Load().roots {
		bundle = append(bundle, pki.EncodePEM("CERTIFICATE", root.Raw)...)
	}
	return version, durable.WriteFile(filepath.Join(s.cfg.Data, "ca.pem"), bundle, 0o644)
}

func (s *Server) readyFile() string { return filepath.Join(s.cfg.Data, "run", "ready.json") }

// announceReady writes ready.json and tells the caller.
func (s *Server) announceReady(ready func(Ready)) error {
	r := *s.endpoints.Load()
	link, first, err := s.people.FirstAdmin(context.Background())
	if err != nil {
		return err
	}
	if first {
		r.SignIn = s.linkURL(link)
		s.endpoints.Store(&r)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.readyFile(), append(text, '\n'), 0o600); err != nil {
		return err
	}
	s.log.Info("ready", "api", r.API, "device_api", r.DeviceAPI)
	if ready != nil {
		ready(r)
	}
	return nil
}

// serve starts the HTTP servers; one that fails ends the process.
func (s *Server) serve(l listeners, own *ownCert, handler http.Handler, failed chan<- error) []*http.Server {
	api := s.newHTTP(handler)
	api.TLSConfig = own.apiTLS()
	api.RegisterOnShutdown(s.endTaps)
	devices := s.newHTTP(s.deviceHandler())
	devices.TLSConfig = s.deviceTLS(own)
	devices.ReadTimeout = 30 * time.Second
	devices.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	devices.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			s.sessions.remove(c)
		}
	}
	sockets := s.newHTTP(s.webSocketHandler())
	sockets.TLSConfig = s.mqttTLS(own)
	sockets.TLSConfig.NextProtos = []string{"http/1.1"}
	public := s.newHTTP(s.pkiHandler())
	public.ReadTimeout = 30 * time.Second
	numbers := s.newHTTP(s.metricsHandler())
	numbers.ReadTimeout = 30 * time.Second
	for _, one := range []struct {
		srv *http.Server
		l   net.Listener
		tls bool
	}{{api, l.api, true}, {devices, l.device, true}, {sockets, l.wss, true}, {public, l.pki, false}, {numbers, l.metrics, false}} {
		go func() {
			err := error(nil)
			if one.tls {
				err = one.srv.ServeTLS(one.l, "", "")
			} else {
				err = one.srv.Serve(one.l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	return []*http.Server{api, devices, sockets, public, numbers}
}

// newHTTP has the bounds that every listener needs.
func (s *Server) newHTTP(h http.Handler) *http.Server {
	return &http.Server{Handler: unambiguous(h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(quiet{s.log.Handler()}, slog.LevelDebug)}
}

// quiet keeps handshake failures, which outsiders cause, out of the log below
// debug level; metrics count them.
type quiet struct{ slog.Handler }

func drain(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() {
			if srv.Shutdown(ctx) != nil {
				srv.Close()
			}
		})
	}
	wg.Wait()
}

// demo runs the simulated fleet against this server's own listeners.
func (s *Server) demo(ctx context.Context) error {
	r := s.endpoints.Load()
	token, err := os.ReadFile(filepath.Join(s.cfg.Data, adminTokenFile))
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Config{API: r.API, Console: cmp.Or(r.SignIn, r.Console), DeviceAPI: r.DeviceAPI, MQTTS: r.MQTTS, CAFile: r.CAFile, Token: strings.TrimSpace(string(token)),
		Dir: filepath.Join(s.cfg.Data, "demo"), Log: s.log.With("part", "demo"), Out: s.story})
}
