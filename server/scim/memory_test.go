package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// memory keeps the contracts of Directory and Groups in maps, and counts the
// sign-ins of each user.
type memory struct {
	mu      sync.Mutex
	users   map[string]User
	gone    map[string]User
	groups  map[string]Group
	signIns map[string]int
	local   map[string]bool // names of accounts that are not shown
	next    int
	by      []access.Actor
	between func() // runs before a change, as another writer would
}

func newMemory() *memory {
	return &memory{users: map[string]User{}, gone: map[string]User{}, groups: map[string]Group{}, signIns: map[string]int{}, local: map[string]bool{"root": true}}
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memory) tick() time.Time { m.next++; return epoch.Add(time.Duration(m.next) * time.Second) }

// lock begins a call; other changes may come just before a write.
func (m *memory) lock(write bool) func() {
	if write && m.between != nil {
		m.between()
	}
	m.mu.Lock()
	return m.mu.Unlock
}

func (m *memory) shown(u User) User {
	u.Groups = nil
	for _, g := range m.groups {
		if slices.Contains(g.Members, u.ID) {
			u.Groups = append(u.Groups, Ref{g.ID, g.Name})
		}
	}
	slices.SortFunc(u.Groups, func(a, b Ref) int { return strings.Compare(a.ID, b.ID) })
	return u
}

func (m *memory) ListUsers(_ context.Context, q Query) ([]User, int, error) {
	defer m.lock(false)()
	var fit []User
	for _, u := range m.users {
		if len(q.Any) == 0 || slices.ContainsFunc(q.Any, func(x Match) bool { return fits(u, x) }) {
			fit = append(fit, m.shown(u))
		}
	}
	slices.SortFunc(fit, func(a, b User) int { return a.CreatedAt.Compare(b.CreatedAt) })
	total := len(fit)
	fit = fit[min(q.Offset, total):]
	return fit[:min(q.Limit, len(fit))], total, nil
}

func fits(u User, m Match) bool {
	return (m.ID == "" || m.ID == u.ID) && (m.UserName == "" || m.UserName == u.UserName) && (m.ExternalID == "" || m.ExternalID == u.ExternalID) &&
		(m.Mail == "" || strings.EqualFold(m.Mail, u.Mail)) && (m.Active == nil || *m.Active == u.Active)
}

func (m *memory) GetUser(_ context.Context, id string) (User, error) {
	defer m.lock(false)()
	u, ok := m.users[id]
	if !ok {
		return User{}, ErrNotFound
	}
	return m.shown(u), nil
}

func (m *memory) taken(u User) bool {
	for _, o := range m.users {
		if o.ID != u.ID && (o.UserName == u.UserName || u.ExternalID != "" && o.ExternalID == u.ExternalID) {
			return true
		}
	}
	return m.local[u.UserName]
}

func (m *memory) CreateUser(_ context.Context, by access.Actor, u User) (User, error) {
	defer m.lock(true)()
	if m.taken(u) {
		return User{}, fmt.Errorf("making a person: %w", ErrTaken)
	}
	now := m.tick()
	u.ID, u.Version, u.CreatedAt, u.UpdatedAt = fmt.Sprintf("p%04d", m.next), 1, now, now
	if old, ok := m.gone[u.UserName]; ok {
		delete(m.gone, u.UserName)
		u.ID, u.Version = old.ID, old.Version+1
	}
	m.users[u.ID] = u
	m.signIns[u.ID] = 2
	m.by = append(m.by, by)
	return u, nil
}

func (m *memory) UpdateUser(_ context.Context, by access.Actor, u User) (User, error) {
	defer m.lock(true)()
	now, ok := m.users[u.ID]
	switch {
	case !ok:
		return User{}, ErrNotFound
	case now.Version != u.Version:
		return User{}, ErrChanged
	case m.taken(u):
		return User{}, ErrTaken
	case u.UserName == "last-admin" && !u.Active:
		return User{}, refusal.New(refusal.Conflict, "last-admin", "make another admin first", "this is the last admin")
	}
	if !u.Active {
		m.signIns[u.ID] = 0
	}
	u.Groups, now.Groups = nil, nil
	if fmt.Sprint(u) != fmt.Sprint(now) {
		u.Version, u.UpdatedAt = now.Version+1, m.tick()
	}
	m.users[u.ID] = u
	m.by = append(m.by, by)
	return m.shown(u), nil
}

func (m *memory) DisableUser(_ context.Context, by access.Actor, id string, version int64) error {
	defer m.lock(true)()
	u, ok := m.users[id]
	if !ok {
		return ErrNotFound
	}
	if version != 0 && version != u.Version {
		return ErrChanged
	}
	delete(m.users, id)
	m.gone[u.UserName], m.signIns[id] = u, 0
	for gid, g := range m.groups {
		g.Members = slices.DeleteFunc(slices.Clone(g.Members), func(x string) bool { return x == id })
		m.groups[gid] = g
	}
	m.by = append(m.by, by)
	return nil
}

