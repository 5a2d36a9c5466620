package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testPeople(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testPersonFields(begin(t, b)) })
	t.Run("Listing", func(t *testing.T) { testPeopleListing(begin(t, b)) })
	t.Run("Versions", func(t *testing.T) { testPersonVersions(begin(t, b)) })
	t.Run("Proofs", func(t *testing.T) { testProofs(begin(t, b)) })
	t.Run("Once", func(t *testing.T) { testSpent(begin(t, b)) })
	t.Run("Ceremonies", func(t *testing.T) { testCeremonies(begin(t, b)) })
	t.Run("SignIns", func(t *testing.T) { testSignIns(begin(t, b)) })
	t.Run("SignInsElsewhere", func(t *testing.T) { testSignInsElsewhere(begin(t, b)) })
	t.Run("Tries", func(t *testing.T) { testTries(begin(t, b)) })
	t.Run("LastAdmin", func(t *testing.T) { testEndingAdmins(begin(t, b)) })
	t.Run("Forgetting", func(t *testing.T) { testForgetting(begin(t, b)) })
}

func person(id access.PersonID) access.Person {
	return access.Person{ID: id, Name: "name-" + string(id), State: access.PersonActive, Origin: "local", CreatedAt: start, EnabledAt: start, Version: 1}
}

func handle(id access.PersonID) []byte { h := sha256.Sum256([]byte(id)); return h[:] }

func hashed(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// signIn is one of a browser, with the hash of its id as its key.
func signIn(id string) sqlstore.SignIn {
	h := hashed(id)
	return sqlstore.SignIn{ID: id, Keys: sqlstore.SignInKeys{Hash: h[:]}, Kind: "console", Stage: "full", Methods: "password,totp", Strong: true, CreatedAt: start, SeenAt: start,
		FreshAt: start, RotatedAt: start, ExpiresAt: start.Add(time.Hour), Source: "192.0.2.1", Agent: "browser", Upstream: "sid"}
}

// person adds a person with steps.
func (w *world) person(id access.PersonID, steps ...sqlstore.PersonStep) access.Person {
	w.Helper()
	p := person(id)
	w.ok(w.InsertPerson(w.Context(), p, handle(id), steps, w.event("person.invited", "person", string(id))))
	return p
}

// step does steps with a person as they are.
func (w *world) step(p access.Person, steps ...sqlstore.PersonStep) error {
	return w.ChangePerson(w.Context(), p.Version, p, steps, w.event("person.updated", "person", string(p.ID)))
}

var peopleWrites = []write{
	{method: "InsertPerson", prepare: func(w *world) func(...audit.Event) error {
		steps := []sqlstore.PersonStep{sqlstore.PutLink(sqlstore.Ceremony{Hash: hashed("f-link"), Kind: "invitation", ExpiresAt: start.Add(time.Hour)}), sqlstore.Tell(start)}
		return func(ev ...audit.Event) error {
			return w.InsertPerson(w.Context(), person("f-person"), handle("f-person"), steps, ev...)
		}
	}},
	{method: "ChangePerson", prepare: func(w *world) func(...audit.Event) error {
		p := person("f-person")
		p.Display, p.SignedInAt, p.Version = "changed", start.Add(time.Second), 2
		cli := signIn("f-cli")
		turn := hashed("turn")
		cli.Kind, cli.Keys.Turn = "cli", turn[:]
		steps := []sqlstore.PersonStep{sqlstore.UseLink("invitation", hashed("f-link"), start), sqlstore.SetPassword("phc", start, 3), sqlstore.SetTOTP([]byte("sealed"), 7), sqlstore.UseTOTP(8),
			sqlstore.AddPasskey(sqlstore.Passkey{ID: "f-key", Name: "n", Credential: []byte("one"), CreatedAt: start}, 3), sqlstore.SetRecoveryCodes([][32]byte{hashed("r1"), hashed("r2")}),
			sqlstore.UseRecoveryCode(hashed("r1"), start), sqlstore.UseOnce("f", "once", start.Add(time.Hour)), sqlstore.SeePlace("p", start),
			sqlstore.PutSignIn(signIn("f-in")), sqlstore.PutSignIn(cli), sqlstore.PutSignIn(signIn("f-other"))}
		return func(ev ...audit.Event) error { return w.ChangePerson(w.Context(), 1, p, steps, ev...) }
	}},
	{method: "TouchSignIn", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			return w.TouchSignIn(w.Context(), "f-in", start.Add(time.Minute), start.Add(2*time.Hour))
		}
	}},
	{method: "RotateSignIn", silent: true, prepare: func(w *world) func(...audit.Event) error {
		in, next := signIn("f-in"), signIn("f-in")
		h := hashed("next")
		next.Keys = sqlstore.SignInKeys{Hash: h[:], Old: in.Keys.Hash, Salt: []byte("salt")}
		return func(...audit.Event) error { return w.RotateSignIn(w.Context(), next, in.Keys) }
	}},
	{method: "TrySignIn", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.TrySignIn(w.Context(), "f-in", 5) }
	}},
	{method: "EndSignIn", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.EndSignIn(w.Context(), "f-person", "f-other", start.Add(time.Minute), ev...)
		}
	}},
	{method: "EndSignIns", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.EndSignIns(w.Context(), "f-person", "f-cli", start.Add(time.Minute), ev...)
		}
	}},
	{method: "PutCeremony", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			return w.PutCeremony(w.Context(), sqlstore.Ceremony{Hash: hashed("f-c"), Kind: "sso", Data: []byte("state"), ExpiresAt: start.Add(time.Hour)})
		}
	}},
	{method: "TakeCeremony", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			_, err := w.TakeCeremony(w.Context(), "sso", hashed("f-c"), start)
			return err
		}
	}},
	{method: "Once", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			_, err := w.Once(w.Context(), "f", "again", start.Add(time.Hour))
			return err
		}
	}},
	{method: "SweepPeople", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			return w.SweepPeople(w.Context(), start.Add(2*time.Hour), start.Add(30*time.Minute))
		}
	}},
}

