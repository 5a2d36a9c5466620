package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/enroll"
)

// bearer puts a profile's access token on each request and renews it when it is
// about to end. It is safe for concurrent use.
type bearer struct {
	a     *app
	name  string // of the profile
	inner http.RoundTripper
	// renews is off where no time is to renew: a renewal that is cut off costs
	// the sign-in.
	renews bool

	mu   sync.Mutex
	have tokens // guarded by mu
}

const (
	renewAhead   = time.Minute      // before the end of the access token
	endingRevoke = 10 * time.Second // for telling the server that a sign-in has ended
)

// RoundTrip sends the request with a token, and once more with a new one if the
// server does not take it: clocks differ.
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.token(req.Context(), enroll.Secret{})
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	again := req.Body == nil || req.GetBody != nil
	res, err := b.send(req, token, false)
	if err != nil || res.StatusCode != http.StatusUnauthorized || !again || !b.renews {
		return res, err
	}
	fresh, err := b.token(req.Context(), token)
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	res.Body.Close()
	return b.send(req, fresh, true)
}

func (b *bearer) send(req *http.Request, token enroll.Secret, again bool) (*http.Response, error) {
	with := req.Clone(req.Context())
	with.Header.Set("Authorization", "Bearer "+token.Reveal())
	if again && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		with.Body = body
	}
	return b.inner.RoundTrip(with)
}

// token is an access token that has not ended, and is not the refused one.
func (b *bearer) token(ctx context.Context, refused enroll.Secret) (enroll.Secret, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	usable := func(t tokens, ahead time.Duration) bool {
		return !t.Access.Empty() && t.Access.Reveal() != refused.Reveal() && b.a.now().Add(ahead).Before(t.Expires)
	}
	if usable(b.have, renewAhead) || !b.renews && usable(b.have, 0) {
		return b.have.Access, nil
	}
	if !b.renews {
		return enroll.Secret{}, errors.New("the access token has ended")
	}
	renewed, err := b.a.renewProfile(ctx, b.name, func(t tokens) bool { return usable(t, renewAhead) })
	if err != nil {
		// What is left of its last minute is better than nothing.
		if usable(b.have, 0) && !errors.Is(err, errSignInEnded) {
			return b.have.Access, nil
		}
		return enroll.Secret{}, err
	}
	b.have = renewed
	return b.have.Access, nil
}

// errSignInEnded is inside errors that only a new login mends.
var errSignInEnded = errors.New("you are not logged in")

func mustLogIn(name, why string) error {
	return fixing("run `holdfast login --profile "+name+"`", fmt.Errorf("%w: %s", errSignInEnded, why))
}

// renewProfile renews a profile's tokens unless another process has done so,
// which good tells. A refresh token works once, and using it twice looks like
// theft to the server. So one process renews at a time, and says so in the file
// before it asks:
//
//  1. The lock is taken; the file is read again.
//  2. Renewing is written. A crash from here on leaves the mark.
//  3. The server is asked. It trades the token for the next ones.
//  4. The new tokens are written, without the mark.
//
// Who finds the mark under the lock knows that the renewal was interrupted, ends
// the sign-in (which a used token may do as well) and asks for a new one. An
// interrupt key does not stop what began.
func (a *app) renewProfile(ctx context.Context, name string, good func(tokens) bool) (tokens, error) {
	unlock, err := a.lockProfiles(ctx)
	if err != nil {
		return tokens{}, err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	all, err := a.readProfiles()
	if err != nil {
		return tokens{}, err
	}
	p, ok := all.ByName[name]
	switch {
	case !ok:
		return tokens{}, noProfile(name, all)
	case !p.Renewing.IsZero():
		told := a.endSignIn(ctx, p)
		p.Tokens, p.Renewing = tokens{}, time.Time{}
		all.ByName[name] = p
		err := a.writeProfiles(all)
		if told != nil && err == nil {
			fmt.Fprintf(a.err, "the old sign-in could not be ended: end it in the console, under your account\n")
		}
		return tokens{}, errors.Join(mustLogIn(name, "a renewal of the sign-in was interrupted"), err)
	case good(p.Tokens):
		return p.Tokens, nil
	case p.Tokens.empty():
		return tokens{}, mustLogIn(name, "profile "+name+" has no sign-in")
	}
	z, err := a.authorizer(p)
	if err != nil {
		return tokens{}, err
	}
	keep := func() error {
		all.ByName[name] = p
		return a.writeProfiles(all)
	}
	p.Renewing = a.now()
	if err := keep(); err != nil {
		return tokens{}, err
	}
	renewed, err := z.renew(ctx, p.Tokens.Refresh)
	if err == nil {
		p.Tokens, p.Renewing = renewed, time.Time{}
		if err := keep(); err != nil { // the mark stays: the next command logs in again
			fmt.Fprintf(a.err, "the renewed sign-in could not be kept, so the next command will ask you to log in: %s\n", plain(err.Error()))
		}
		return renewed, nil
	}
	return tokens{}, a.renewalFailed(name, &p, keep, err)
}

// renewalFailed leaves the mark only if nobody knows what became of the token.
func (a *app) renewalFailed(name string, p *profile, keep func() error, err error) error {
	said, isSaid := errors.AsType[*oauthError](err)
	if _, lost := errors.AsType[*lostError](err); lost {
		return fixing("run `holdfast login --profile "+name+"`", fmt.Errorf("renewing the sign-in: %w", err))
	}
	p.Renewing = time.Time{}
	ended := isSaid && said.Code == "invalid_grant"
	if ended {
		p.Tokens = tokens{}
	}
	if kept := keep(); kept != nil {
		return errors.Join(err, kept)
	}
	if ended {
		return mustLogIn(name, "the sign-in has ended")
	}
	return fmt.Errorf("renewing the sign-in: %w", err)
}

// endSignIn tells the server that a profile's sign-in has ended, if it has one.
func (a *app) endSignIn(ctx context.Context, p profile) error {
	if p.Tokens.Refresh.Empty() {
		return nil
	}
	z, err := a.authorizer(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endingRevoke)
	defer cancel()
	return z.revoke(ctx, p.Tokens.Refresh)
}

func (a *app) authorizer(p profile) (*authorizer, error) {
	client, err := pinnedClient([]byte(p.CA))
	if err != nil {
		return nil, err
	}
	return &authorizer{server: p.Server, http: client, now: a.now}, nil
}
