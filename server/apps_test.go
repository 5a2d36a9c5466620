package server

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func TestAppSignIn(t *testing.T) {
	var c clock
	r := start(t, tempData(t), Options{Now: c.now})
	ctx := t.Context()
	if _, _, err := r.CreateAppToken(ctx, operator, "scada", time.Hour, ""); !refusal.Is(err, "no-such-app") {
		t.Fatalf("an app that is not declared got a token: %v", err)
	}
	r.apply(pumps(true, 10), 0)
	tok, secret, err := r.CreateAppToken(ctx, operator, "scada", time.Hour, "room 2")
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := r.CreateAppToken(ctx, operator, "scada", 48*time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	good := secret.Reveal()
	for range 2 { // the second from memory
		in, err := r.signInApp(ctx, "scada", good)
		if err != nil || in.App != "scada" || in.Token != tok.ID || !in.Expires.Equal(tok.ExpiresAt) {
			t.Fatalf("signed in as %+v, %v", in, err)
		}
	}
	shown, err := r.AppTokens(ctx, "scada")
	if err != nil || len(shown) != 2 || shown[1].LastUsed != r.now().UTC().Format(time.DateOnly) || shown[0].LastUsed != "" {
		t.Errorf("the tokens are %+v, %v", shown, err)
	}
	last := good[len(good)-1]
	flip := map[bool]string{true: "b", false: "a"}[last == 'a']
	for _, bad := range [][2]string{
		{"historian", good}, {"", good}, {"scada", ""}, {"scada", good[:len(good)-1] + flip}, {"scada", good + "a"}, {"scada", strings.Replace(good, "hfm", "hfe", 1)},
		{"scada", "hfm_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 40)}, {"scada", strings.Repeat("hfm_", 1000)},
	} {
		if in, err := r.signInApp(ctx, bad[0], bad[1]); !refusal.Is(err, "bad-app-token") || in.App != "" {
			t.Errorf("%.20q with %.60q: %+v, %v", bad[0], bad[1], in, err)
		}
	}

	// Revoked while it is remembered.
	if err := r.RevokeAppToken(ctx, operator, "scada", tok.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revocation has arrived", func() bool { return r.messaging.tokens.isRevoked(tok.ID) })
	if _, err := r.signInApp(ctx, "scada", good); !refusal.Is(err, "bad-app-token") {
		t.Errorf("a revoked token: %v", err)
	}
	if err := r.RevokeAppToken(ctx, operator, "scada", tok.ID); !refusal.Is(err, "token-revoked") {
		t.Errorf("revoked twice: %v", err)
	}
	if got := r.events("app:scada"); len(got) != 3 {
		t.Errorf("events: %q", got)
	}

	// Expired.
	if _, err := r.signInApp(ctx, "scada", other.Reveal()); err != nil {
		t.Fatal(err)
	}
	c.add(49 * time.Hour)
	if _, err := r.signInApp(ctx, "scada", other.Reveal()); !refusal.Is(err, "bad-app-token") {
		t.Errorf("an expired token: %v", err)
	}
}

// TestAppTokensRemembered checks that what was read before a revocation is not
// kept after it, and that memory is bounded.
func TestAppTokensRemembered(t *testing.T) {
	var c appTokens
	now := time.Now()
	_, changes, _ := c.get("t1", now)
	c.revoke("t1")
	c.put(sqlstore.AppToken{ID: "t1"}, now, changes)
	if _, _, ok := c.get("t1", now); ok {
		t.Error("a token that was read before its revocation is remembered")
	}
	_, changes, _ = c.get("t2", now)
	c.put(sqlstore.AppToken{ID: "t2"}, now, changes)
	if _, _, ok := c.get("t2", now.Add(knownTokenTime-1)); !ok {
		t.Error("a token is not remembered")
	}
	if _, _, ok := c.get("t2", now.Add(knownTokenTime)); ok {
		t.Error("a token is remembered too long")
	}
	for i := range 2 * maxKnownTokens {
		c.put(sqlstore.AppToken{ID: newID(), UsedDay: int64(i)}, now, changes)
	}
	if len(c.known) > maxKnownTokens {
		t.Errorf("%d tokens are remembered", len(c.known))
	}
}
