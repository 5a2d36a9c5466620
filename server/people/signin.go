package people

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Kind is where a sign-in is used.
type Kind string

const (
	// Console is a browser with a cookie.
	Console Kind = "console"
	// CLI is the command line with a refresh token.
	CLI Kind = "cli"
)

// Stage is how far a sign-in got. Only StageFull may do anything but go on.
type Stage string

const (
	// StageFactor waits for a second factor.
	StageFactor Stage = "factor"
	// StageEnrol waits until the person has set up a second factor: a passkey, or
	// a password and an authenticator app.
	StageEnrol Stage = "enrol"
	// StagePassword waits for a new password.
	StagePassword Stage = "password"
	// StageFull is signed in.
	StageFull Stage = "full"
)

// The methods by which people prove themselves, as access.Proof names them.
const (
	ByPassword = "password"
	ByPasskey  = "passkey"
	ByTOTP     = "totp"
	ByRecovery = "recovery-code"
	ByInvite   = "invitation"
)

// SignIn is a person in front of a browser or a command line.
type SignIn struct {
	ID        string
	Person    access.Person
	Kind      Kind
	Stage     Stage
	Methods   []string // in the order they were proven
	Strong    bool     // a second factor, or one that resists phishing, was proven
	CreatedAt time.Time
	SeenAt    time.Time // to the minute
	FreshAt   time.Time // when a factor was last proven
	ExpiresAt time.Time // if nothing more happens
	Source    string    // address at the sign-in
	Agent     string
	NewPlace  bool   // only from the step that completed it: never seen with this person
	Upstream  string // the identity provider's session, for signing out there

	row sqlstore.SignIn
}

// Proof is how the person was proven.
func (s SignIn) Proof() access.Proof {
	method := ""
	if len(s.Methods) > 0 {
		method = s.Methods[len(s.Methods)-1]
	}
	return access.Proof{Method: method, Fresh: s.FreshAt, Strong: s.Strong}
}

func signInOf(row sqlstore.SignIn, person access.Person) SignIn {
	s := SignIn{ID: row.ID, Person: person, Kind: Kind(row.Kind), Stage: Stage(row.Stage), Strong: row.Strong, CreatedAt: row.CreatedAt, SeenAt: row.SeenAt,
		FreshAt: row.FreshAt, ExpiresAt: row.ExpiresAt, Source: row.Source, Agent: row.Agent, Upstream: row.Upstream, row: row}
	if row.Methods != "" {
		s.Methods = strings.Split(row.Methods, ",")
	}
	return s
}

// How long a sign-in that is not full may take.
const (
	factorTime = 10 * time.Minute
	enrolTime  = 30 * time.Minute
)

// step is what somebody did to begin a sign-in or to go on with one.
type step struct {
	person   access.Person
	proofs   sqlstore.Proofs
	was      *sqlstore.SignIn // nil: it begins
	kind     Kind
	method   string // what was proven; empty: nothing
	strong   bool   // no other factor has to be asked for
	enrolled bool   // it set up a factor, so that an invited person is one now
	replaced bool   // it set a new password
	renewed  bool   // it is a step-up
	keep     bool   // the version does not grow
	tell     bool   // it wrote control events
	upstream string
	// elsewhere is when an identity provider proved it, zero if nobody knows; nil: it
	// was proven here and now. A session over there that nobody asked for a password
	// is no fresh proof.
	elsewhere *time.Time
	at        Where
	spent     []sqlstore.PersonStep // what it used up or changed
	events    []audit.Event
	notices   []Notice
}