func testPersonFields(w *world) {
	ctx := w.Context()
	p := access.Person{ID: "p1", Name: "maria", Display: "Maria", Mail: "m@example.com", State: access.PersonDisabled, Why: "left", Origin: "oidc:corp", External: "s-1", BreakGlass: true,
		CreatedAt: start, EnabledAt: start.Add(time.Second), SignedInAt: start.Add(time.Minute), Version: 4}
	w.ok(w.InsertPerson(ctx, p, handle("p1"), nil, w.event("person.invited", "person", "p1")))
	for name, read := range map[string]func() (access.Person, sqlstore.Proofs, error){
		"id":       func() (access.Person, sqlstore.Proofs, error) { return w.Person(ctx, "p1") },
		"name":     func() (access.Person, sqlstore.Proofs, error) { return w.PersonByName(ctx, "maria") },
		"external": func() (access.Person, sqlstore.Proofs, error) { return w.PersonByExternal(ctx, "oidc:corp", "s-1") },
		"handle":   func() (access.Person, sqlstore.Proofs, error) { return w.PersonByHandle(ctx, handle("p1")) },
	} {
		got, proofs, err := read()
		w.ok(err)
		w.same("the person by "+name, got, p)
		if proofs.Password != "" || len(proofs.TOTP) > 0 || !proofs.PasswordAt.IsZero() || string(proofs.Handle) != string(handle("p1")) || fmt.Sprintf("%+v", proofs) != "[proofs]" {
			w.Fatal("a new person has proofs, or they print")
		}
	}
	for _, err := range []error{second(w.Person(ctx, "p2")), second(w.PersonByName(ctx, "Maria")), second(w.PersonByExternal(ctx, "oidc:other", "s-1")), second(w.PersonByHandle(ctx, []byte("x")))} {
		w.is(err, sqlstore.ErrNotFound)
	}
	q := person("p2") // without an external id any number may have the same origin
	q.Origin = "oidc:corp"
	w.ok(w.InsertPerson(ctx, q, handle("p2"), nil))
	w.is(second(w.PersonByExternal(ctx, "oidc:corp", "")), sqlstore.ErrNotFound)
	for what, taken := range map[string]access.Person{"id": person("p1"), "name": {ID: "p3", Name: "maria"}, "external": {ID: "p3", Name: "x", Origin: "oidc:corp", External: "s-1"}} {
		w.refused(func() error {
			return w.InsertPerson(ctx, taken, handle("new"), nil, w.event("person.invited", "person", what))
		})
	}
	n, err := w.CountPeople(ctx)
	w.ok(err)
	w.same("people", n, 2)
}

