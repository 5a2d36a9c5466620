package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// begin asks for a device code.
func (w *world) begin(s *Server, scope string) (device, user string) {
	w.Helper()
	status, got, header := call(s, pathDevice, url.Values{"client_id": {CLIClient}, "scope": {scope}}, "User-Agent", "holdfast/1.0 (linux)\x1b[31m")
	if status != 200 || header.Get("Cache-Control") != "no-store" {
		w.Fatalf("%d %v", status, got)
	}
	if got["verification_uri"] != issuer+"/device" || got["verification_uri_complete"] != issuer+"/device?code="+got["user_code"].(string) || got["expires_in"] != 600.0 || got["interval"] != 5.0 {
		w.Fatalf("the answer is %v", got)
	}
	return got["device_code"].(string), got["user_code"].(string)
}

func poll(s *Server, device string) (int, map[string]any) {
	status, got, _ := call(s, pathToken, url.Values{"grant_type": {grantDevice}, "client_id": {CLIClient}, "device_code": {device}})
	return status, got
}

func refreshForm(token, scope string) url.Values {
	return url.Values{"grant_type": {grantRefresh}, "client_id": {CLIClient}, "refresh_token": {token}, "scope": {scope}}
}

func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	device, user := w.begin(a, "")
	status, got := poll(b, device)
	w.code(status, got, 400, "authorization_pending")
	status, got = poll(a, device)
	w.code(status, got, 400, "slow_down")
	w.move(5 * time.Second)
	status, got = poll(a, device) // has to wait ten seconds now
	w.code(status, got, 400, "slow_down")
	w.move(15 * time.Second)
	status, got = poll(a, device)
	w.code(status, got, 400, "authorization_pending")

	req, err := b.Pending(t.Context(), w.alice(), strings.ToLower(strings.ReplaceAll(user, "-", " ")))
	w.ok(err)
	if req.Code != user || req.Source != here || req.Client != CLIClient || !strings.HasPrefix(req.Agent, "holdfast/1.0") || strings.Contains(req.Agent, "\x1b") || !req.At.Equal(start) {
		t.Fatalf("the request is %+v", req)
	}
	w.ok(b.Approve(t.Context(), w.alice(), user))
	for _, again := range []func(context.Context, access.Identity, string) error{a.Approve, a.Deny} {
		if err := again(t.Context(), w.alice(), user); !refusal.Is(err, "no-such-code") {
			t.Fatalf("deciding twice gives %v", err)
		}
	}
	status, got = poll(a, device)
	if status != 200 {
		t.Fatal(status, got)
	}
	c, err := b.Verify(t.Context(), got["access_token"].(string), here)
	w.ok(err)
	if c.Kind != access.Human || c.Person != "palice0000000000" || c.SignIn != "s1" || !c.Strong || c.Scope != nil || fmt.Sprint(c.Methods) != "[pop mfa]" || c.AuthTime.IsZero() {
		t.Fatalf("the claims are %+v", c)
	}
	status, again := poll(b, device)
	w.code(status, again, 400, "invalid_grant")

	// Refresh; then the old secret ends the sign-in, access tokens included.
	first := got["refresh_token"].(string)
	status, got, _ = call(b, pathToken, refreshForm(first, ""))
	if status != 200 || got["refresh_token"] == first {
		t.Fatal(status, got)
	}
	newer := got["access_token"].(string)
	if _, err := a.Verify(t.Context(), newer, here); err != nil {
		t.Fatal(err)
	}
	status, again, _ = call(a, pathToken, refreshForm(first, ""))
	w.code(status, again, 400, "invalid_grant")
	status, again, _ = call(a, pathToken, refreshForm(got["refresh_token"].(string), ""))
	w.code(status, again, 400, "invalid_grant")
	w.move(recheckEvery)
	w.why(a, newer, SignInEnded)
}

func TestDeviceScope(t *testing.T) {
	w := newWorld(t)
	s := w.node()
	device, user := w.begin(s, "device.read policy.read")
	req, err := s.Pending(t.Context(), w.alice(), user)
	w.ok(err)
	if len(req.Scope) != 2 {
		t.Fatal(req.Scope)
	}
	w.ok(s.Approve(t.Context(), w.alice(), user))
	_, got := poll(s, device)
	if got["scope"] != "device.read policy.read" {
		t.Fatal(got)
	}
	refresh := got["refresh_token"].(string)
	status, got, _ := call(s, pathToken, refreshForm(refresh, "device.write"))
	w.code(status, got, 400, "invalid_scope")
	// The narrowing cannot be taken off, or taken from another token.
	secret, sealed, _ := strings.Cut(refresh, ".")
	device, user = w.begin(s, "")
	w.ok(s.Approve(t.Context(), w.alice(), user))
	_, wide := poll(s, device)
	_, wideSealed, _ := strings.Cut(wide["refresh_token"].(string), ".")
	for _, text := range []string{secret, secret + ".", secret + "." + wideSealed, secret + "." + sealed[:len(sealed)-2], "." + sealed, strings.Repeat("x", 5000)} {
		status, got, _ := call(s, pathToken, refreshForm(text, ""))
		w.code(status, got, 400, "invalid_grant")
	}
	// None of that used the secret up; a narrower access token leaves the grant.
	status, got, _ = call(s, pathToken, refreshForm(refresh, "device.read"))
	if status != 200 || got["scope"] != "device.read" {
		t.Fatal(status, got)
	}
	status, got, _ = call(s, pathToken, refreshForm(got["refresh_token"].(string), ""))
	if status != 200 || got["scope"] != "device.read policy.read" {
		t.Fatal(status, got)
	}
}