// advance writes what a step leads to, in one transaction with everything that
// the step used up: the sign-in at its next stage. Its cookie is another one then,
// as it is after a step-up; the cookie is empty when it stays.
func (p *People) advance(ctx context.Context, st step) (Secret, SignIn, error) {
	now := p.now()
	rights, err := p.cfg.Rights(ctx, st.person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	privileged := rights.Privileged(now)
	row := sqlstore.SignIn{Person: st.person.ID, Kind: string(st.kind), CreatedAt: now, Source: st.at.source(), Agent: st.at.agent()}
	before := Stage("")
	var oldHash []byte
	if st.was != nil {
		row, before, oldHash = *st.was, Stage(st.was.Stage), st.was.Keys.Hash
	} else if row.ID, err = p.random(10); err != nil {
		return Secret{}, SignIn{}, err
	}
	methods := fields(row.Methods)
	if st.method != "" && !slices.Contains(methods, st.method) {
		methods = append(methods, st.method)
	}
	row.Methods, row.Strong = strings.Join(methods, ","), row.Strong || st.strong
	if st.upstream != "" {
		row.Upstream = st.upstream
	}
	stage, err := p.stageAfter(ctx, st, row, privileged)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	var secret Secret
	row.Stage, row.Tries, row.SeenAt = string(stage), 0, now
	switch {
	case st.kind == CLI: // a refresh token changes when it is used, not here
	case before == StageFull && stage == StageFull && !st.renewed:
		row.RotatedAt = time.Time{} // the next request brings the browser a new cookie
	default:
		var hash [32]byte
		if secret, hash, err = p.secret(cookiePrefix, 32); err != nil {
			return Secret{}, SignIn{}, err
		}
		row.Keys, row.RotatedAt = sqlstore.SignInKeys{Hash: hash[:]}, now
		if before == StageFull && stage == StageFull { // requests are on their way with the old one
			row.Keys.Old = oldHash
		}
	}
	switch {
	case st.elsewhere != nil && st.elsewhere.After(now):
		row.FreshAt = now
	case st.elsewhere != nil && st.elsewhere.After(row.FreshAt):
		row.FreshAt = st.elsewhere.UTC().Truncate(time.Microsecond)
	case st.elsewhere == nil && st.method != "":
		row.FreshAt = now
	}
	row.ExpiresAt = p.ends(row, privileged)
	person, version := st.person, st.person.Version
	if !st.keep {
		person.Version++
	}
	steps, events, notices := st.spent, st.events, st.notices
	if st.was == nil {
		steps = append(steps, sqlstore.PutSignIn(row))
	} else {
		steps = append(steps, sqlstore.MoveSignIn(row, oldHash))
	}
	in := SignIn{}
	if stage == StageFull && before != StageFull {
		more := p.arrive(ctx, &person, row, st.at)
		steps, events, notices, in.NewPlace = append(steps, more.steps...), append(events, more.events...), append(notices, more.notices...), more.newPlace
	}
	if err := p.cfg.Store.ChangePerson(ctx, version, person, steps, events...); err != nil {
		return Secret{}, SignIn{}, lost(err)
	}
	if stage == StageFull {
		p.guard.forgive(person.Name, st.at.Source)
	}
	if st.tell || person.State != st.person.State {
		p.cfg.Announce()
	}
	p.told(ctx, notices)
	newPlace := in.NewPlace
	in = signInOf(row, person)
	in.NewPlace = newPlace
	return secret, in, nil
}

// lost says what to do after a race or a replay.
func lost(err error) error {
	switch {
	case errors.Is(err, sqlstore.ErrSpent):
		return refusal.New(refusal.Unauthenticated, "used-already", "wait for the next code, or begin again", "this code, link or answer was used already")
	case isChanged(err):
		return refusal.New(refusal.Conflict, "changed-meanwhile", "begin again", "the account or the sign-in changed meanwhile")
	}
	return err
}

func (p *People) told(ctx context.Context, notices []Notice) {
	for _, n := range notices {
		p.cfg.Alarm(ctx, n)
	}
}

func fields(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// stageAfter is where a sign-in goes from what was proven.
func (p *People) stageAfter(ctx context.Context, st step, row sqlstore.SignIn, privileged bool) (Stage, error) {
	invited := st.person.State == access.PersonInvited && !st.enrolled
	switch {
	case invited:
		return StageEnrol, nil
	case !row.Strong:
		second, err := p.hasSecond(ctx, st.person.ID, st.proofs)
		if err != nil {
			return "", err
		}
		if second {
			return StageFactor, nil
		}
		if privileged {
			return StageEnrol, nil
		}
	}
	if slices.Contains(fields(row.Methods), ByPassword) && !st.replaced && p.mustReplace(st.proofs) {
		return StagePassword, nil
	}
	return StageFull, nil
}

func (p *People) mustReplace(proofs sqlstore.Proofs) bool {
	return proofs.Password != "" && (proofs.PasswordAt.IsZero() || p.cfg.Passwords.Expired(proofs.PasswordAt, p.now()))
}

// hasSecond tells whether the person has a second factor: a passkey or an
// authenticator app.
func (p *People) hasSecond(ctx context.Context, id access.PersonID, proofs sqlstore.Proofs) (bool, error) {
	if len(proofs.TOTP) > 0 {
		return true, nil
	}
	keys, err := p.cfg.Store.Passkeys(ctx, id)
	return len(keys) > 0, err
}

// ends is when a sign-in ends if nothing more happens.
func (p *People) ends(row sqlstore.SignIn, privileged bool) time.Time {
	limit := row.CreatedAt.Add(p.cfg.Sessions.Absolute)
	var end time.Time
	switch {
	case Kind(row.Kind) == CLI:
		return limit
	case Stage(row.Stage) == StageFull:
		return p.cfg.Sessions.Ends(access.SessionTimes{Created: row.CreatedAt, Seen: row.SeenAt, Privileged: privileged})
	case Stage(row.Stage) == StageFactor:
		end = row.SeenAt.Add(factorTime)
	default:
		end = row.SeenAt.Add(enrolTime)
	}
	if limit.Before(end) {
		return limit
	}
	return end
}

// arrival is what a completed sign-in brings with it.
type arrival struct {
	steps    []sqlstore.PersonStep
	events   []audit.Event
	notices  []Notice
	newPlace bool
}

// arrive makes an invited person an active one, and remembers the place.
func (p *People) arrive(ctx context.Context, person *access.Person, row sqlstore.SignIn, at Where) (a arrival) {
	now := p.now()
	person.SignedInAt = now
	if person.State == access.PersonInvited {
		person.State, person.EnabledAt = access.PersonActive, now
		a.steps = append(a.steps, sqlstore.DropLinks(linkKind), sqlstore.EndOthers(row.ID, now), sqlstore.Tell(now))
	}
	name := place(at)
	known, err := p.cfg.Store.KnownPlace(ctx, person.ID, name)
	if err == nil && !known {
		var n int
		n, err = p.cfg.Store.Places(ctx, person.ID)
		a.newPlace = n > 0
	}
	if err != nil { // the sign-in is worth more than the notice
		p.cfg.Log.Warn("looking for a place that was seen before", "err", err)
	}
	a.steps = append(a.steps, sqlstore.SeePlace(name, now))
	details := []string{"sign_in", row.ID, "kind", row.Kind, "methods", row.Methods}
	notice := func(kind NoticeKind) {
		a.notices = append(a.notices, Notice{kind, *person, at.source(), at.agent(), now, ""})
	}
	if a.newPlace {
		details = append(details, "new_place", "yes")
		notice(NoticeNewPlace)
	}
	if person.BreakGlass {
		details = append(details, "break_glass", "yes")
		notice(NoticeBreakGlass)
	}
	a.events = append(a.events, p.event(self(person.ID, at), "person.signed_in", person.ID, details...))
	return a
}

// rotateEvery is the age at which a cookie is replaced, grace how long the one
// before still counts.
const (
	rotateEvery = 15 * time.Minute
	grace       = 30 * time.Second
	touchEvery  = time.Minute
)

// notSignedIn is the one answer to a cookie that is not good, whatever is wrong.
func notSignedIn() error {
	return refusal.New(refusal.Unauthenticated, "not-signed-in", "sign in", "you are not signed in, or the sign-in has ended")
}

// Resume finds the sign-in of a cookie: one read for nearly every request. When
// the returned cookie is not empty, the browser is to keep that one from now on.
func (p *People) Resume(ctx context.Context, cookie Secret, at Where) (SignIn, Secret, error) {
	hash, ok := hashOf(cookie, cookiePrefix)
	if !ok {
		return SignIn{}, Secret{}, notSignedIn()
	}
	now, old := p.now(), false
	row, person, err := p.cfg.Store.SignInByHash(ctx, hash)
	if errors.Is(err, sqlstore.ErrNotFound) {
		old = true
		row, person, err = p.cfg.Store.SignInByOldHash(ctx, hash)
	}
	if errors.Is(err, sqlstore.ErrNotFound) {
		return SignIn{}, Secret{}, notSignedIn()
	}
	if err != nil {
		return SignIn{}, Secret{}, err
	}
	if !alive(row, person, now) || Kind(row.Kind) != Console || old && now.Sub(row.RotatedAt) > grace {
		return SignIn{}, Secret{}, notSignedIn()
	}
	in, next := signInOf(row, person), Secret{}
	switch {
	case old && row.Keys.Salt == nil: // replaced by a step-up: what it proved is the new cookie's
		in.FreshAt = time.Time{}
		in.row.Keys.Hash = nil
	case old: // the answer with the new cookie was lost, or is on its way
		next = successor(cookie, row.Keys.Salt)
	case in.Stage == StageFull && now.Sub(row.RotatedAt) >= rotateEvery:
		if in.row, next, err = p.rotate(ctx, row, cookie); err != nil {
			return SignIn{}, Secret{}, err
		}
	}
	if err := p.keepAlive(ctx, &in); err != nil {
		return SignIn{}, Secret{}, err
	}
	return in, next, nil
}

// alive tells whether a sign-in counts.
func alive(row sqlstore.SignIn, person access.Person, now time.Time) bool {
	return row.EndedAt.IsZero() && now.Before(row.ExpiresAt) &&
		(person.State == access.PersonActive || person.State == access.PersonInvited && Stage(row.Stage) == StageEnrol)
}

// keepAlive moves the end of a sign-in that is used, at most once a minute, and
// asks for a second factor where a role that was given meanwhile needs one.
func (p *People) keepAlive(ctx context.Context, in *SignIn) error {
	now := p.now()
	due := now.Sub(in.SeenAt) >= touchEvery
	if in.Stage != StageFull || !due && in.Strong {
		return nil
	}
	rights, err := p.cfg.Rights(ctx, in.Person.ID)
	if err != nil {
		return err
	}
	privileged := rights.Privileged(now)
	if due {
		in.row.SeenAt = now
		in.row.ExpiresAt = p.ends(in.row, privileged)
		in.SeenAt, in.ExpiresAt = now, in.row.ExpiresAt
		if err := p.cfg.Store.TouchSignIn(ctx, in.ID, now, in.ExpiresAt); err != nil {
			return err
		}
	}
	if privileged && !in.Strong {
		_, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
		if err != nil {
			return err
		}
		second, err := p.hasSecond(ctx, in.Person.ID, proofs)
		if err != nil {
			return err
		}
		in.Stage = StageEnrol
		if second {
			in.Stage = StageFactor
		}
	}
	return nil
}

// successor is the cookie after one: who holds that one and asks within grace
// gets the same again, and without the salt nobody can make it.
func successor(cookie Secret, salt []byte) Secret {
	sum := sha256.Sum256(slices.Concat(salt, []byte(cookie.text)))
	return NewSecret(cookiePrefix + code32.EncodeToString(sum[:]))
}

// rotate replaces a cookie. When another request did so just now, its successor
// is found by that one's salt.
func (p *People) rotate(ctx context.Context, row sqlstore.SignIn, cookie Secret) (sqlstore.SignIn, Secret, error) {
	salt := make([]byte, 32)
	if _, err := io.ReadFull(p.cfg.Random, salt); err != nil {
		return row, Secret{}, err
	}
	now, next := p.now(), row
	secret := successor(cookie, salt)
	hash := sha256.Sum256([]byte(secret.text))
	next.Keys = sqlstore.SignInKeys{Hash: hash[:], Old: row.Keys.Hash, Salt: salt}
	next.RotatedAt = now
	err := p.cfg.Store.RotateSignIn(ctx, next, row.Keys)
	if err == nil {
		return next, secret, nil
	}
	if !isChanged(err) {
		return row, Secret{}, err
	}
	if next, _, err = p.cfg.Store.SignIn(ctx, row.ID); err != nil || !bytes.Equal(next.Keys.Old, row.Keys.Hash) || !next.EndedAt.IsZero() {
		return row, Secret{}, notSignedIn()
	}
	if next.Keys.Salt == nil {
		return row, Secret{}, nil
	}
	return next, successor(cookie, next.Keys.Salt), nil
}
