package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Request is a command line that waits to be let in. A person should compare the
// code with the one on their own screen, and the address with where they are.
type Request struct {
	Code   string // XXXX-XXXX
	Client string
	Source netip.Addr
	Agent  string // what the command line says that it is; anybody can say anything
	At     time.Time
	Until  time.Time
	Scope  []access.Permission // nil: all that the person holds
}

// Wrong codes that a person may enter in guessTime.
const (
	maxGuesses = 10
	guessTime  = 10 * time.Minute
	maxGuesser = 10_000
)

// guesses counts wrong user codes by person.
type guesses struct {
	mu     sync.Mutex
	wrong  map[string]int // guarded by mu
	opened time.Time      // when counting began; guarded by mu
}

// allowed tells whether the person may try another code.
func (g *guesses) allowed(who string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.opened) >= guessTime || now.Before(g.opened) || g.wrong == nil {
		g.wrong, g.opened = map[string]int{}, now
	}
	return g.wrong[who] < maxGuesses && (len(g.wrong) < maxGuesser || g.wrong[who] > 0)
}

func (g *guesses) miss(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong[who]++
}

// noCode says the same of codes that never were, that ended, and that somebody
// decided on.
func noCode() error {
	return refusal.New(refusal.NotFound, "no-such-code", "compare it with the one that the command line shows, or start `holdfast login` again", "no sign-in waits under this code")
}

// entry finds what a user code stands for.
type entry struct {
	hash  [32]byte
	data  []byte
	w     waiting
	until time.Time
	code  string
}

func (s *Server) enter(ctx context.Context, by access.Identity, userCode string) (e entry, err error) {
	if by.Actor.Kind != access.Human {
		return e, refusal.New(refusal.Forbidden, "not-a-person", "sign in to the console", "only a person can let a command line in")
	}
	now := s.cfg.Now()
	if !s.guesses.allowed(by.Actor.ID, now) {
		return e, refusal.New(refusal.TooMany, "too-many-codes", "wait ten minutes", "you entered too many codes that do not exist")
	}
	code, ok := readUserCode(userCode)
	if ok {
		e.code, e.hash = code, userHash(code)
		if e.data, e.until, err = s.cfg.Store.DeviceCode(ctx, e.hash); err == nil {
			err = json.Unmarshal(e.data, &e.w)
		}
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return e, fmt.Errorf("reading a device code: %w", err)
		}
	}
	if !ok || err != nil || e.w.State != waitingState || !now.Before(e.until) {
		s.guesses.miss(by.Actor.ID)
		return e, noCode()
	}
	return e, nil
}

// Pending shows what waits under a user code, before the person decides.
func (s *Server) Pending(ctx context.Context, by access.Identity, userCode string) (Request, error) {
	e, err := s.enter(ctx, by, userCode)
	if err != nil {
		return Request{}, err
	}
	r := Request{Code: shownCode(e.code), Client: CLIClient, Source: e.w.Source, Agent: e.w.Agent, At: e.w.At, Until: e.until}
	if e.w.Scope != nil {
		for name := range strings.FieldsSeq(*e.w.Scope) {
			r.Scope = append(r.Scope, access.Permission(name))
		}
	}
	return r, nil
}

// Approve lets the command line act as the person. It asks for a fresh factor
// (access.StepUp) if Config.StepUp says so.
func (s *Server) Approve(ctx context.Context, by access.Identity, userCode string) error {
	return s.decide(ctx, by, userCode, approvedState, "device_code.approved")
}

// Deny turns the command line away.
func (s *Server) Deny(ctx context.Context, by access.Identity, userCode string) error {
	return s.decide(ctx, by, userCode, deniedState, "device_code.denied")
}

func (s *Server) decide(ctx context.Context, by access.Identity, userCode, state, action string) error {
	for range 3 { // the command line polls meanwhile
		e, err := s.enter(ctx, by, userCode)
		if err != nil {
			return err
		}
		if state == approvedState && s.cfg.StepUp > 0 && by.NeedStepUp(s.cfg.StepUp, s.cfg.Now()) {
			return access.StepUp()
		}
		e.w.State, e.w.Person, e.w.Proof, e.w.ApprovedIn = state, access.PersonID(by.Actor.ID), by.Proof, by.Session
		event := s.cfg.Event(by.Actor, action, "person", by.Actor.ID, "client", CLIClient, "source", sourceText(e.w.Source), "agent", e.w.Agent)
		err = s.cfg.Store.UpdateDeviceCode(ctx, e.hash, e.data, e.w.encode(), by.Actor.ID, event)
		if !errors.Is(err, sqlstore.ErrChanged) {
			return err
		}
	}
	return refusal.New(refusal.Conflict, "changed-meanwhile", "try again", "the code was used at the same moment")
}