func (m *memory) ListGroups(context.Context) ([]Group, error) {
	defer m.lock(false)()
	var list []Group
	for _, g := range m.groups {
		g.Members = nil
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Group) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

func (m *memory) GetGroup(_ context.Context, id string) (Group, error) {
	defer m.lock(false)()
	g, ok := m.groups[id]
	if !ok {
		return Group{}, ErrNotFound
	}
	g.Members = slices.Clone(g.Members)
	return g, nil
}

func (m *memory) SetGroup(_ context.Context, by access.Actor, c GroupChange) (Group, error) {
	defer m.lock(true)()
	g, ok := m.groups[c.ID]
	for _, o := range m.groups {
		if o.ID != c.ID && Fold(o.Name) == Fold(c.Name) {
			return Group{}, ErrTaken
		}
	}
	switch {
	case c.ID == "" && c.Version != 0, len(c.Remove) > 0 && !ok:
		return Group{}, errors.New("a change that cannot be")
	case c.ID != "" && !ok:
		return Group{}, ErrNotFound
	case c.Version != g.Version:
		return Group{}, ErrChanged
	}
	for _, id := range c.Add {
		if _, ok := m.users[id]; !ok {
			return Group{}, refusal.New(refusal.Invalid, "no-such-person", "provision the user first", "a member is no user")
		}
		if slices.Contains(g.Members, id) {
			return Group{}, errors.New("adding who is a member")
		}
	}
	now := m.tick()
	if c.ID == "" {
		g = Group{ID: fmt.Sprintf("g%04d", m.next), CreatedAt: now}
	}
	g.Name, g.ExternalID, g.Version, g.UpdatedAt = c.Name, c.ExternalID, g.Version+1, now
	g.Members = append(slices.DeleteFunc(slices.Clone(g.Members), func(id string) bool { return slices.Contains(c.Remove, id) }), c.Add...)
	slices.Sort(g.Members)
	m.groups[g.ID] = g
	m.by = append(m.by, by)
	return g, nil
}

func (m *memory) DeleteGroup(_ context.Context, by access.Actor, id string, version int64) error {
	defer m.lock(true)()
	g, ok := m.groups[id]
	if !ok {
		return ErrNotFound
	}
	if version != 0 && version != g.Version {
		return ErrChanged
	}
	delete(m.groups, id)
	m.by = append(m.by, by)
	return nil
}

// bench is the service over a memory, and the errors it told of.
type bench struct {
	t testing.TB
	*memory
	h    http.Handler
	errs []error
}

const token = "Bearer right"

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, memory: newMemory()}
	h, err := Handler(Config{Directory: b.memory, Groups: b.memory, BaseURL: "https://fleet.example:8443/",
		OnError: func(_ context.Context, err error) { b.errs = append(b.errs, err) },
		Authenticate: func(r *http.Request) (access.Identity, error) {
			switch r.Header.Get("Authorization") {
			case token:
				return access.Identity{Actor: access.Actor{Kind: access.Client, ID: "okta"}}, nil
			case "Bearer weak":
				return access.Identity{}, access.Denied(access.PersonWrite)
			case "Bearer broken":
				return access.Identity{}, errors.New("the database is away")
			}
			return access.Identity{}, refusal.New(refusal.Unauthenticated, "no-credential", "send a bearer token", "no valid credential came with the request")
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.h = h
	return b
}

// reply is an answer with its body read.
type reply struct {
	Status int
	Header http.Header
	Text   string
	Body   map[string]any
}

// do sends a request; headers are "Name: value".
func (b *bench) do(method, path, body string, headers ...string) reply {
	b.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "https://fleet.example:8443"+Prefix+strings.ReplaceAll(path, " ", "%20"), in)
	r.Header.Set("Authorization", token)
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	a := reply{Status: w.Code, Header: w.Result().Header, Text: w.Body.String()}
	if w.Body.Len() > 0 {
		if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&a.Body); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, a.Text)
		}
		if got := a.Header.Get("Content-Type"); got != media {
			b.t.Errorf("%s %s: media type %q", method, path, got)
		}
	}
	return a
}

// want is do that insists on a status.
func (b *bench) want(status int, method, path, body string, headers ...string) reply {
	b.t.Helper()
	a := b.do(method, path, body, headers...)
	if a.Status != status {
		b.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.Status, a.Text, status)
	}
	return a
}

// at digs into an answer: "emails.0.value".
func (a reply) at(path string) any {
	var v any = a.Body
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i := int(step[0] - '0')
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a reply) id() string { s, _ := a.at("id").(string); return s }

// check compares parts of an answer.
func (b *bench) check(a reply, want map[string]any) {
	b.t.Helper()
	for path, v := range want {
		if got := a.at(path); fmt.Sprint(got) != fmt.Sprint(v) {
			b.t.Errorf("%s is %v, want %v, in %s", path, got, v, a.Text)
		}
	}
}

// ann makes a user.
func (b *bench) ann() string {
	b.t.Helper()
	return b.want(201, "POST", "/Users", `{"schemas":["`+schemaUser+`"],"userName":"ann@example.com","externalId":"x1","displayName":"Ann Lee",
		"name":{"givenName":"Ann","familyName":"Lee"},"emails":[{"value":"ann@example.com","type":"work","primary":true}],"active":true}`).id()
}

func (b *bench) person(name string) string {
	b.t.Helper()
	return b.want(201, "POST", "/Users", `{"userName":"`+name+`"}`).id()
}

func ops(list ...string) string {
	return `{"schemas":["` + schemaPatch + `"],"Operations":[` + strings.Join(list, ",") + `]}`
}
