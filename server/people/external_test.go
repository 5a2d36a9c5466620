package people

import (
	"testing"
	"time"
)

// TestProofOfProvider: a session at the provider is no fresh proof; a password that
// it has just asked for is one, as fresh as it is.
func TestProofOfProvider(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	start := h.time()
	ext := External{Provider: "oidc:corp", Subject: "1", Name: "eve", Strong: true, AuthTime: start.Add(-8 * time.Hour)}
	_, in, err := h.External(ctx, ext, office)
	h.ok(err)
	if !in.FreshAt.Equal(ext.AuthTime) {
		t.Errorf("a password of this morning is as fresh as %v", in.FreshAt)
	}
	_, _, err = h.ProveExternal(ctx, in, ext, office)
	h.is(err, "not-fresh")
	h.pass(time.Minute)
	ext.AuthTime = start
	cookie, in, err := h.ProveExternal(ctx, in, ext, office)
	h.ok(err)
	if !in.FreshAt.Equal(start) || in.Stage != StageFull {
		t.Errorf("a password of a minute ago is as fresh as %v", in.FreshAt)
	}
	if got := h.resume(cookie, office); !got.FreshAt.Equal(start) {
		t.Errorf("stored as fresh as %v", got.FreshAt)
	}
	for _, c := range []struct {
		at, want time.Time
	}{{time.Time{}, time.Time{}}, {h.time().Add(30 * time.Second), h.time()}} {
		ext.AuthTime = c.at
		if _, in, err = h.External(ctx, ext, office); err != nil || !in.FreshAt.Equal(c.want) {
			t.Errorf("a proof at %v is as fresh as %v, %v", c.at, in.FreshAt, err)
		}
	}
}

// TestNoWayAroundProvider: a passkey of an account of a provider is a second factor
// and no way in, or who left the organisation would keep one.
func TestNoWayAroundProvider(t *testing.T) {
	h := open(t)
	_, in, err := h.External(t.Context(), External{Provider: "oidc:corp", Subject: "1", Name: "eve", Strong: true, AuthTime: h.time()}, office)
	h.ok(err)
	a := newAuthenticator()
	h.addKey(in, a)
	_, _, err = h.byKey(a, office)
	h.is(err, "sign-in-at-provider")
	_, again, err := h.External(t.Context(), External{Provider: "oidc:corp", Subject: "1", Name: "eve"}, office)
	h.ok(err)
	h.stage(again, StageFactor)
}
