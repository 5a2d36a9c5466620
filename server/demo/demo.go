// Package demo is a simulated fleet that uses a server as real devices do: a
// small water utility, driven through the admin API, over EST and over MQTT only.
//
// It promises to touch nothing but what carries the names of its fleet, to be
// repeatable on the same data (what exists is used again, what an operator cut
// off stays cut off), and to fail when the server lets something through that it
// must refuse. It trusts the CA file and the token that it is given. Its devices'
// private keys lie unsealed in Config.Dir, mode 0600, so that people can play
// with them: whoever can read that folder is those devices. It is not for servers
// that have real devices.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// Config says which server the fleet uses.
type Config struct {
	API, DeviceAPI string // base URLs
	Console        string // where people look, or the link that makes them the first administrator; may be empty
	MQTTS          string // HOST:PORT of MQTT over TLS; empty: the fleet enrols and says nothing
	CAFile         string // PEM
	Token          string // admin token
	Dir            string // where the devices keep their keys
	Log            *slog.Logger
	Out            io.Writer     // where the story is told, a line for each step; nil: in the log
	Every          time.Duration // between two renewals after the story; 0: 20 s
	Told           func()        // called once when the story is over; may be nil

	now     func() time.Time // nil: time.Now
	control time.Duration    // between two commands of the control loop; 0: controlEvery
}

const (
	renewEvery  = 20 * time.Second
	callTimeout = 15 * time.Second // of one request
)

// stage is what the steps of the story share.
type stage struct {
	cfg        Config
	tale       *teller
	fleet      *fleet
	api        *adminapi.Client
	roots      *x509.CertPool
	things     []*thing                // in the order of the inventory
	tokens     map[tokenUse]*madeToken // of this run; nil: it was refused
	maker      *maker
	works      *works // what the devices measure and move
	live       *live  // who is connected over MQTT
	scada      *app   // nil: there are none
	reader     *app
	wills      bool        // devices may leave a will
	ours       bool        // the active policy is the example's
	onDuty     atomic.Bool // the story is over: the control loop may command
	rogueTried time.Time   // when the rogue last tried; of its own goroutine
	now        func() time.Time

	current *x509.Certificate // renewed in this run, nil if none: its addresses are those of now
}

// Run enrols the fleet and keeps it going until ctx ends; then it returns nil.
// An error means that the server could not be reached or did not refuse what it
// must refuse.
func Run(ctx context.Context, cfg Config) error {
	err := run(ctx, cfg)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("running the simulated fleet: %w", err)
	}
	return nil
}

func run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every <= 0 {
		cfg.Every = renewEvery
	}
	if cfg.control <= 0 {
		cfg.control = controlEvery
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s, err := open(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, hangUp := context.WithCancel(ctx)
	defer s.live.wait()
	defer hangUp()
	started := s.now()
	s.tale.title("Riverside Water: %d simulated devices at two sites, over real protocols", len(s.fleet.devices))
	for _, step := range []func(context.Context) error{
		s.makePlaces, s.importDevices, s.trustMaker, s.lookAtStates, s.makeTokens, s.enrolAll, s.approveWaiting, s.report, s.checkIn, s.renewOne,
		s.refuseClone, s.refuseUsedToken, s.refusePrototype, s.endTokens,
		s.applyPolicy, s.goLive, s.openApps, s.showViews, s.refuseMessages, s.command, s.revokeOld, s.stealOne,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.tale.title("Told in %s. The fleet goes on: readings, commands, and every %s a device renews.", s.now().Sub(started).Round(10*time.Millisecond), cfg.Every)
	if s.live.members[rogueID] != nil {
		s.tale.title("%s misbehaves from now on. Find it in the console: what it tried, which rule stopped it, and what to do.", rogueID)
	}
	s.onDuty.Store(true)
	s.tale.ending(s.hints())
	if cfg.Told != nil {
		cfg.Told()
	}
	return s.goOn(ctx)
}

// open reads what the fleet starts from: its manifests, the CA file and what an
// earlier run left in the folder.
func open(cfg Config) (*stage, error) {
	f, err := loadFleet()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	certs, err := pki.ParseCertificatesPEM(text)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	s := &stage{cfg: cfg, fleet: f, roots: x509.NewCertPool(), tokens: map[tokenUse]*madeToken{}, now: cfg.now,
		tale: &teller{out: cfg.Out, log: cfg.Log}}
	s.works, s.live = openWorks(f.devices, s.now()), &live{s: s, members: map[string]*member{}}
	for _, c := range certs {
		s.roots.AddCert(c)
	}
	if err := durable.MakeFolder(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	s.api = &adminapi.Client{BaseURL: cfg.API, Token: adminapi.NewBearer(cfg.Token), HTTP: s.client(nil)}
	if s.maker, err = openMaker(cfg.Dir, s.now()); err != nil {
		return nil, err
	}
	for i := range f.devices {
		t, err := s.openThing(&f.devices[i])
		if err != nil {
			return nil, err
		}
		s.things = append(s.things, t)
	}
	return s, nil
}

// client trusts our CA only and presents cert, if any.
func (s *stage) client(cert *tls.Certificate) *http.Client {
	return &http.Client{Timeout: callTimeout, Transport: &http.Transport{TLSClientConfig: s.tls(cert), MaxIdleConnsPerHost: 1}}
}

func (s *stage) tls(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12, Time: s.now}
	if cert != nil {
		// Not Certificates: that list is filtered by the CAs the server names.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

func (s *stage) close() {
	s.api.HTTP.CloseIdleConnections()
	for _, t := range s.things {
		t.hangUp()
	}
}

// thing finds a device of the fleet by its id.
func (s *stage) thing(id string) (*thing, error) {
	for _, t := range s.things {
		if string(t.row.ID) == id {
			return t, nil
		}
	}
	return nil, fmt.Errorf("looking for device %s: the fleet's devices.csv has none", id)
}

// goOn renews one device after the other, as the clock ticks. A refusal (an
// operator may have cut the device off, or renewed it by hand) is no failure.
func (s *stage) goOn(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		t := s.next(i)
		if t == nil {
			continue
		}
		if err := t.renew(ctx, s); err != nil && ctx.Err() == nil {
			t.rest = s.now().Add(restAfterRefusal)
			s.cfg.Log.Info("a simulated device could not renew", "device", string(t.row.ID), "err", err)
			continue
		}
		s.cfg.Log.Debug("a simulated device renewed", "device", string(t.row.ID), "not_after", t.cert.NotAfter)
	}
}

const (
	maxLive          = 6 // certificates of one device at once, below the server's default limit
	restAfterRefusal = 10 * time.Minute
)

// next is the device whose turn it is: the first from number i on that may renew.
func (s *stage) next(i int) *thing {
	now := s.now()
	for n := range s.things {
		t := s.things[(i+n)%len(s.things)]
		if t.cert != nil && !t.cutOff && now.After(t.rest) && t.liveAt(now) < maxLive {
			return t
		}
	}
	return nil
}

// unreachable tells errors that the operator's or a device's request could not
// be answered at all from refusals.
func unreachable(err error) bool {
	_, byAPI := errors.AsType[*adminapi.Problem](err)
	return err != nil && !byAPI && problemOf(err) == nil
}
