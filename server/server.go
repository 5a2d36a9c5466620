// Package server is the control plane: one process that enrols, revokes, answers
// and records.
//
// It promises that every change is one transaction with its audit event, that
// what it acknowledged survives its death, and that nothing is served by a part
// that is not ready: access fails closed. It trusts its host: whoever can read
// its memory has the issuing key, whoever can write its data folder can stop it,
// and neither can change the past of the audit log unseen.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/natsd"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/people"
	"github.com/holdfast-iot/holdfast/server/store/postgres"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Version is set at link time.
var Version = "dev"

// Server is one node. New opens what it stands on, Run serves.
type Server struct {
	cfg     config.Config
	log     *slog.Logger
	now     func() time.Time
	store   *sqlstore.Store
	bus     *natsd.Bus
	keys    keystore.Store // issuing keys
	kek     *keystore.KEK  // seals secrets in the database
	logKeys keystore.Store // the audit log's key
	node    string         // unique among running processes
	holder  string         // of leases: what a process holds, its successor may take
	started time.Time

	authority     atomic.Pointer[authority]
	revoked       *revocations
	sessions      *sessions
	responder     *responder
	auditor       *auditLog
	sources       *limiter // enrolment requests by source
	logins        *limiter // failed API authentications by source
	refusals      *limiter // audited refusals, all sources together
	metrics       *metrics
	messaging     messaging
	identities    identities
	providers     identityProviders
	allowances    *allowances
	people        *people.People
	tokens        *oauth.Server
	notifier      *notifier
	tokenRequests *limiter // requests to the token endpoints by source
	roundTrips    *limiter // answers of identity providers by source: each costs a write, and a request to the provider
	messages      *msglog.Log
	broker        *broker.Broker
	nodes         *broker.NATSCluster // nil: this node is alone
	facts         facts
	watching      watching
	verified      verified
	taps          context.Context // ends when the server drains
	endTaps       context.CancelFunc
	refused       chan broker.Event // what the broker stopped, to be recorded
	connects      *limiter          // new MQTT connections by source
	crlWake       chan struct{}
	endpoints     atomic.Pointer[Ready]
	warnings      []string
	story         io.Writer // where the demo tells what it does
	unlock        func() error
}

// Options are what few callers change; the zero value is for all others.
type Options struct {
	Now    func() time.Time // the clock; for tests
	Faults sqlstore.Faults  // for tests
	Story  io.Writer        // where the demo tells what it does; nil: the log
}

// New opens the database, the keys and the bus, and makes them on the first
// start. It listens nowhere yet.
func New(cfg config.Config, log *slog.Logger) (*Server, error) {
	return NewWith(cfg, log, Options{})
}

// NewWith is New with options.
func NewWith(cfg config.Config, log *slog.Logger, opt Options) (_ *Server, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{cfg: cfg, log: log, now: opt.Now, node: cfg.Node + "-" + uuid.NewString()[:8], started: opt.Now(), story: opt.Story, crlWake: make(chan struct{}, 1)}
	// On an embedded database the lock of the data folder proves that a process
	// before this one is gone: its leases are this one's.
	if s.holder = s.node; cfg.Database.Empty() {
		s.holder = "embedded"
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.Background()))
		}
	}()
	ctx := context.Background()
	if s.unlock, err = lock(cfg.Data); err != nil {
		return nil, err
	}
	if s.store, err = openStore(ctx, cfg, opt.Faults); err != nil {
		return nil, err
	}
	if s.keys, s.logKeys, s.kek, s.warnings, err = openKeys(cfg); err != nil {
		return nil, err
	}
	s.bus, err = natsd.Start(natsd.Config{URL: cfg.NATS.URL, Name: s.node, Log: log.With("part", "bus"),
		StoreDir: filepath.Join(cfg.Data, "messages"), SyncAlways: cfg.MQTT.Sync == "always", MaxStore: storeLimit(cfg),
		MaxPayload: cfg.MQTT.MaxPacket + envelope,
		CredsFile:  cfg.NATS.Credentials, CAFile: cfg.NATS.CA})
	if err != nil {
		return nil, err
	}
	s.revoked, s.sessions = newRevocations(), newSessions()
	s.sources = newLimiter(cfg.Enrolment.Rate, cfg.Enrolment.Burst, s.now)
	s.logins = newLimiter(0.2, 20, s.now)
	s.refusals = newLimiter(10, 100, s.now)
	s.metrics = newMetrics(s)
	s.responder = newResponder(s)
	s.facts.s = s
	s.allowances = newAllowances()
	if s.notifier, err = newNotifier(cfg.Access.Notify, log.With("part", "notifications"), s.now); err != nil {
		return nil, err
	}
	s.tokenRequests = newLimiter(5, 60, s.now)
	s.roundTrips = newLimiter(5, 100, s.now)
	s.taps, s.endTaps = context.WithCancel(context.Background())
	s.messaging.config = policy.Config{PayloadMax: cfg.MQTT.MaxPacket}
	s.connects = newLimiter(cfg.MQTT.ConnectRate, cfg.MQTT.ConnectBurst, s.now)
	if err := s.firstStart(ctx); err != nil {
		return nil, err
	}
	if s.auditor, err = openAuditLog(ctx, s); err != nil {
		return nil, err
	}
	if err := s.loadPolicy(ctx); err != nil {
		return nil, err
	}
	return s, s.openMessages(ctx, s.kek)
}

