package people

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// A refresh token is hfr_FAMILY_TURN: FAMILY stays and finds the sign-in, TURN
// changes with each use. A token whose TURN is not the present one was used
// before, by its owner or by a thief: nobody but who had it knows its FAMILY.

// badRefresh is the one answer to a refresh token that is not good.
func badRefresh() error {
	return refusal.New(refusal.Unauthenticated, "bad-refresh-token", "sign in again with `holdfast login`", "the refresh token is not valid, or the sign-in has ended")
}

func (p *People) refreshToken(family string) (Secret, sqlstore.SignInKeys, string, error) {
	var keys sqlstore.SignInKeys
	if family == "" {
		var err error
		if family, err = p.random(25); err != nil {
			return Secret{}, keys, "", err
		}
	}
	turn, err := p.random(25)
	hash, turnHash := sha256.Sum256([]byte(refreshPrefix+family)), sha256.Sum256([]byte(turn))
	keys.Hash, keys.Turn = hash[:], turnHash[:]
	return NewSecret(refreshPrefix + family + "_" + turn), keys, family, err
}

// StartCLI begins a sign-in of a command line that a signed-in person approved,
// with that person's proof. It lasts SessionRules.Absolute at most.
func (p *People) StartCLI(ctx context.Context, id access.PersonID, proof access.Proof, at Where) (Secret, SignIn, error) {
	person, _, err := p.cfg.Store.Person(ctx, id)
	if err != nil {
		return Secret{}, SignIn{}, noPerson(err, id)
	}
	if person.State != access.PersonActive {
		return Secret{}, SignIn{}, badRefresh()
	}
	rights, err := p.cfg.Rights(ctx, id)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if rights.Privileged(p.now()) && !proof.Strong {
		return Secret{}, SignIn{}, refusal.New(refusal.Forbidden, "second-factor-needed", "sign in with a second factor, then approve it again", "your roles need a second factor")
	}
	token, keys, _, err := p.refreshToken("")
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	now := p.now()
	row := sqlstore.SignIn{Keys: keys, Person: id, Kind: string(CLI), Stage: string(StageFull), Methods: proof.Method, Strong: proof.Strong,
		CreatedAt: now, SeenAt: now, FreshAt: proof.Fresh, RotatedAt: now, Source: at.source(), Agent: at.agent()}
	if row.ID, err = p.random(10); err != nil {
		return Secret{}, SignIn{}, err
	}
	row.ExpiresAt = p.ends(row, true)
	version := person.Version
	a := p.arrive(ctx, &person, row, at)
	if err := p.cfg.Store.ChangePerson(ctx, version, person, append([]sqlstore.PersonStep{sqlstore.PutSignIn(row)}, a.steps...), a.events...); err != nil {
		return Secret{}, SignIn{}, lost(err)
	}
	p.told(ctx, a.notices)
	in := signInOf(row, person)
	in.NewPlace = a.newPlace
	return token, in, nil
}

// RefreshCLI takes a refresh token and gives the next one. A token that was used
// before ends the sign-in: one of the two who have it is a thief.
func (p *People) RefreshCLI(ctx context.Context, token Secret, at Where) (Secret, SignIn, error) {
	family, turn, row, person, err := p.findCLI(ctx, token)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if !alive(row, person, p.now()) {
		return Secret{}, SignIn{}, badRefresh()
	}
	sum := sha256.Sum256([]byte(turn))
	if subtle.ConstantTimeCompare(sum[:], row.Keys.Turn) != 1 {
		return Secret{}, SignIn{}, p.reused(ctx, row, person, at)
	}
	rights, err := p.cfg.Rights(ctx, person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if rights.Privileged(p.now()) && !row.Strong { // a role that was given meanwhile
		return Secret{}, SignIn{}, badRefresh()
	}
	next := row
	token, keys, _, err := p.refreshToken(family)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	next.Keys, next.SeenAt, next.RotatedAt = keys, p.now(), p.now()
	err = p.cfg.Store.RotateSignIn(ctx, next, row.Keys)
	if isChanged(err) { // the same token twice at the same time
		return Secret{}, SignIn{}, p.reused(ctx, row, person, at)
	}
	return token, signInOf(next, person), err
}

func (p *People) findCLI(ctx context.Context, token Secret) (family, turn string, row sqlstore.SignIn, person access.Person, err error) {
	parts := strings.Split(token.text, "_")
	if len(token.text) > maxSecret || len(parts) != 3 || parts[0]+"_" != refreshPrefix {
		return "", "", row, person, badRefresh()
	}
	row, person, err = p.cfg.Store.SignInByHash(ctx, sha256.Sum256([]byte(refreshPrefix+parts[1])))
	if errors.Is(err, sqlstore.ErrNotFound) || err == nil && Kind(row.Kind) != CLI {
		err = badRefresh()
	}
	return parts[1], parts[2], row, person, err
}

// reused ends a sign-in whose refresh token came twice.
func (p *People) reused(ctx context.Context, row sqlstore.SignIn, person access.Person, at Where) error {
	e := p.event(self(person.ID, at), "person.sign_in_ended", person.ID, "sign_in", row.ID, "why", "a refresh token was used twice")
	err := p.cfg.Store.EndSignIn(ctx, person.ID, row.ID, p.now(), e)
	if err != nil && !isChanged(err) {
		return err
	}
	if err == nil {
		p.cfg.Announce()
		p.alarm(ctx, NoticeReused, person, at, "")
	}
	return badRefresh()
}

// EndCLI ends the sign-in of a refresh token, present or used. One that is not
// known is no error, and has no id.
func (p *People) EndCLI(ctx context.Context, token Secret, at Where) (id string, err error) {
	_, _, row, person, err := p.findCLI(ctx, token)
	if refusal.As(err) != nil {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return row.ID, p.SignOut(ctx, signInOf(row, person), at)
}
