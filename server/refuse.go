package server

import (
	"errors"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// invalid makes a refusal of wrong input.
func invalid(code, fix, detail string, args ...any) error {
	return refusal.New(refusal.Invalid, code, fix, detail, args...)
}

// missing turns the store's ErrNotFound into a refusal that names the thing.
func missing(err error, what, name string) error {
	if errors.Is(err, sqlstore.ErrNotFound) {
		return refusal.New(refusal.NotFound, "no-such-"+what, "list them to find its name", "there is no %s %.64q", what, name)
	}
	return err
}

// exists turns a lost insert into a refusal.
func exists(err error, what, name string) error {
	if errors.Is(err, sqlstore.ErrChanged) {
		return refusal.New(refusal.Conflict, what+"-exists", "choose another name, or update it", "there is a %s %.64q already", what, name)
	}
	return err
}

// stale turns a lost compare-and-set into a refusal.
func stale(err error, what, name string) error {
	if errors.Is(err, sqlstore.ErrChanged) {
		return refusal.New(refusal.Conflict, "changed-meanwhile", "read it again and repeat the change", "%s %.64q was changed by somebody else", what, name)
	}
	return err
}

func isChanged(err error) bool { return errors.Is(err, sqlstore.ErrChanged) }