func TestDeviceRefusals(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	cfg := w.config()
	cfg.StepUp = 5 * time.Minute
	s, err := New(t.Context(), cfg)
	w.ok(err)
	status, got, _ := call(s, pathDevice, url.Values{"client_id": {"c1"}, "client_secret": {secret}})
	w.code(status, got, 400, "unauthorized_client")
	status, got, _ = call(s, pathDevice, url.Values{"client_id": {CLIClient}, "scope": {"openid"}})
	w.code(status, got, 400, "invalid_scope")
	device, user := w.begin(s, "")
	for _, text := range []string{"", "x", user, device + "x", device[:len(device)-1] + "l", "hfd_" + strings.ReplaceAll(user, "-", "") + "_" + randomText(25), "hfd_BCDFGHJK_" + randomText(25), strings.ToLower(device)} {
		status, got := poll(s, text)
		if status != 400 || got["error"] != "invalid_grant" && got["error"] != "invalid_request" {
			t.Errorf("the device code %q gives %d %v", text, status, got)
		}
	}
	program := access.Identity{Actor: access.Actor{Kind: access.Client, ID: "c1"}}
	if err := s.Approve(t.Context(), program, user); !refusal.Is(err, "not-a-person") {
		t.Fatal(err)
	}
	stale := w.alice()
	stale.Proof.Fresh = w.clock().Add(-6 * time.Minute)
	if err := s.Approve(t.Context(), stale, user); !refusal.Is(err, "step-up-needed") {
		t.Fatal(err)
	}
	w.ok(s.Deny(t.Context(), stale, user))
	status, got = poll(s, device)
	w.code(status, got, 400, "access_denied")
	status, got = poll(s, device)
	w.code(status, got, 400, "invalid_grant")

	// What the sign-ins say no to.
	device, user = w.begin(s, "")
	w.ok(s.Approve(t.Context(), w.alice(), user))
	w.signIns.fail = refusal.New(refusal.Forbidden, "disabled", "", "the account is disabled")
	status, got = poll(s, device)
	w.code(status, got, 400, "access_denied")
	w.signIns.fail = nil

	// Expired, before and after the rows are swept.
	device, user = w.begin(s, "")
	w.move(deviceLife)
	if err := s.Approve(t.Context(), w.alice(), user); !refusal.Is(err, "no-such-code") {
		t.Fatal(err)
	}
	status, got = poll(s, device)
	w.code(status, got, 400, "expired_token")
	w.ok(w.store.SweepOAuth(t.Context(), w.clock().Add(time.Second)))
	status, got = poll(s, device)
	w.code(status, got, 400, "invalid_grant")
}

func TestUserCodeGuessing(t *testing.T) {
	w := newWorld(t)
	s := w.node()
	_, user := w.begin(s, "")
	for i := range maxGuesses {
		if _, err := s.Pending(t.Context(), w.alice(), newUserCode()); !refusal.Is(err, "no-such-code") {
			t.Fatal(i, err)
		}
	}
	if _, err := s.Pending(t.Context(), w.alice(), user); !refusal.Is(err, "too-many-codes") {
		t.Fatalf("after %d wrong codes: %v", maxGuesses, err)
	}
	if err := s.Approve(t.Context(), w.alice(), user); !refusal.Is(err, "too-many-codes") {
		t.Fatal(err)
	}
	other := w.alice()
	other.Actor.ID = "pother0000000000"
	if _, err := s.Pending(t.Context(), other, user); err != nil {
		t.Fatalf("one person's guesses stop another: %v", err)
	}
	w.move(guessTime - time.Minute)
	if _, err := s.Pending(t.Context(), w.alice(), user); err == nil {
		t.Fatal("the limit ended early")
	}
}

