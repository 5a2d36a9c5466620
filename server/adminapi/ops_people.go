package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

type peopleQuery struct {
	State  access.PersonState `query:"state" enum:"invited,active,disabled,erased" doc:"absent: all but those erased"`
	Origin string             `query:"origin" maxLength:"128" doc:"local, oidc:NAME, saml:NAME or scim"`
	Prefix string             `query:"prefix" maxLength:"128" doc:"whose name starts so; needs personal.read"`
	After  access.PersonID    `query:"after" maxLength:"64" doc:"list from behind this id on"`
	Limit  int                `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type personName struct {
	ID access.PersonID `path:"id" maxLength:"64" example:"p4k2m9qd7xna3bfeh"`
}

type personPost struct{ Body PersonInput }

type personPut struct {
	ID   access.PersonID `path:"id" maxLength:"64" example:"p4k2m9qd7xna3bfeh"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		PersonInput
	}
}

type personUpdate struct {
	Version int64 `json:"version"`
	PersonInput
}

type personMove struct {
	ID   access.PersonID `path:"id" maxLength:"64" example:"p4k2m9qd7xna3bfeh"`
	Body reasoned
}

type personSignIn struct {
	ID     access.PersonID `path:"id" maxLength:"64" example:"p4k2m9qd7xna3bfeh"`
	SignIn string          `path:"signin" maxLength:"64" example:"q7mzk3a2bfxe9hgt"`
}

type personSignIns struct {
	ID     access.PersonID `path:"id" maxLength:"64" example:"p4k2m9qd7xna3bfeh"`
	Reason string          `query:"reason" maxLength:"1024" doc:"why, for the audit log"`
}

type signInQuery struct {
	Before string `query:"before" maxLength:"64" doc:"list from behind this id on"`
	Limit  int    `query:"limit" minimum:"1" maximum:"999" default:"100"`
}

// SignInList is one page of sign-ins, newest first.
type SignInList struct {
	Items []PersonSignIn `json:"items"`
	Next  string         `json:"next,omitempty" doc:"give it as before to read on; absent on the last page"`
}

// PersonList is one page of people, by name.
type PersonList struct {
	Items []access.Person `json:"items"`
	Next  access.PersonID `json:"next,omitempty" doc:"give it as after to read on; absent on the last page"`
}

// PersonDetails is a person with what they sign in with.
type PersonDetails struct {
	access.Person
	Factors PersonFactors `json:"factors"`
}

// mayKnow tells whether the caller may see what is personal about a person: with
// the permission, or about themselves.
func (a *api) mayKnow(ctx context.Context, id access.PersonID) bool {
	who, err := identity(ctx)
	return err == nil && (who.Rights.Has(access.PersonalRead, a.now()) || who.Actor.Kind == access.Human && who.Actor.ID == string(id))
}

// viewPerson leaves out what is personal for those who may not see it.
func (a *api) viewPerson(ctx context.Context, p access.Person) access.Person {
	if !a.mayKnow(ctx, p.ID) {
		p.Name, p.Display, p.Mail, p.External = "", "", "", ""
	}
	return p
}

func (a *api) viewFactors(ctx context.Context, id access.PersonID, f PersonFactors) PersonFactors {
	f.Passkeys = append([]Passkey{}, f.Passkeys...)
	if !a.mayKnow(ctx, id) {
		for i := range f.Passkeys { // people name them after their devices, or themselves
			f.Passkeys[i].Name = ""
		}
	}
	return f
}

// viewSignIn leaves out addresses and devices, and marks the caller's own.
func (a *api) viewSignIn(ctx context.Context, id access.PersonID, s SignIn) SignIn {
	who, _ := identity(ctx)
	s.Methods, s.Own = present(s.Methods), who.Session != "" && who.Session == s.ID
	if !a.mayKnow(ctx, id) {
		s.Source, s.Device = "", ""
	}
	return s
}

// peopleOperations adds what administrators do with accounts.
func (a *api) peopleOperations(people People) {
	a.readPeople(people)
	a.changePeople(people)
	a.movePeople(people)
	a.peopleSignIns(people)
}

