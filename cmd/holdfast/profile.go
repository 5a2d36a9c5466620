package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/internal/durable"
)

// profile is a server that somebody logged in to, with what this machine trusts
// it by and what it lets them in with.
type profile struct {
	Server     string // https://HOST[:PORT]
	CA         string // pinned authorities in PEM; empty: the system's
	Account    string // how the server calls who logged in, for display
	AccountID  string
	SignedInAt time.Time
	Tokens     tokens
	// Renewing is when a renewal of the tokens began whose end is not known: the
	// refresh token may be used up. Zero: none.
	Renewing time.Time
}

// tokens are what a sign-in gave; both are empty after logging out.
type tokens struct {
	Access  enroll.Secret
	Expires time.Time // of Access
	Refresh enroll.Secret
}

func (t tokens) empty() bool { return t.Refresh.Empty() }

// profiles are all of one person on one machine.
type profiles struct {
	Current string // name of a profile, or empty
	ByName  map[string]profile
}

const (
	maxProfiles    = 200
	maxProfileFile = 4 << 20 // bytes
	maxTokenText   = 16 << 10
	maxCA          = 256 << 10
)

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// storedProfiles is the file, version 1. It holds secrets as text, so nothing
// else may write it out.
type storedProfiles struct {
	Version  int                      `json:"version"`
	Current  string                   `json:"current,omitempty"`
	Profiles map[string]storedProfile `json:"profiles"`
}

type storedProfile struct {
	Server        string    `json:"server"`
	CA            string    `json:"ca,omitempty"`
	Account       string    `json:"account,omitempty"`
	AccountID     string    `json:"account_id,omitempty"`
	SignedInAt    time.Time `json:"signed_in_at,omitzero"`
	AccessToken   string    `json:"access_token,omitempty"`
	AccessExpires time.Time `json:"access_expires,omitzero"`
	RefreshToken  string    `json:"refresh_token,omitempty"`
	Renewing      time.Time `json:"renewing,omitzero"`
}

// parseProfiles reads the file's text. Whatever is not as this version writes it
// is an error: a wrong guess could send a token to the wrong server.
func parseProfiles(text []byte) (profiles, error) {
	p := profiles{ByName: map[string]profile{}}
	if len(text) > maxProfileFile {
		return p, fmt.Errorf("it is larger than %d bytes", maxProfileFile)
	}
	var in storedProfiles
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return p, errors.New("it is not JSON as this version of holdfast writes it")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return p, errors.New("it goes on after its end")
	}
	switch {
	case in.Version != 1:
		return p, fmt.Errorf("its version is %d, and this program knows version 1", in.Version)
	case len(in.Profiles) > maxProfiles:
		return p, fmt.Errorf("it has more than %d profiles", maxProfiles)
	}
	for name, s := range in.Profiles {
		one := profile{Server: s.Server, CA: s.CA, Account: s.Account, AccountID: s.AccountID, SignedInAt: s.SignedInAt, Renewing: s.Renewing,
			Tokens: tokens{enroll.NewSecret(s.AccessToken), s.AccessExpires, enroll.NewSecret(s.RefreshToken)}}
		if err := one.check(name); err != nil {
			return p, err
		}
		p.ByName[name] = one
	}
	if _, ok := p.ByName[in.Current]; in.Current != "" && !ok {
		return p, errors.New("its current profile does not exist")
	}
	p.Current = in.Current
	return p, nil
}

func (p profile) check(name string) error {
	if !profileName.MatchString(name) {
		return fmt.Errorf("it has a profile with the name %.64q", name)
	}
	if canonical, err := serverURL(p.Server); err != nil || canonical != p.Server {
		return fmt.Errorf("the server of profile %s is not an https URL", name)
	}
	if len(p.CA) > maxCA || p.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(p.CA)) {
		return fmt.Errorf("the authorities of profile %s are not PEM", name)
	}
	if len(p.Account) > 512 || len(p.AccountID) > 128 {
		return fmt.Errorf("the account of profile %s is too long", name)
	}
	for _, t := range []enroll.Secret{p.Tokens.Access, p.Tokens.Refresh} {
		if !tokenText(t.Reveal()) {
			return fmt.Errorf("a token of profile %s is not one", name)
		}
	}
	return nil
}

// tokenText tells whether s may be a token in a header: visible ASCII, or nothing.
func tokenText(s string) bool {
	return len(s) <= maxTokenText && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// serverURL checks a server's address and brings it into one form, so that the
// same server is found again.
func serverURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" || len(text) > 512 {
		return "", &usageError{fmt.Sprintf("the server's address %q is not an https URL", text), "use --server https://HOST:PORT"}
	}
	host := strings.ToLower(u.Host)
	if u.Port() == "443" {
		host = strings.TrimSuffix(host, ":443")
	}
	return "https://" + host, nil
}