func second[A, B any](_ A, _ B, err error) error { return err }

func testPeopleListing(w *world) {
	ctx := w.Context()
	for i, name := range []string{"dora", "anna", "carl", "anton", "bert"} {
		p := person(access.PersonID(fmt.Sprint("p", i)))
		p.Name, p.CreatedAt, p.EnabledAt = name, start.Add(time.Duration(i)*time.Hour), time.Time{}
		if name == "carl" {
			p.Origin, p.State = "scim", access.PersonDisabled
		}
		if name == "bert" {
			p.SignedInAt = start.Add(100 * time.Hour)
		}
		w.ok(w.InsertPerson(ctx, p, handle(p.ID), nil))
	}
	names := func(f sqlstore.PeopleFilter) (out []string) {
		w.Helper()
		list, err := w.Store.People(ctx, f)
		w.ok(err)
		for _, p := range list {
			out = append(out, p.Name)
		}
		return out
	}
	w.same("all", names(sqlstore.PeopleFilter{Limit: 10}), []string{"anna", "anton", "bert", "carl", "dora"})
	w.same("a page", names(sqlstore.PeopleFilter{After: "p3", Limit: 2}), []string{"bert", "carl"})
	w.same("by prefix", names(sqlstore.PeopleFilter{Prefix: "an", Limit: 10}), []string{"anna", "anton"})
	w.same("by state and origin", names(sqlstore.PeopleFilter{State: access.PersonDisabled, Origin: "scim", Limit: 10}), []string{"carl"})
	w.same("behind nobody", names(sqlstore.PeopleFilter{After: "p9", Limit: 10}), []string(nil))
	idle, err := w.IdlePeople(ctx, start.Add(90*time.Minute))
	w.ok(err)
	w.same("idle people", len(idle), 2)
}

func testPersonVersions(w *world) {
	ctx := w.Context()
	p, q := w.person("p1"), w.person("p2")
	p.Name, p.Version = "maria", 2
	w.ok(w.ChangePerson(ctx, 1, p, nil))
	w.refused(func() error {
		return w.ChangePerson(ctx, 1, p, []sqlstore.PersonStep{sqlstore.SetPassword("x", start, 1)}, w.event("person.updated", "person", "p1"))
	})
	q.Name = "maria"
	w.refused(func() error { return w.step(q) })
	p.Name, p.State, p.Version = "p1", access.PersonErased, 3
	w.ok(w.ChangePerson(ctx, 2, p, nil))
	w.ok(w.step(q)) // the name of somebody erased is free
	// Of many changes from one version one is made.
	errs := all(10, func(i int) error {
		r := q
		r.Display, r.Version = fmt.Sprint(i), 2
		return w.ChangePerson(ctx, 1, r, nil, w.event("person.updated", "person", "p2"))
	})
	w.same("changes made", w.won(errs), 1)
	w.same("events", w.events("person.updated"), 2)
}

