package oauth

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"
)

const (
	// recheckEvery is how long a token that was proven is taken without asking
	// for its client or sign-in again.
	recheckEvery  = 10 * time.Second
	maxRemembered = 10_000
)

// known is a token whose signature was verified.
type known struct {
	Claims
	own      bool // made here
	keep     bool // may be remembered: it may be used more than once
	networks []netip.Prefix
	checked  time.Time // when recheck last passed
}

// remembered keeps tokens that were proven, by the hash of their text, so that a
// request with one costs no signature check and no query.
type remembered struct {
	mu     sync.RWMutex
	tokens map[[32]byte]known // guarded by mu
	forgot uint64             // calls of forget: what was asked before one is not kept; guarded by mu
}

func (r *remembered) get(key [32]byte, now time.Time) (known, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.tokens[key]
	return k, ok && now.Before(k.ExpiresAt)
}

func (r *remembered) seen() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.forgot
}

// put keeps a token that was checked since seen.
func (r *remembered) put(key [32]byte, k known, seen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forgot != seen {
		return
	}
	if r.tokens == nil {
		r.tokens = map[[32]byte]known{}
	}
	for old := range r.tokens {
		if len(r.tokens) < maxRemembered {
			break
		}
		delete(r.tokens, old)
	}
	r.tokens[key] = k
}

func (r *remembered) drop(key [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tokens, key)
}

// Forget makes the next use of tokens ask anew: those of an API client (its id)
// or of a sign-in (its id, or its person's) that changed or ended.
func (s *Server) Forget(id string) {
	r := &s.remembered
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgot++
	maps.DeleteFunc(r.tokens, func(_ [32]byte, k known) bool {
		return k.Client == id || k.SignIn != "" && k.SignIn == id || k.Person != "" && string(k.Person) == id
	})
}

// revoked knows the tokens that were taken back.
type revoked struct {
	mu   sync.RWMutex
	ends map[string]time.Time // by jti; guarded by mu
}

func (r *revoked) has(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.ends[id]
	return ok
}

// add also drops those that ended by themselves.
func (r *revoked) add(ends map[string]time.Time, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.ends, func(_ string, end time.Time) bool { return now.After(end.Add(MaxLife)) })
	if r.ends == nil {
		r.ends = map[string]time.Time{}
	}
	maps.Copy(r.ends, ends)
}

// Revoked learns of a token that another node took back: the subject of a
// control event of kind sqlstore.ChangeAccessToken.
func (s *Server) Revoked(id string) {
	now := s.cfg.Now()
	s.revoked.add(map[string]time.Time{id: now.Add(MaxLife)}, now)
}

func (s *Server) readRevoked(ctx context.Context) error {
	now := s.cfg.Now()
	ends, err := s.cfg.Store.RevokedAccessTokens(ctx, now)
	if err != nil {
		return fmt.Errorf("reading which access tokens were taken back: %w", err)
	}
	s.revoked.add(ends, now)
	return nil
}