func (p profiles) encode() ([]byte, error) {
	out := storedProfiles{Version: 1, Current: p.Current, Profiles: map[string]storedProfile{}}
	for name, one := range p.ByName {
		out.Profiles[name] = storedProfile{Server: one.Server, CA: one.CA, Account: one.Account, AccountID: one.AccountID, SignedInAt: one.SignedInAt, Renewing: one.Renewing,
			AccessToken: one.Tokens.Access.Reveal(), AccessExpires: one.Tokens.Expires, RefreshToken: one.Tokens.Refresh.Reveal()}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	return append(text, '\n'), err
}

func (p profiles) names() []string { return slices.Sorted(maps.Keys(p.ByName)) }

// forServer finds the profile of a server: the current one if it fits, else the
// only one that does.
func (p profiles) forServer(server string) (name string, ok bool) {
	if p.Current != "" && p.ByName[p.Current].Server == server {
		return p.Current, true
	}
	for _, n := range p.names() {
		if p.ByName[n].Server == server {
			if ok {
				return "", false
			}
			name, ok = n, true
		}
	}
	return name, ok
}

// profilesPath is where the profiles are (XDG Base Directory Specification);
// empty when the environment names no home.
func (a *app) profilesPath() string {
	if dir := a.env["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast", "profiles.json")
	}
	if dir := a.env["HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, ".config", "holdfast", "profiles.json")
	}
	return ""
}

// readProfiles reads the file; one that is not there has no profiles. A file that
// others may read or that belongs to somebody else is not used: its tokens may
// be known, or its servers chosen, by them.
func (a *app) readProfiles() (profiles, error) {
	none := profiles{ByName: map[string]profile{}}
	path := a.profilesPath()
	if path == "" {
		return none, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return none, nil
	}
	if err != nil {
		return none, fixing("make "+path+" an ordinary file that you may read, or remove it and log in again", fmt.Errorf("reading the profiles: %w", err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return none, fmt.Errorf("reading the profiles: %w", err)
	}
	if err := private(path, info); err != nil {
		return none, err
	}
	text, err := readBounded(f, path, maxProfileFile)
	if err != nil {
		return none, fmt.Errorf("reading the profiles: %w", err)
	}
	p, err := parseProfiles(text)
	if err != nil {
		return none, fixing("remove "+path+" and log in again", fmt.Errorf("reading the profiles: %s is not in order: %w", path, err))
	}
	return p, nil
}

func private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fixing("remove it and log in again", fmt.Errorf("reading the profiles: %s is not an ordinary file", path))
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fixing("close it with `chmod 600 "+quote(path)+"`; if others could read it, run `holdfast logout` and log in again",
			fmt.Errorf("reading the profiles: others may read or write %s", path))
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return fixing("remove it, or run this as its owner", fmt.Errorf("reading the profiles: %s belongs to another user", path))
	}
	return nil
}

// lockWait bounds how long one command waits for another that renews its tokens.
const lockWait = 30 * time.Second

// lockProfiles keeps other processes from changing the profiles until unlock.
func (a *app) lockProfiles(ctx context.Context) (unlock func(), err error) {
	path := a.profilesPath()
	if path == "" {
		return nil, fixing("set HOME or XDG_CONFIG_HOME", errors.New("keeping profiles: the environment names no home folder"))
	}
	if err := durable.MakeFolder(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keeping profiles: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		unlock, err := lockFile(path + ".lock")
		if err == nil {
			return unlock, nil
		}
		select {
		case <-ctx.Done():
			return nil, fixing("try again when the other holdfast command has ended", fmt.Errorf("keeping profiles: %w", err))
		case <-tick.C:
		}
	}
}

// writeProfiles replaces the file. The caller holds the lock.
func (a *app) writeProfiles(p profiles) error {
	text, err := p.encode()
	if err == nil {
		err = durable.WriteFile(a.profilesPath(), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping profiles: %w", err)
	}
	return nil
}

// changeProfiles reads, changes and writes the profiles while no other process
// does; an error of change leaves them as they were.
func (a *app) changeProfiles(ctx context.Context, change func(*profiles) error) error {
	unlock, err := a.lockProfiles(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := a.readProfiles()
	if err != nil {
		return err
	}
	if err := change(&p); err != nil {
		return err
	}
	return a.writeProfiles(p)
}

// rootsOf lists the certificates of a profile's CA, for people.
func rootsOf(text string) (certs []*x509.Certificate) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return certs
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
}

func noProfile(name string, p profiles) error {
	fix := "log in with `holdfast login --server URL`"
	if names := p.names(); len(names) > 0 {
		fix = "there are: " + strings.Join(names, ", ")
	}
	return fixing(fix, fmt.Errorf("there is no profile %q", name))
}
