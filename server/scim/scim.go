// Package scim lets an identity provider (Okta, Entra ID, Keycloak, authentik)
// make, change and above all switch off the accounts of people: it is a SCIM 2.0
// service provider (RFC 7643, RFC 7644) for users and groups.
//
// It promises that an answer to a request that switches somebody off is given
// only after the Directory says that every sign-in of theirs has ended; that a
// PATCH is done whole or not at all and gives what a PUT of its result would
// give; that what was read is bounded before it is looked at; and that a password
// in a request is neither kept nor repeated. Attributes that Holdfast has no use
// for (telephone numbers, addresses, departments) are accepted and forgotten, so
// that the providers' own default mappings work.
//
// It trusts Authenticate to let through only who holds access.PersonWrite, and
// the Directory and Groups to keep the contracts written there. Whoever can write
// through it can disable every account that the Directory shows it and, because
// the names of groups are mapped to roles elsewhere, give the roles that are
// mapped: the provider's token is as powerful as the roles it can reach.
package scim

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-iot/holdfast/access"
)

// Prefix is the path that the service lives under.
const Prefix = "/scim/v2"

// Bounds of the service. A request beyond one is refused whole.
const (
	MaxBody       = 256 << 10 // bytes of a request's body
	MaxOperations = 100       // in one PATCH
	MaxPatched    = 1000      // members named in one PATCH
	MaxMembers    = 10000     // in one group
	MaxGroups     = 1000      // in the directory
	MaxPage       = 200       // users or groups in one answer
	maxListed     = 20000     // members in one list of groups: the page ends before it
	maxFilter     = 2048      // bytes of a filter or path
	maxTerms      = 16        // comparisons in a filter, also after it was multiplied out
	maxDepth      = 16        // JSON values inside each other, and brackets in a filter
	maxEmails     = 16        // of one user
)

// What a Directory or Groups answers, wrapped or not. Any other refusal that it
// returns reaches the identity provider with its sentence; any other error is a
// 500 without a word of it.
var (
	// ErrNotFound: there is no such user or group in sight.
	ErrNotFound = errors.New("no such resource")
	// ErrChanged: the resource is not at the version that the change was made from.
	ErrChanged = errors.New("the resource has changed")
	// ErrTaken: the userName, externalId or name belongs to another.
	ErrTaken = errors.New("the name is taken")
)

// User is an account as an identity provider sees it.
type User struct {
	ID         string // access.PersonID; chosen by the Directory
	UserName   string // valid by access.Person.Validate, in the form of access.PersonName
	ExternalID string // the provider's id for them: "" or at most 256 printable bytes
	Display    string // valid by access.Person.Validate
	Given      string // as Family: at most 128 printable bytes. A Directory may
	Family     string // forget both: Display is always filled from them
	Mail       string // valid by access.Person.Validate
	Active     bool   // may sign in, or may follow the invitation
	Groups     []Ref  // read only: which groups they are in, ordered by ID
	Version    int64  // grows with each change of the fields above Groups
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Ref names a group.
type Ref struct{ ID, Name string }

// Match is what a user must equal in every field that is set. Active is set when
// it is not nil; UserName is in the form of access.PersonName; Mail is compared
// without regard to the case of ASCII letters.
type Match struct {
	ID, UserName, ExternalID, Mail string
	Active                         *bool
}

// Query asks for users that fit any of at most 16 matches, or for all when there
// are none: Limit of them (0 to MaxPage; 0 asks for the number alone), after the
// first Offset.
type Query struct {
	Any           []Match
	Offset, Limit int
}

// Directory keeps the accounts. It shows those that the identity provider may
// manage and no others: local and emergency accounts are neither listed nor
// found, and their names are ErrTaken. All methods may be called at once; a
// change that was answered without error survives a crash.
type Directory interface {
	// ListUsers answers in an order that does not change as users are added
	// (CreatedAt, then ID), with the number of all users that fit.
	ListUsers(ctx context.Context, q Query) (users []User, total int, err error)
	// GetUser errs with ErrNotFound.
	GetUser(ctx context.Context, id string) (User, error)
	// CreateUser chooses ID, Version and times. It errs with ErrTaken when another
	// account, shown or not, has the UserName or ExternalID. An account that
	// DisableUser removed is taken back, under its old ID but without the
	// password, passkeys and other factors that it had: a name can pass to
	// another person.
	CreateUser(ctx context.Context, by access.Actor, u User) (User, error)
	// UpdateUser replaces UserName, ExternalID, Display, Given, Family, Mail and
	// Active of the user u.ID if it is still at u.Version, else it errs with
	// ErrChanged; also with ErrNotFound and ErrTaken. Where Active is false, even if
	// it was before, it returns only after every sign-in of the user has ended on
	// every server. A change that changes nothing leaves the version as it is.
	UpdateUser(ctx context.Context, by access.Actor, u User) (User, error)
	// DisableUser switches the account off, removes it from its groups and from
	// sight, and returns only after every sign-in has ended on every server.
	// From then on ListUsers and GetUser do not know it (RFC 7644 section 3.6).
	// version is that of UpdateUser, or 0 for whatever it is.
	DisableUser(ctx context.Context, by access.Actor, id string, version int64) error
}

// Group is a set of users under a name. What roles the name gives is decided
// elsewhere.
type Group struct {
	ID         string   // chosen by Groups: 1 to 64 of A-Z a-z 0-9 _ -
	Name       string   // 1 to 256 printable bytes, unique by Fold
	ExternalID string   // "" or at most 256 printable bytes; not unique
	Members    []string // ids of users, ordered, each once; nil where they were not asked for
	Version    int64    // grows with each change, also of the members
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// GroupChange makes a group (ID empty, Version 0) or changes one.
type GroupChange struct {
	ID         string
	Version    int64 // that the change was made from
	Name       string
	ExternalID string
	Add        []string // ids of users, ordered, none a member
	Remove     []string // ids of users, ordered, all members
}

// Groups keeps the groups; its rules on calls are those of Directory.
type Groups interface {
	// ListGroups answers all groups, at most MaxGroups, without members, ordered
	// by CreatedAt and then ID.
	ListGroups(ctx context.Context) ([]Group, error)
	// GetGroup answers with the members. It errs with ErrNotFound.
	GetGroup(ctx context.Context, id string) (Group, error)
	// SetGroup errs with ErrTaken when another group has a Name of the same Fold,
	// with ErrChanged and ErrNotFound, and with a refusal where a user in Add does
	// not exist, or there are MaxGroups already. It returns, with the members,
	// once the roles that follow from the change are in force: also those that it
	// takes away. A change that changes nothing answers the group as it is.
	SetGroup(ctx context.Context, by access.Actor, c GroupChange) (Group, error)
	// DeleteGroup takes the roles that it gave with it. version is as in
	// DisableUser.
	DeleteGroup(ctx context.Context, by access.Actor, id string, version int64) error
}

// Fold brings a group's name into the form in which two of them are the same.
func Fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// printable tells whether s is printable text of at most limit bytes.
func printable(s string, limit int) bool {
	return len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0
}