func testProofs(w *world) {
	ctx := w.Context()
	p := w.person("p1")
	for i := range 5 {
		w.ok(w.step(p, sqlstore.SetPassword(fmt.Sprint("phc", i), start.Add(time.Duration(i)*time.Second), 3)))
	}
	_, proofs, err := w.Person(ctx, "p1")
	w.ok(err)
	w.same("password", proofs.Password, "phc4")
	w.same("password at", proofs.PasswordAt, start.Add(4*time.Second))
	old, err := w.OldPasswords(ctx, "p1", 10)
	w.ok(err)
	w.same("old passwords", old, []string{"phc3", "phc2", "phc1"})
	w.ok(w.step(p, sqlstore.Rehash("phc3", "evil")))
	w.ok(w.step(p, sqlstore.Rehash("phc4", "phc4b"), sqlstore.ExpirePassword()))
	w.ok(w.step(p, sqlstore.SetTOTP([]byte("sealed"), 7), sqlstore.SetRecoveryCodes([][32]byte{hashed("a"), hashed("b")})))
	_, proofs, err = w.Person(ctx, "p1")
	w.ok(err)
	w.same("proofs", []any{proofs.Password, proofs.PasswordAt.IsZero(), string(proofs.TOTP), proofs.TOTPStep}, []any{"phc4b", true, "sealed", int64(7)})

	key := sqlstore.Passkey{ID: "k1", Person: "p1", Name: "one", Credential: []byte("c1"), CreatedAt: start}
	w.ok(w.step(p, sqlstore.AddPasskey(key, 2)))
	w.ok(w.step(p, sqlstore.UsePasskey("k1", []byte("c1"), []byte("c2"), start.Add(time.Minute)), sqlstore.RenamePasskey("k1", "other")))
	w.unchanged(func() {
		w.is(w.step(p, sqlstore.UsePasskey("k1", []byte("c1"), []byte("c3"), start)), sqlstore.ErrSpent)
	})
	w.refused(func() error { return w.step(p, sqlstore.AddPasskey(key, 2)) })
	key.ID = "k2"
	w.refused(func() error { return w.step(p, sqlstore.AddPasskey(key, 1)) })
	keys, err := w.Passkeys(ctx, "p1")
	w.ok(err)
	w.same("passkeys", keys, []sqlstore.Passkey{{ID: "k1", Person: "p1", Name: "other", Credential: []byte("c2"), CreatedAt: start, UsedAt: start.Add(time.Minute)}})
	q := w.person("p2")
	for _, s := range []sqlstore.PersonStep{sqlstore.RenamePasskey("k1", "x"), sqlstore.RemovePasskey("k1")} { // another's
		w.refused(func() error { return w.step(q, s) })
	}
	w.ok(w.step(p, sqlstore.RemovePasskey("k1")))
	has, err := w.HasRecoveryCode(ctx, "p1", hashed("a"))
	w.ok(err)
	other, err := w.HasRecoveryCode(ctx, "p2", hashed("a"))
	w.ok(err)
	w.same("the code is known of", []bool{has, other}, []bool{true, false})
	w.ok(w.step(p, sqlstore.ClearProofs()))
	_, proofs, err = w.Person(ctx, "p1")
	w.ok(err)
	w.same("proofs left", proofs.Password+string(proofs.TOTP), "")
	if old, err = w.OldPasswords(ctx, "p1", 10); err != nil || !slices.Contains(old, "phc4b") {
		w.Fatalf("the password that was cleared may come back: %v, %v", old, err)
	}
}

// testSpent has many spend the same thing at once: one does, of each kind.
func testSpent(w *world) {
	ctx := w.Context()
	p := w.person("p1", sqlstore.SetTOTP([]byte("sealed"), 7), sqlstore.SetRecoveryCodes([][32]byte{hashed("a"), hashed("b")}),
		sqlstore.PutLink(sqlstore.Ceremony{Hash: hashed("l"), Kind: "invitation", ExpiresAt: start.Add(time.Hour)}))
	for name, step := range map[string]sqlstore.PersonStep{
		"TOTP": sqlstore.UseTOTP(8), "recovery": sqlstore.UseRecoveryCode(hashed("a"), start), "once": sqlstore.UseOnce("k", "x", start.Add(time.Hour)), "link": sqlstore.UseLink("invitation", hashed("l"), start),
	} {
		n := 0
		for _, err := range all(10, func(int) error { return w.step(p, step) }) {
			if err == nil {
				n++
			} else {
				w.is(err, sqlstore.ErrSpent)
			}
		}
		w.same(name+" was spent", n, 1)
	}
	w.unchanged(func() {
		for _, s := range []sqlstore.PersonStep{sqlstore.UseTOTP(8), sqlstore.UseTOTP(6), sqlstore.UseRecoveryCode(hashed("c"), start), sqlstore.CheckLink("invitation", hashed("l"), start)} {
			w.is(w.step(p, sqlstore.SeePlace("x", start), s), sqlstore.ErrSpent)
		}
	})
	left, made, err := w.RecoveryCodes(ctx, "p1")
	w.ok(err)
	w.same("recovery codes", []int{left, made}, []int{1, 2})
	w.ok(w.step(p, sqlstore.SetTOTP(nil, 8)))
	w.is(w.step(p, sqlstore.UseTOTP(9)), sqlstore.ErrSpent)
}