func TestUserCodes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		code := newUserCode()
		if len(code) != userLength || strings.Trim(code, userLetters) != "" || strings.ContainsAny(code, "AEIOUY") || seen[code] {
			t.Fatalf("the code is %q", code)
		}
		seen[code] = true
		if got, ok := readUserCode(" " + strings.ToLower(shownCode(code)) + " "); !ok || got != code {
			t.Fatalf("%q is read as %q", shownCode(code), got)
		}
	}
	for _, text := range []string{"", "BCDF", "BCDF-GHJK-L", "BCDF_GHJK", "ABCD-EFGH", "BCDFGHJ\x00", strings.Repeat("-", 100)} {
		if got, ok := readUserCode(text); ok {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

// TestTwoPollers redeems one approved code from many places at once.
func TestTwoPollers(t *testing.T) {
	w := newWorld(t)
	nodes := []*Server{w.node(), w.node()}
	for range 5 {
		device, user := w.begin(nodes[0], "")
		w.ok(nodes[1].Approve(t.Context(), w.alice(), user))
		before, wins := w.signIns.count, 0
		for _, status := range atOnce(6, func(i int) int { status, _ := poll(nodes[i%2], device); return status }) {
			if status == 200 {
				wins++
			}
		}
		if wins != 1 || w.signIns.count != before+1 {
			t.Fatalf("%d of 6 polls won, and %d sign-ins were made", wins, w.signIns.count-before)
		}
	}
	// While nobody decided, polls at once tell all but one to slow down.
	device, user := w.begin(nodes[0], "")
	pending := 0
	for _, code := range atOnce(6, func(i int) string { _, got := poll(nodes[i%2], device); return got["error"].(string) }) {
		if code == "authorization_pending" {
			pending++
		} else if code != "slow_down" {
			t.Fatal(code)
		}
	}
	if pending > 1 {
		t.Fatalf("%d polls at one moment were in time", pending)
	}
	// Approving while others poll.
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 20 {
			poll(nodes[0], device)
		}
	}()
	err := nodes[1].Approve(t.Context(), w.alice(), user)
	<-stop
	if err != nil && !refusal.Is(err, "changed-meanwhile") {
		t.Fatal(err)
	}
}

// TestDeviceClient is golang.org/x/oauth2 on a clock that stands still while
// nothing happens.
func TestDeviceClient(t *testing.T) {
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := openWorld(t, dir+"/holdfast.db", sqlstore.Faults{})
			w.clock = time.Now
			s := w.node()
			ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: direct{s.Handler()}})
			cfg := oauth2.Config{ClientID: CLIClient, Endpoint: oauth2.Endpoint{TokenURL: issuer + pathToken, DeviceAuthURL: issuer + pathDevice, AuthStyle: style}}
			da, err := cfg.DeviceAuth(ctx)
			w.ok(err)
			go func() {
				time.Sleep(33 * time.Second) // the person takes their time
				if err := s.Approve(ctx, w.alice(), da.UserCode); err != nil {
					t.Error(err)
				}
			}()
			token, err := cfg.DeviceAccessToken(ctx, da)
			w.ok(err)
			c, err := s.Verify(ctx, token.AccessToken, here)
			w.ok(err)
			if c.Person != "palice0000000000" {
				t.Fatalf("%+v", c)
			}
			source := cfg.TokenSource(ctx, token)
			time.Sleep(DefaultLife)
			next, err := source.Token()
			w.ok(err)
			if next.AccessToken == token.AccessToken || next.RefreshToken == token.RefreshToken {
				t.Fatal("nothing was refreshed")
			}
			if _, err = s.Verify(ctx, next.AccessToken, here); err != nil {
				t.Fatal(err)
			}
			w.store.Close()
		})
	}
}

// direct serves requests without a socket.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// TestKilledBetweenSteps fails each write of the device flow, before and after
// it is durable: an approved code makes at most one sign-in, and a client that
// is told of an error has no token.
func TestKilledBetweenSteps(t *testing.T) {
	for _, unreported := range []bool{false, true} {
		for _, name := range []string{"devicecode.insert", "devicecode.update", "devicecode.take", "audit.append", "jwt.use", "accesstoken.revoke"} {
			t.Run(fmt.Sprint(name, " unreported ", unreported), func(t *testing.T) {
				failing, failed := "", false
				fail := func(write string) error {
					if write == failing {
						failed = true
						return errors.New("killed here")
					}
					return nil
				}
				faults := sqlstore.Faults{NotWritten: fail}
				if unreported {
					faults = sqlstore.Faults{Unreported: fail}
				}
				dir := t.TempDir()
				w := openWorld(t, dir+"/holdfast.db", faults)
				key := newECKey(t)
				w.keyed("k1", jwkOf(key))
				_, secret := w.client("c1")
				s := w.node()
				failing = name
				made := w.flow(s, secret, key)
				if made > 1 {
					t.Fatalf("one approval made %d sign-ins", made)
				}
				if !failed {
					t.Fatal("the write was not made")
				}
				failing = ""
				s = w.node() // as after a restart
				if w.flow(s, secret, key) != 1 {
					t.Fatal("it does not work again")
				}
			})
		}
	}
}