func (a *api) readPeople(people People) {
	const tag = "people"
	register(a, operation{id: "list-people", allow: access.PersonRead, method: http.MethodGet, path: "/people", tag: tag, summary: "List people",
		description: "Accounts by name, page by page. Names, mail addresses and ids at identity providers are left out for callers without the permission personal.read.",
		response:    PersonList{[]access.Person{examplePerson}, ""}},
		func(ctx context.Context, _ access.Actor, in *peopleQuery) (*body[PersonList], error) {
			if in.Prefix != "" && !a.mayRead(ctx, access.PersonalRead) {
				return nil, access.Denied(access.PersonalRead)
			}
			list, next, err := people.People(ctx, PeopleFilter{in.State, in.Origin, in.Prefix, in.After, in.Limit})
			for i := range list {
				list[i] = a.viewPerson(ctx, list[i])
			}
			return &body[PersonList]{PersonList{present(list), next}}, err
		})
	register(a, operation{id: "show-person", allow: access.PersonRead, method: http.MethodGet, path: "/people/{id}", tag: tag, summary: "Show a person",
		description: "The account and what its person signs in with, without any secret. What is personal is left out for callers without personal.read.",
		response:    PersonDetails{examplePerson, exampleFactors}},
		func(ctx context.Context, _ access.Actor, in *personName) (*body[PersonDetails], error) {
			p, f, err := people.Person(ctx, in.ID)
			return &body[PersonDetails]{PersonDetails{a.viewPerson(ctx, p), a.viewFactors(ctx, p.ID, f)}}, err
		})
}

func (a *api) changePeople(people People) {
	const tag = "people"
	register(a, operation{id: "invite-person", allow: access.PersonWrite, fresh: true, method: http.MethodPost, path: "/people", tag: tag, status: http.StatusCreated, summary: "Invite a person",
		description: "Makes an account and a link that is good for 24 hours. Its person opens it to set up a passkey, or a password and an authenticator app. The answer is the only place that the link is ever shown in. Without a role the person sees nothing.",
		request:     examplePersonInput, response: exampleInvited},
		func(ctx context.Context, by access.Actor, in *personPost) (*body[Invited], error) {
			v, err := people.InvitePerson(ctx, by, in.Body)
			v.Person = a.viewPerson(ctx, v.Person)
			return &body[Invited]{v}, err
		})
	register(a, operation{id: "reinvite-person", allow: access.PersonWrite, fresh: true, second: access.GiveRole, method: http.MethodPost, path: "/people/{id}/reinvite", tag: tag, summary: "Invite a person again, or reset what they sign in with",
		description: "For who lost everything that they sign in with, or did not follow the first link in time. Password, passkeys, authenticator app and recovery codes are removed, all sign-ins end, and a new link is made.",
		request:     reasoned{"lost the phone"}, response: exampleInvited},
		func(ctx context.Context, by access.Actor, in *personMove) (*body[Invited], error) {
			v, err := people.ReinvitePerson(ctx, by, in.ID, in.Body.Reason)
			v.Person = a.viewPerson(ctx, v.Person)
			return &body[Invited]{v}, err
		})
	register(a, operation{id: "update-person", allow: access.PersonWrite, fresh: true, second: access.GiveRole, method: http.MethodPut, path: "/people/{id}", tag: tag, summary: "Change a person's name, mail or kind of account",
		description: "Writes every field. Needs personal.read as well: who cannot see a name would overwrite it.",
		request:     personUpdate{1, examplePersonInput}, response: examplePerson},
		func(ctx context.Context, by access.Actor, in *personPut) (*body[access.Person], error) {
			if !a.mayKnow(ctx, in.ID) {
				return nil, access.Denied(access.PersonalRead)
			}
			p, err := people.UpdatePerson(ctx, by, access.Person{ID: in.ID, Name: in.Body.Name, Display: in.Body.Display, Mail: in.Body.Mail, BreakGlass: in.Body.BreakGlass, Version: in.Body.Version})
			return &body[access.Person]{p}, err
		})
}