// envelope is what the message log adds to a packet, at most, in bytes.
const envelope = 80 << 10

// storeLimit bounds the files of the embedded message bus: the log, and a
// gibibyte each for retained messages, for sessions and to spare.
func storeLimit(cfg config.Config) int64 { return cfg.MQTT.RetentionBytes + 3<<30 }

// lock makes the data folder and makes sure that one process at a time uses it.
func lock(data string) (unlock func() error, err error) {
	dir := filepath.Join(data, "run")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another holdfast runs on the data folder %s: stop it, or choose another folder with --data", data)
	}
	return f.Close, nil
}

// openStore opens SQLite in the data folder, or PostgreSQL by its URL.
func openStore(ctx context.Context, cfg config.Config, faults sqlstore.Faults) (*sqlstore.Store, error) {
	if cfg.Database.Empty() {
		return sqlite.Open(ctx, filepath.Join(cfg.Data, "holdfast.db"), faults)
	}
	return postgres.Open(ctx, cfg.Database.Reveal(), faults)
}

// openKeys opens the issuing keys' store and the audit log's, which is always of
// files: TPMs do not sign with Ed25519, and the log's format asks for it.
func openKeys(cfg config.Config) (keys, logKeys keystore.Store, kek *keystore.KEK, warnings []string, err error) {
	kek, source, _, err := keystore.LoadKEK(os.Getenv, cfg.KeyEncryptionFile)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if strings.HasSuffix(source, "file "+cfg.KeyEncryptionFile) {
		warnings = append(warnings, "the key that seals the key files lies on this machine ("+cfg.KeyEncryptionFile+"): set HOLDFAST_KEY or a systemd credential in production")
	}
	if keys, err = keystore.Open(cfg.Keys, kek); err != nil {
		return nil, nil, nil, nil, err
	}
	if files, ok := keys.(*keystore.FileStore); ok {
		return keys, files, kek, warnings, nil
	}
	logKeys, err = keystore.File(filepath.Join(cfg.Data, "keys"), kek)
	return keys, logKeys, kek, warnings, err
}

// Close ends everything that New opened.
func (s *Server) Close(ctx context.Context) error {
	var errs []error
	if s.broker != nil {
		errs = append(errs, s.broker.Close(ctx))
	}
	if s.nodes != nil {
		s.nodes.Close()
	}
	if s.messages != nil {
		s.messages.Close()
	}
	if s.bus != nil {
		errs = append(errs, s.bus.Close(ctx))
	}
	if closer, ok := s.keys.(interface{ Close() error }); ok {
		errs = append(errs, closer.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// event makes an audit event; details are pairs of name and value.
func (s *Server) event(by access.Actor, action, kind, id string, details ...string) audit.Event {
	e := audit.Event{
		ID: newID(), Time: s.now().UTC().Truncate(time.Microsecond), Node: s.cfg.Node,
		Actor:  audit.Actor{Kind: string(by.Kind), ID: by.ID, Source: by.Source},
		Action: action, Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success,
	}
	for i := 0; i+1 < len(details); i += 2 {
		if details[i+1] == "" {
			continue
		}
		if e.Details == nil {
			e.Details = map[string]string{}
		}
		e.Details[details[i]] = audit.Text(details[i+1], 1024)
	}
	return e
}

// newID is unique and grows with time, so that rows written together lie together.
func newID() string {
	id, err := uuid.NewV7FromReader(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return id.String()
}
