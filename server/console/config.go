package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/signin"
	"github.com/holdfast-iot/holdfast/server/people"
)

// Config is everything the console needs. What is not optional is required.
type Config struct {
	People *people.People
	// Identity is what a person who is signed in may do now.
	Identity func(ctx context.Context, in people.SignIn, source string) (access.Identity, error)
	// API is a client whose calls act as id, in process: every check of the API
	// applies to them.
	API func(ctx context.Context, id access.Identity) *adminapi.Client
	// Providers are the identity providers that people can sign in with. Optional.
	Providers []signin.Provider
	// Devices decides about command lines that ask to be let in. Optional.
	Devices signin.Devices
	// Seal encrypts and authenticates what browsers keep for the console; Open is
	// its inverse and fails unless about is the same. All servers of an
	// installation share the key.
	Seal func(plain, about []byte) ([]byte, error)
	Open func(sealed, about []byte) ([]byte, error)
	// Source tells where a request came from. It must not believe a header that
	// clients may set. Optional: the address of the connection.
	Source func(*http.Request) netip.Addr
	Now    func() time.Time
	Log    *slog.Logger
	// Closing is closed when the server begins to stop: live streams end then.
	// Optional.
	Closing <-chan struct{}
	Version string
	Place   string // what this installation is called: its trust domain
	// LiveStreams bounds live streams of all people together; 0: 2,000.
	LiveStreams int
}

func (c *Config) check() error {
	switch {
	case c.People == nil, c.Identity == nil, c.API == nil, c.Seal == nil, c.Open == nil, c.Now == nil, c.Log == nil:
		return errors.New("making the console: a required field of its configuration is missing")
	}
	if c.Source == nil {
		c.Source = func(r *http.Request) netip.Addr {
			at, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				return netip.Addr{}
			}
			return at.Addr().Unmap()
		}
	}
	if c.LiveStreams == 0 {
		c.LiveStreams = 2000
	}
	return nil
}