// flow runs all that writes, ignores what fails, and returns how many sign-ins
// one device code made.
func (w *world) flow(s *Server, secret string, key any) int {
	before := w.signIns.count
	if _, got, _ := call(s, pathDevice, url.Values{"client_id": {CLIClient}}); got["device_code"] != nil {
		device, user := got["device_code"].(string), got["user_code"].(string)
		poll(s, device)
		s.Approve(context.Background(), w.alice(), user)
		poll(s, device)
		poll(s, device)
	}
	_, got, _ := call(s, pathToken, url.Values{"grant_type": {grantClient}, "client_id": {"c1"}, "client_secret": {secret}})
	if token, ok := got["access_token"].(string); ok {
		status, _, _ := call(s, pathRevoke, url.Values{"client_id": {"c1"}, "client_secret": {secret}, "token": {token}})
		if _, err := s.Verify(context.Background(), token, here); err == nil && status == 200 {
			w.Error("a revoked token is good")
		}
	}
	assertion := sign(w.TB, "ES256", key, map[string]any{"kid": "k"}, map[string]any{"iss": "k1", "sub": "k1", "aud": issuer, "exp": w.clock().Unix() + 60, "jti": randomText(9)})
	first, _, _ := call(s, pathToken, assertionForm(assertion))
	second, _, _ := call(s, pathToken, assertionForm(assertion))
	if first == 200 && second == 200 {
		w.Error("an assertion worked twice")
	}
	return w.signIns.count - before
}

func TestTooManyWait(t *testing.T) {
	w := newWorld(t)
	s := w.node()
	insert := func(n byte, limit int) (bool, error) {
		return w.store.InsertDeviceCode(t.Context(), [32]byte{n}, []byte("{}"), w.clock(), w.clock().Add(deviceLife), limit)
	}
	for n := range byte(21) {
		ok, err := insert(n, 21)
		if w.ok(err); !ok {
			t.Fatalf("number %d was not taken", n)
		}
	}
	ok, err := insert(99, 21)
	if w.ok(err); ok {
		t.Fatal("one more than the limit waits")
	}
	w.begin(s, "")
	rec := httptest.NewRecorder()
	s.fail(rec, httptest.NewRequest("POST", pathDevice, nil), refusal.New(refusal.Unavailable, "too-many-waiting", "wait a few minutes", "too many sign-ins wait to be approved"))
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "temporarily_unavailable") || rec.Header().Get("Retry-After") == "" {
		t.Fatal(rec.Code, rec.Body)
	}
}

// TestRun lets the loop of a node notice a revocation that another wrote, and
// that a month has gone by.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t, dir+"/holdfast.db", sqlstore.Faults{})
		w.clock = func() time.Time { return time.Now().Add(time.Duration(w.moved.Load())) }
		_, secret := w.client("c1")
		s := w.node()
		first := s.current().id
		token := w.clientToken(s, "c1", secret, "")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		c, err := s.Verify(ctx, token, here)
		w.ok(err)
		w.ok(w.store.RevokeAccessToken(ctx, c.ID, c.ExpiresAt, w.clock()))
		time.Sleep(upkeepEvery + time.Second)
		w.why(s, token, Revoked)
		w.move(rotateEvery + aheadTime)
		time.Sleep(2 * upkeepEvery)
		if len(s.published().Keys) != 2 || s.current().id != first {
			t.Fatal("no key was made ahead")
		}
		cancel()
		w.ok(<-done)
		w.store.Close()
	})
}

func FuzzCodes(f *testing.F) {
	w := newWorld(f)
	s := w.node()
	good, err := s.makeRefresh(enroll.NewSecret("hfr_x_y"), nil)
	w.ok(err)
	f.Add("BCDF-GHJK")
	f.Add("hfd_BCDFGHJK_" + randomText(25))
	f.Add(good)
	f.Add("device.read policy.read")
	f.Fuzz(func(t *testing.T, text string) {
		if code, ok := readUserCode(text); ok && (len(code) != userLength || strings.Trim(code, userLetters) != "") {
			t.Fatalf("%q is read as %q", text, code)
		}
		if code, _, ok := readDeviceCode(text); ok && (len(code) != userLength || strings.Trim(code, userLetters) != "") {
			t.Fatalf("%q is read as %q", text, code)
		}
		if secret, _, ok := s.readRefresh(enroll.NewSecret(text)); ok && (secret.Reveal() != "hfr_x_y" || len(text) != len(good)) {
			t.Fatalf("a refresh token %q that was not made here was taken", text)
		}
		if scope, err := readScope(text); err == nil && scope != nil && (len(*scope) > len(text) || !within(scope, scope)) {
			t.Fatalf("the scope %q became %q", text, *scope)
		}
	})
}