func (a *api) movePeople(people People) {
	moves := []struct {
		verb, summary, description string
		to                         access.PersonState
		second                     access.Action
	}{
		{"disable", "Disable a person", "Ends all their sign-ins at once, on all servers, and lets none begin. The last active administrator cannot be disabled.", access.PersonDisabled, ""},
		{"enable", "Enable a person", "Lets a disabled person sign in again with what they had.", access.PersonActive, ""},
		{"erase", "Erase a person", "Replaces names and mail address, removes everything that they sign in with, and ends all sign-ins. The id stays, because it is what the audit log has. This cannot be undone. The last active administrator cannot be erased.", access.PersonErased, access.GiveRole},
	}
	for _, m := range moves {
		register(a, operation{id: m.verb + "-person", allow: access.PersonWrite, fresh: m.to != access.PersonDisabled, second: m.second, method: http.MethodPost, path: "/people/{id}/" + m.verb, tag: "people",
			summary: m.summary, description: m.description, request: reasoned{"left the company"}, response: examplePerson},
			func(ctx context.Context, by access.Actor, in *personMove) (*body[access.Person], error) {
				if m.to == access.PersonErased && in.Body.Reason == "" {
					return nil, refusal.New(refusal.Invalid, "no-reason", "say why", "erasing a person takes a reason, because it cannot be undone")
				}
				p, err := people.MovePerson(ctx, by, in.ID, m.to, in.Body.Reason)
				return &body[access.Person]{a.viewPerson(ctx, p)}, err
			})
	}
}

func (a *api) peopleSignIns(people People) {
	const tag = "people"
	register(a, operation{id: "list-person-sign-ins", allow: access.PersonRead, method: http.MethodGet, path: "/people/{id}/sign-ins", tag: tag, summary: "List a person's sign-ins",
		description: "Those that have not ended, newest first. Addresses and devices are left out for callers without personal.read.", response: list[SignIn]{[]SignIn{exampleSignIn}}},
		func(ctx context.Context, _ access.Actor, in *personName) (*body[list[SignIn]], error) {
			rows, err := people.SignIns(ctx, in.ID)
			return items(rows, func(s SignIn) SignIn { return a.viewSignIn(ctx, in.ID, s) }), err
		})
	register(a, operation{id: "list-sign-ins", allow: access.PersonRead, method: http.MethodGet, path: "/sign-ins", tag: tag, summary: "List who is signed in",
		description: "Sign-ins of all people that have not ended, newest first, page by page. Names, addresses and devices are left out for callers without personal.read.",
		response:    SignInList{[]PersonSignIn{{exampleSignIn, examplePerson.ID, examplePerson.Display, false}}, exampleSignIn.ID}},
		func(ctx context.Context, _ access.Actor, in *signInQuery) (*body[SignInList], error) {
			rows, err := people.AllSignIns(ctx, in.Before, in.Limit+1)
			l := SignInList{Items: present(rows)}
			if len(rows) > in.Limit {
				l.Items = rows[:in.Limit]
				l.Next = rows[in.Limit-1].ID
			}
			for i, s := range l.Items {
				l.Items[i].SignIn = a.viewSignIn(ctx, s.Person, s.SignIn)
				if !a.mayKnow(ctx, s.Person) {
					l.Items[i].Name = ""
				}
			}
			return &body[SignInList]{l}, err
		})
	register(a, operation{id: "end-person-sign-in", allow: access.PersonWrite, method: http.MethodDelete, path: "/people/{id}/sign-ins/{signin}", tag: tag, status: http.StatusNoContent, summary: "End a sign-in of a person",
		description: "It counts no more from the next request on, on all servers."},
		func(ctx context.Context, by access.Actor, in *personSignIn) (*none, error) {
			return nil, people.EndSignIn(ctx, by, in.ID, in.SignIn)
		})
	register(a, operation{id: "end-person-sign-ins", allow: access.PersonWrite, method: http.MethodDelete, path: "/people/{id}/sign-ins", tag: tag, status: http.StatusNoContent, summary: "Sign a person out everywhere",
		description: "Ends all sign-ins of the person, in browsers and on command lines."},
		func(ctx context.Context, by access.Actor, in *personSignIns) (*none, error) {
			return nil, people.EndSignIns(ctx, by, in.ID, "", in.Reason)
		})
}