func testCeremonies(w *world) {
	ctx := w.Context()
	c := sqlstore.Ceremony{Hash: hashed("c"), Kind: "sso", Person: "p1", Data: []byte{0, 1}, ExpiresAt: start.Add(time.Hour)}
	w.ok(w.PutCeremony(ctx, c))
	w.refused(func() error { return w.PutCeremony(ctx, c) })
	got, err := w.Ceremony(ctx, "sso", c.Hash, start)
	w.ok(err)
	w.same("the ceremony", got, c)
	for _, f := range []func() error{
		func() error { _, err := w.Ceremony(ctx, "invitation", c.Hash, start); return err },
		func() error { _, err := w.TakeCeremony(ctx, "invitation", c.Hash, start); return err },
		func() error { _, err := w.TakeCeremony(ctx, "sso", c.Hash, start.Add(time.Hour)); return err },
	} {
		w.unchanged(func() { w.is(f(), sqlstore.ErrNotFound) })
	}
	n := 0
	for _, err := range all(10, func(int) error { _, err := w.TakeCeremony(ctx, "sso", c.Hash, start); return err }) {
		if err == nil {
			n++
		} else {
			w.is(err, sqlstore.ErrNotFound)
		}
	}
	w.same("taken", n, 1)
	// A new link of a person replaces the one before, of the same kind only.
	p := w.person("p1")
	link := func(name, kind string) sqlstore.PersonStep {
		return sqlstore.PutLink(sqlstore.Ceremony{Hash: hashed(name), Kind: kind, ExpiresAt: start.Add(time.Hour)})
	}
	w.ok(w.step(p, link("a", "one"), link("b", "two")))
	w.ok(w.step(p, link("c", "one")))
	for name, want := range map[string]error{"a": sqlstore.ErrSpent, "c": nil} {
		w.is(w.step(p, sqlstore.CheckLink("one", hashed(name), start)), want)
	}
	w.is(w.step(p, sqlstore.CheckLink("two", hashed("b"), start)), nil)
	w.is(w.step(p, sqlstore.CheckLink("two", hashed("b"), start.Add(time.Hour))), sqlstore.ErrSpent)
	first, err := w.Once(ctx, "k", "x", start.Add(time.Minute))
	w.ok(err)
	again, err := w.Once(ctx, "k", "x", start.Add(time.Hour))
	w.ok(err)
	w.same("first", []bool{first, again}, []bool{true, false})
	w.ok(w.SweepPeople(ctx, start.Add(2*time.Minute), start))
	first, err = w.Once(ctx, "k", "x", start.Add(time.Hour))
	w.ok(err)
	w.same("first after it expired", first, true)
}

// testSignInsElsewhere finds sign-ins by what an identity provider knows of them.
func testSignInsElsewhere(w *world) {
	ctx := w.Context()
	for id, origin := range map[access.PersonID]string{"p1": "oidc:corp", "p2": "oidc:other", "p3": "local"} {
		p := person(id)
		p.Origin = origin
		w.ok(w.InsertPerson(ctx, p, handle(id), []sqlstore.PersonStep{sqlstore.PutSignIn(signIn("s-" + string(id)))}))
	}
	list, err := w.SignedInElsewhere(ctx)
	w.ok(err)
	w.same("who is signed in", list, []access.Person{{ID: "p1", Origin: "oidc:corp"}, {ID: "p2", Origin: "oidc:other"}})
	for session, want := range map[string]int{"sid": 1, "sid2": 0, "": 0} {
		ins, err := w.SignInsThrough(ctx, "oidc:corp", session)
		w.ok(err)
		w.same("sign-ins of the session "+session, len(ins), want)
	}
	ins, err := w.SignInsThrough(ctx, "oidc:corp", "sid")
	w.ok(err)
	w.same("the sign-in", ins, []sqlstore.SignIn{{ID: "s-p1", Person: "p1"}})
	w.ok(w.EndSignIns(ctx, "p1", "", start.Add(time.Minute)))
	list, err = w.SignedInElsewhere(ctx)
	w.ok(err)
	w.same("who is signed in still", list, []access.Person{{ID: "p2", Origin: "oidc:other"}})
	ins, err = w.SignInsThrough(ctx, "oidc:corp", "sid")
	w.ok(err)
	w.same("sign-ins of a session that ended", len(ins), 0)
}

