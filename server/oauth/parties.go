package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Client is an API client with the hash of its secret.
type Client struct {
	access.APIClient
	SecretHash []byte // SHA-256 of the client secret's text; empty: it has none
}

// Clients finds API clients. An unknown one is sqlstore.ErrNotFound. It is asked
// at most once in 10 seconds for a client whose token is in use.
type Clients interface {
	// ByID finds by access.APIClient.ID, which is the OAuth client_id.
	ByID(ctx context.Context, id string) (Client, error)
	// ByName finds by access.APIClient.Name, for tokens of trusted issuers.
	ByName(ctx context.Context, name string) (Client, error)
}

// CLISignIn is a sign-in of the command line.
type CLISignIn struct {
	ID      string
	Person  access.PersonID
	Fresh   time.Time // when the person last proved a factor
	Methods []string  // as access.Proof.Method
	Strong  bool
}

// CLIStart is an approved device code.
type CLIStart struct {
	Person access.PersonID
	Source netip.Addr // of the command line
	Agent  string     // of the command line, printable, at most 256 bytes
	Proof  access.Proof
	// ApprovedIn is the sign-in that the person approved it in.
	ApprovedIn string
}

// SignIns keeps sign-ins of the command line. What is written when a method
// returns nil is durable. A refusal inside the error means that the person may
// not, or that the secret is not good; any other error that nothing is known.
type SignIns interface {
	StartCLI(ctx context.Context, start CLIStart) (refresh enroll.Secret, in CLISignIn, err error)
	// RefreshCLI replaces the secret. One that was replaced before ends the
	// sign-in: it was stolen, or the one who has the newer was.
	RefreshCLI(ctx context.Context, refresh enroll.Secret, source netip.Addr) (next enroll.Secret, in CLISignIn, err error)
	// EndCLI ends the sign-in of a secret and returns its id; a secret that is
	// not good is no error, and has no id.
	EndCLI(ctx context.Context, refresh enroll.Secret, source netip.Addr) (id string, err error)
	// AliveCLI tells whether the sign-in has not ended and its person may sign
	// in. It is asked at most once in 10 seconds for a token that is in use.
	AliveCLI(ctx context.Context, id string) (bool, error)
}

// secretPrefix lets scanners find a client secret that leaked into a repository.
const secretPrefix = "hfc_"

// code32 has no capitals, no l, o, 0 and 1.
var code32 = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// NewClientSecret makes a client secret of 200 random bits and the hash of it
// that Client.SecretHash holds.
func NewClientSecret() (secret enroll.Secret, hash [32]byte) {
	text := secretPrefix + randomText(25)
	return enroll.NewSecret(text), sha256.Sum256([]byte(text))
}

// randomText is n random bytes as text.
func randomText(n int) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails (Go 1.24)
	return code32.EncodeToString(raw)
}

// secretIs compares in constant time; where there is no hash it does the same
// work and says no.
func (c Client) secretIs(secret enroll.Secret) bool {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	var want [32]byte
	n := copy(want[:], c.SecretHash)
	return subtle.ConstantTimeCompare(sum[:], want[:]) == 1 && n == len(want) && len(c.SecretHash) == n
}
