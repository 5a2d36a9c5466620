package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	deviceLife      = 10 * time.Minute
	pollInterval    = 5  // seconds
	maxPollInterval = 60 // seconds
	maxWaiting      = 10_000
	devicePrefix    = "hfd_"
	// userLetters make codes that spell no words and that no two look alike (RFC
	// 8628 section 6.1). Eight of 20 are 34 bits; a guess helps only a signed-in
	// person, and is limited.
	userLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userLength  = 8
)

const (
	waitingState  = "waiting"
	approvedState = "approved"
	deniedState   = "denied"
)

// waiting is a device code as stored, under the hash of its user code.
type waiting struct {
	Secret     []byte // SHA-256 of the device code's secret part
	Scope      *string
	Source     netip.Addr
	Agent      string
	At         time.Time
	Polled     time.Time
	Interval   int // seconds between polls
	State      string
	Person     access.PersonID
	Proof      access.Proof
	ApprovedIn string
}

func (w waiting) encode() []byte {
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // plain fields
	}
	return b
}

func userHash(code string) [32]byte { return sha256.Sum256([]byte("device user code " + code)) }

// newUserCode draws letters evenly.
func newUserCode() string {
	var code []byte
	for raw := make([]byte, 32); len(code) < userLength; {
		rand.Read(raw) // never fails (Go 1.24)
		for _, b := range raw {
			if int(b) < 256/len(userLetters)*len(userLetters) && len(code) < userLength {
				code = append(code, userLetters[int(b)%len(userLetters)])
			}
		}
	}
	return string(code)
}

// readUserCode accepts what people type: small letters, spaces, any dash or none.
func readUserCode(text string) (code string, ok bool) {
	if len(text) > 64 {
		return "", false
	}
	var b strings.Builder
	for _, r := range strings.ToUpper(text) {
		switch {
		case strings.ContainsRune(userLetters, r):
			b.WriteRune(r)
		case r == ' ' || r == '-' || r == '\u2010' || r == '\u2011' || r == '\u2013' || r == '\u2014':
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == userLength
}

// shownCode is how a user code is written: XXXX-XXXX.
func shownCode(code string) string { return code[:4] + "-" + code[4:] }

// deviceAnswer is RFC 8628 section 3.2.
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	Where      string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int    `json:"interval"`
}

// authorizeDevice is the device authorization endpoint (RFC 8628 section 3.1).
func (s *Server) authorizeDevice(r *request) (any, error) {
	c, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	if !c.cli() {
		return nil, no("unauthorized_client", "this client may not use this grant")
	}
	scope, err := readScope(r.form["scope"])
	if err != nil {
		return nil, err
	}
	now, secret := s.cfg.Now(), randomText(25)
	sum := sha256.Sum256([]byte(secret))
	w := waiting{Secret: sum[:], Scope: scope, Source: r.source, Agent: audit.Text(r.UserAgent(), 256), At: now, Interval: pollInterval, State: waitingState}
	for range 3 { // a code that is taken is one in millions
		code := newUserCode()
		ok, err := s.cfg.Store.InsertDeviceCode(r.Context(), userHash(code), w.encode(), now, now.Add(deviceLife), maxWaiting)
		if errors.Is(err, sqlstore.ErrChanged) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adding a device code: %w", err)
		}
		if !ok {
			return nil, refusal.New(refusal.Unavailable, "too-many-waiting", "wait a few minutes", "too many sign-ins wait to be approved")
		}
		page := s.cfg.Issuer + PathApprove
		return deviceAnswer{DeviceCode: devicePrefix + code + "_" + secret, UserCode: shownCode(code), Where: page,
			Complete: page + "?" + url.Values{"code": {shownCode(code)}}.Encode(), ExpiresIn: int64(deviceLife / time.Second), Interval: pollInterval}, nil
	}
	return nil, errors.New("adding a device code: every code drawn was taken")
}

// readDeviceCode splits a device code.
func readDeviceCode(text string) (code string, sum [32]byte, ok bool) {
	rest, ok := strings.CutPrefix(text, devicePrefix)
	code, secret, found := strings.Cut(rest, "_")
	if !ok || !found || len(code) != userLength || len(secret) != code32.EncodedLen(25) || strings.Trim(code, userLetters) != "" {
		return "", sum, false
	}
	return code, sha256.Sum256([]byte(secret)), true
}

// redeem serves the device_code grant (RFC 8628 section 3.4): one poll.
func (s *Server) redeem(r *request) (any, error) {
	bad := no("invalid_grant", "the device code is not valid")
	code, sum, ok := readDeviceCode(r.form["device_code"])
	if !ok {
		return nil, bad
	}
	hash := userHash(code)
	for range 3 {
		data, until, err := s.cfg.Store.DeviceCode(r.Context(), hash)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil, bad
		}
		var w waiting
		if err == nil {
			err = json.Unmarshal(data, &w)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a device code: %w", err)
		}
		if subtle.ConstantTimeCompare(sum[:], w.Secret) != 1 {
			return nil, bad
		}
		if !s.cfg.Now().Before(until) {
			return nil, no("expired_token", "the code was not approved in time: start again")
		}
		got, err := s.poll(r, hash, data, w)
		if !errors.Is(err, sqlstore.ErrChanged) {
			return got, err
		}
	}
	return nil, no("slow_down", "somebody else asks with the same code")
}

// poll answers by the code's state; ErrChanged if that changed meanwhile.
func (s *Server) poll(r *request, hash [32]byte, data []byte, w waiting) (any, error) {
	now := s.cfg.Now()
	switch w.State {
	case deniedState:
		if err := s.cfg.Store.TakeDeviceCode(r.Context(), hash, data); err != nil {
			return nil, err
		}
		return nil, no("access_denied", "the person said no")
	case approvedState:
		return s.start(r, hash, data, w)
	}
	// A second's grace is for the clocks of two nodes.
	early := now.Sub(w.Polled) < time.Duration(w.Interval-1)*time.Second
	if early {
		if w.Interval >= maxPollInterval {
			return nil, no("slow_down", "ask every %d seconds", w.Interval)
		}
		w.Interval = min(w.Interval+5, maxPollInterval)
	}
	w.Polled = now
	if err := s.cfg.Store.UpdateDeviceCode(r.Context(), hash, data, w.encode(), ""); err != nil {
		return nil, err
	}
	if early {
		return nil, no("slow_down", "ask every %d seconds", w.Interval)
	}
	return nil, no("authorization_pending", "nobody approved the code yet")
}

// start redeems an approved code. The code goes first, so that it makes at most
// one sign-in whoever asks; a crash before the sign-in is stored means that the
// person approves once more.
func (s *Server) start(r *request, hash [32]byte, data []byte, w waiting) (any, error) {
	if s.keys.Load().signer(s.cfg.Now(), s.cfg.Life) == nil {
		return nil, errNoKey
	}
	if err := s.cfg.Store.TakeDeviceCode(r.Context(), hash, data); err != nil {
		return nil, err
	}
	secret, in, err := s.cfg.SignIns.StartCLI(r.Context(), CLIStart{Person: w.Person, Source: r.source, Agent: w.Agent, Proof: w.Proof, ApprovedIn: w.ApprovedIn})
	if err != nil {
		return nil, denied(err, no("access_denied", "the person may not sign in"))
	}
	return s.cliAnswer(secret, in, w.Scope, w.Scope)
}