func testSignIns(w *world) {
	ctx := w.Context()
	p, in := w.person("p1"), signIn("s1")
	w.person("p2")
	w.ok(w.step(p, sqlstore.PutSignIn(in)))
	in.Person = "p1"
	got, owner, err := w.SignInByHash(ctx, hashed("s1"))
	w.ok(err)
	w.same("the sign-in", got, in)
	w.same("whose it is", owner, p)
	was := in.Keys
	h := hashed("s1b")
	in.Keys = sqlstore.SignInKeys{Hash: h[:], Old: was.Hash, Salt: []byte("salt")}
	errs := all(10, func(int) error { return w.RotateSignIn(ctx, in, was) })
	w.same("rotations", w.won(errs), 1)
	got, _, err = w.SignInByOldHash(ctx, hashed("s1"))
	w.ok(err)
	w.same("by the old hash", got, in)
	w.is(second(w.SignInByHash(ctx, hashed("s1"))), sqlstore.ErrNotFound)
	w.refused(func() error { return w.step(p, sqlstore.MoveSignIn(in, was.Hash)) })
	moved := in
	h2 := hashed("s1c")
	moved.Keys, moved.Stage, moved.Methods, moved.Strong, moved.Tries = sqlstore.SignInKeys{Hash: h2[:]}, "factor", "password", false, 3
	w.ok(w.step(p, sqlstore.MoveSignIn(moved, h[:])))
	got, _, err = w.SignIn(ctx, "s1")
	w.ok(err)
	w.same("after it moved", got, moved)
	w.ok(w.TouchSignIn(ctx, "s1", start.Add(time.Minute), start.Add(2*time.Hour)))

	for _, id := range []string{"s2", "s3", "s4"} {
		w.ok(w.step(p, sqlstore.PutSignIn(signIn(id))))
	}
	end := func(who access.PersonID, id string) error {
		return w.EndSignIn(ctx, who, id, start.Add(time.Minute), w.event("person.sign_in_ended", "person", string(who)))
	}
	w.refused(func() error { return end("p2", "s2") })
	w.refused(func() error { return end("p1", "s9") })
	w.ok(end("p1", "s2"))
	w.refused(func() error { return end("p1", "s2") })
	ended := signIn("s2")
	w.refused(func() error { return w.step(p, sqlstore.MoveSignIn(ended, ended.Keys.Hash)) })
	w.is(w.RotateSignIn(ctx, ended, ended.Keys), sqlstore.ErrChanged)
	w.ok(w.EndSignIns(ctx, "p1", "s3", start.Add(time.Minute)))
	list, err := w.SignIns(ctx, "p1", start)
	w.ok(err)
	w.same("sign-ins left", len(list), 1)
	list, err = w.SignIns(ctx, "p1", start.Add(time.Hour))
	w.ok(err)
	w.same("sign-ins that have not expired", len(list), 0)
	w.ok(w.step(w.person("p3"), sqlstore.PutSignIn(signIn("t1")), sqlstore.SeePlace("a|x|y", start), sqlstore.SeePlace("b|x|y", start.Add(time.Minute))))
	everybody, err := w.AllSignIns(ctx, start, "", 10)
	w.ok(err)
	w.same("sign-ins of everybody", len(everybody), 2)
	w.same("whose they are", everybody[0].Owner.ID, everybody[0].Person)
	rest, err := w.AllSignIns(ctx, start, everybody[0].ID, 10)
	w.ok(err)
	w.same("those behind the first", rest, everybody[1:])
	rest, err = w.AllSignIns(ctx, start.Add(time.Hour), "", 10)
	w.ok(err)
	w.same("those that have not expired", len(rest), 0)
	places, err := w.NewPlaces(ctx, start)
	w.ok(err)
	w.same("places that were new to somebody who had others", places, []sqlstore.NewPlace{{Person: "p3", Place: "b|x|y", Since: start.Add(time.Minute)}})
	changes, err := w.Changes(ctx, 0)
	w.ok(err)
	w.same("others were told", len(changes), 2)
	w.same("of", changes[1].Kind, sqlstore.ChangeSignIn)

	cli := signIn("cli")
	one, two := hashed("t1"), hashed("t2")
	cli.Keys.Turn = one[:]
	w.ok(w.step(p, sqlstore.PutSignIn(cli)))
	next := cli
	next.Keys.Turn = two[:]
	errs = all(5, func(int) error { return w.RotateSignIn(ctx, next, cli.Keys) })
	w.same("turns", w.won(errs), 1)
	w.ok(w.step(p, sqlstore.MoveSignIn(cli, cli.Keys.Hash))) // does not bring the old turn back
	got, _, err = w.SignIn(ctx, "cli")
	w.ok(err)
	w.same("the turn", got.Keys.Turn, two[:])
}

