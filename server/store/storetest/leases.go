package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testLeases(t *testing.T, b Backend) {
	w := begin(t, b)
	ctx := w.Context()
	take := func(holder string, now, until int) bool {
		w.Helper()
		got, err := w.AcquireLease(ctx, "work", holder, start.Add(time.Duration(now)*time.Second), start.Add(time.Duration(until)*time.Second))
		w.ok(err)
		return got
	}
	for _, step := range []struct {
		what       string
		holder     string
		now, until int
		want       bool
	}{
		{"a free lease", "a", 0, 5, true},
		{"a lease held by another", "b", 1, 6, false},
		{"a lease at its very end", "b", 5, 10, false},
		{"renewing one's own", "a", 5, 9, true},
		{"a lease renewed by another", "b", 8, 13, false},
		{"a lease that is over", "b", 10, 15, true},
		{"a lease lost to another", "a", 11, 16, false},
	} {
		w.same(step.what, take(step.holder, step.now, step.until), step.want)
	}
	w.ok(w.ReleaseLease(ctx, "work", "a")) // not the holder: nothing happens
	w.same("after another's release", take("a", 12, 17), false)
	w.ok(w.ReleaseLease(ctx, "work", "b"))
	w.same("after its holder's release", take("a", 12, 17), true)
	got, err := w.AcquireLease(ctx, "other work", "b", start, start.Add(time.Second))
	w.ok(err)
	w.same("a lease of another name", got, true)

	for round := range 5 {
		now := start.Add(time.Duration(round+1) * time.Hour)
		holders := make([]bool, 16)
		errs := all(len(holders), func(i int) (err error) {
			holders[i], err = w.AcquireLease(ctx, "work", fmt.Sprint("h", i), now, now.Add(time.Minute))
			return err
		})
		n := 0
		for i, err := range errs {
			w.ok(err)
			if holders[i] {
				n++
			}
		}
		w.same("holders of one lease", n, 1)
	}
}

func testMeta(t *testing.T, b Backend) {
	w := begin(t, b)
	ctx := w.Context()
	_, err := w.Meta(ctx, "domain")
	w.is(err, sqlstore.ErrNotFound)
	values := make([]string, 20)
	for _, err := range all(len(values), func(i int) (err error) {
		values[i], err = w.SetMetaOnce(ctx, "domain", fmt.Sprint("v", i))
		return err
	}) {
		w.ok(err)
	}
	held, err := w.Meta(ctx, "domain")
	w.ok(err)
	for _, v := range values {
		w.same("the value that holds, as each was told", v, held)
	}
	w.ok(w.SetMeta(ctx, "domain", "other", w.event("settings.changed", "setting", "domain")))
	w.ok(w.SetMeta(ctx, "more", "", w.event("settings.changed", "setting", "more")))
	for name, want := range map[string]string{"domain": "other", "more": ""} {
		got, err := w.Meta(ctx, name)
		w.ok(err)
		w.same(name, got, want)
	}

	n, err := w.CountAPITokens(ctx)
	w.ok(err)
	w.same("API tokens at first", n, 0)
	tok := sqlstore.APIToken{ID: "t1", Hash: []byte{0, 1, 255}, Name: "admin", CreatedAt: start}
	older := tok
	older.ID = "t0"
	w.ok(w.ReplaceAPITokens(ctx, older, w.event("apitoken.created", "apitoken", "t0")))
	w.ok(w.ReplaceAPITokens(ctx, tok, w.event("apitoken.created", "apitoken", "t1")))
	got, err := w.APITokenByID(ctx, "t1")
	w.ok(err)
	w.same("the API token", got, tok)
	_, err = w.APITokenByID(ctx, "T1")
	w.is(err, sqlstore.ErrNotFound)
	_, err = w.APITokenByID(ctx, "t0")
	w.is(err, sqlstore.ErrNotFound)
	n, err = w.CountAPITokens(ctx)
	w.ok(err)
	w.same("API tokens", n, 1)
}
