// Package oauth is Holdfast's OAuth 2.0 authorization server for programs and
// for the command line, and the check of the access tokens that it and trusted
// issuers made.
//
// It promises that it issues a token only to a client that proved its secret or
// key at this moment (client_credentials, RFC 6749 section 4.4, RFC 7523), to a
// command line that a signed-in person approved (RFC 8628), or for a refresh
// secret that is still good; that a token allows no more than its party holds
// when it is used; that signing keys are at rest only sealed, and published a
// day before they sign; that a client's assertion, and a device code, work once;
// and that Verify accepts no algorithm, key, issuer, audience or type that was
// not named beforehand, and never follows a URL or key inside a token. There is
// no grant that sends a browser anywhere, and none that takes a password.
//
// It trusts the sign-ins and clients behind its interfaces, the clock, and the
// keys that trusted issuers publish over TLS. Whoever can write the table
// token_key cannot make a key that opens, because keys are sealed; who also
// holds the sealing key can sign as Holdfast. Whoever can delete rows of
// seen_once can replay assertions that have not ended; whoever can delete rows
// of revoked_access_token brings those tokens back for their last minutes.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// CLIClient is the client id of `holdfast login`: a public client, which has no
// secret and may use the device flow only.
const CLIClient = "holdfast-cli"

// Bounds on the life of an access token.
const (
	MinLife     = 5 * time.Minute
	MaxLife     = 15 * time.Minute
	DefaultLife = 10 * time.Minute
)

// Config is what the authorization server is made of. All functions have to be
// safe for concurrent use.
type Config struct {
	// Issuer is the URL that devices and people reach this server at, without a
	// path: https://holdfast.example.com. It is the iss of all tokens.
	Issuer string
	// Life is how long an access token lives; 0 means DefaultLife.
	Life    time.Duration
	Store   *sqlstore.Store
	Clients Clients
	SignIns SignIns
	// Rights says what a party holds now.
	Rights func(ctx context.Context, by access.Actor) (access.Rights, error)
	// StepUp is how lately a person has to have proven a factor to let a command
	// line in; 0: at any time.
	StepUp time.Duration
	// Seal and Open encrypt and authenticate with the cluster's key; Open fails
	// unless context is what Seal was given.
	Seal func(plain []byte, context string) ([]byte, error)
	Open func(sealed []byte, context string) ([]byte, error)
	// Issuers are others whose JWTs are accepted; Fetcher gets their keys and
	// must not be usable to reach internal addresses.
	Issuers []TrustedIssuer
	Fetcher *http.Client
	// Allow takes one request from a source's budget. Source is where a request
	// comes from, behind proxies too.
	Allow  func(source netip.Addr) bool
	Source func(r *http.Request) netip.Addr
	// Event makes an audit event; Refuse records one about something refused,
	// within a budget. Announce tells other nodes that a control event waits.
	Event    func(by access.Actor, action, kind, id string, details ...string) audit.Event
	Refuse   func(ctx context.Context, e audit.Event, why string)
	Announce func()
	Now      func() time.Time
	Log      *slog.Logger
}

func (c Config) check() error {
	switch u, err := url.Parse(c.Issuer); {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || c.Issuer != u.Scheme+"://"+u.Host || strings.ToLower(c.Issuer) != c.Issuer:
		return fmt.Errorf("the issuer %.200q is not a lower-case URL without a path, such as https://holdfast.example.com", c.Issuer)
	case c.Life < MinLife || c.Life > MaxLife:
		return fmt.Errorf("tokens that live %v: want %v to %v", c.Life, MinLife, MaxLife)
	case c.Store == nil || c.Clients == nil || c.SignIns == nil || c.Rights == nil || c.Seal == nil || c.Open == nil || c.Allow == nil ||
		c.Source == nil || c.Event == nil || c.Refuse == nil || c.Announce == nil || c.Now == nil || c.Log == nil:
		return errors.New("a field that has to be set is not")
	case len(c.Issuers) > 0 && c.Fetcher == nil:
		return errors.New("trusted issuers need a client to fetch their keys with")
	}
	return nil
}

// Server is the authorization server of one node. It is safe for concurrent use.
type Server struct {
	cfg     Config
	issuers map[string]*trusted // by the issuer's name
	keys    atomic.Pointer[ring]
	mux     *http.ServeMux

	reading sync.Mutex // held while the signing keys are read
	readAt  time.Time  // when they were last read because of an unknown key id; guarded by reading

	remembered remembered
	revoked    revoked
	guesses    guesses
}

// New reads the signing keys, and makes the first one if there is none.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Life == 0 {
		cfg.Life = DefaultLife
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("making the authorization server: %w", err)
	}
	s := &Server{cfg: cfg, issuers: map[string]*trusted{}}
	for _, i := range cfg.Issuers {
		if err := i.check(cfg.Issuer); err != nil {
			return nil, fmt.Errorf("making the authorization server: %w", err)
		}
		if s.issuers[i.Issuer] != nil {
			return nil, fmt.Errorf("making the authorization server: the issuer %.200q is trusted twice", i.Issuer)
		}
		s.issuers[i.Issuer] = newTrusted(i, cfg.Fetcher, cfg.Now, cfg.Log)
	}
	if err := s.rotate(ctx); err != nil {
		return nil, fmt.Errorf("making the authorization server: %w", err)
	}
	if err := s.readRevoked(ctx); err != nil {
		return nil, fmt.Errorf("making the authorization server: %w", err)
	}
	s.mux = s.routes()
	return s, nil
}

const (
	upkeepEvery  = 15 * time.Second
	sweepEvery   = 10 * time.Minute
	sweptAfter   = time.Hour // what has ended stays so long, for clocks that differ
	audienceTail = "/api"
)

// Run keeps the signing keys and revocations current, and removes what has
// ended, until ctx ends. It returns nil.
func (s *Server) Run(ctx context.Context) error {
	ticker := time.NewTicker(upkeepEvery)
	defer ticker.Stop()
	defer s.waitForFetches()
	var swept time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if now := s.cfg.Now(); now.Sub(swept) >= sweepEvery {
			swept = now
			if err := s.cfg.Store.SweepOAuth(ctx, now.Add(-sweptAfter)); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("removing what has ended at the authorization server", "err", err)
			}
		}
		if err := s.Upkeep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("keeping the authorization server's keys current", "err", err)
		}
	}
}

// Upkeep reads signing keys and revocations that other nodes wrote, and makes a
// new signing key when it is time. Run does it every 15 seconds.
func (s *Server) Upkeep(ctx context.Context) error {
	return errors.Join(s.rotate(ctx), s.readRevoked(ctx))
}

func (s *Server) waitForFetches() {
	for _, t := range s.issuers {
		t.keys.fetching.Wait()
	}
}

// Handler serves the endpoints: /oauth/ and the server's metadata under
// /.well-known/oauth-authorization-server.
func (s *Server) Handler() http.Handler { return s.mux }

// audience is the aud of the access tokens made here.
func (s *Server) audience() string { return s.cfg.Issuer + audienceTail }