// testTries has many try a factor of one sign-in at once: five may.
func testTries(w *world) {
	p := w.person("p1")
	w.ok(w.step(p, sqlstore.PutSignIn(signIn("s1"))))
	errs := all(20, func(int) error { return w.TrySignIn(w.Context(), "s1", 5) })
	w.same("tries", w.won(errs), 5)
	w.is(w.TrySignIn(w.Context(), "s9", 5), sqlstore.ErrChanged)
}

// testEndingAdmins has two administrators disable each other at one moment, again
// and again: one of them stays.
func testEndingAdmins(w *world) {
	ctx := w.Context()
	for i := range 5 {
		var two [2]access.Person
		for j := range two {
			two[j] = w.person(access.PersonID(fmt.Sprint("a", i, j)))
			g := access.Grant{ID: fmt.Sprint("g", i, j), Kind: access.ToPerson, Subject: string(two[j].ID), Role: access.Admin, Origin: "manual", GrantedBy: "system:test", GrantedAt: start}
			w.ok(w.InsertGrant(ctx, g, false))
		}
		end := func(p access.Person) error {
			p.State, p.Version = access.PersonDisabled, 2
			return w.ChangePerson(ctx, 1, p, []sqlstore.PersonStep{sqlstore.Tell(start), sqlstore.KeepAdmin()})
		}
		w.same("administrators disabled", w.won(all(2, func(j int) error { return end(two[j]) })), 1)
		for _, p := range two { // nobody is left for the next round
			if got, _, err := w.Person(ctx, p.ID); err == nil && got.State == access.PersonActive {
				got.State, got.Version = access.PersonDisabled, got.Version+1
				w.ok(w.ChangePerson(ctx, got.Version-1, got, nil))
			}
		}
		other := person(access.PersonID(fmt.Sprint("b", i))) // who is none is not kept
		w.person(other.ID)
		w.ok(end(other))
	}
}

func testForgetting(w *world) {
	ctx := w.Context()
	steps := func() []sqlstore.PersonStep {
		return []sqlstore.PersonStep{sqlstore.SetPassword("a", start, 3), sqlstore.SetPassword("b", start.Add(time.Second), 3), sqlstore.SetTOTP([]byte("x"), 1), sqlstore.SeePlace("net|b|s", start)}
	}
	p := w.person("p1", append(steps(), sqlstore.PutSignIn(signIn("s1")), sqlstore.AddPasskey(sqlstore.Passkey{ID: "k1", Credential: []byte("c"), CreatedAt: start}, 5))...)
	w.person("p2", append(steps(), sqlstore.PutSignIn(signIn("s2")), sqlstore.AddPasskey(sqlstore.Passkey{ID: "k2", Credential: []byte("c"), CreatedAt: start}, 5))...)
	known, err := w.KnownPlace(ctx, "p1", "net|")
	w.ok(err)
	n, err := w.Places(ctx, "p1")
	w.ok(err)
	w.same("places", []any{known, n}, []any{true, 1})
	w.ok(w.step(p, sqlstore.Forget()))
	for id, want := range map[access.PersonID]int{"p1": 0, "p2": 1} {
		keys, err := w.Passkeys(ctx, id)
		w.ok(err)
		ins, err := w.SignIns(ctx, id, start)
		w.ok(err)
		old, err := w.OldPasswords(ctx, id, 10)
		w.ok(err)
		places, err := w.Places(ctx, id)
		w.ok(err)
		w.same("rows of "+string(id), []int{len(keys), len(ins), len(old), places}, []int{want, want, want, want})
	}
}
