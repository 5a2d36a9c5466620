package ui

import (
	"context"
	"errors"
	"hash/fnv"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Args are what a page gives to a live fragment: at most 16 names. They come
// back from the browser, so a fragment checks them.
type Args map[string]string

// LiveRef names a fragment with its arguments, as it travels in an address:
// "devices/session?id=pump-1".
type LiveRef struct {
	Name string
	Args Args
}

// MaxLive is how many fragments one page may show.
const MaxLive = 16

// String is the form in which ParseLiveRef reads it: names in order.
func (l LiveRef) String() string {
	q := url.Values{}
	for k, v := range l.Args {
		q.Set(k, v)
	}
	if len(q) == 0 {
		return l.Name
	}
	return l.Name + "?" + q.Encode()
}

// ID is the id of the element that holds it.
func (l LiveRef) ID() string {
	h := fnv.New64a()
	h.Write([]byte(l.String()))
	return "live-" + strconv.FormatUint(h.Sum64(), 36)
}

// ParseLiveRef reads what String wrote. It refuses more than 1 KiB, more than 16
// arguments, and what is not the one form of itself.
func ParseLiveRef(s string) (LiveRef, error) {
	bad := errors.New("reading the name of a live fragment: it is not valid")
	if len(s) > 1024 {
		return LiveRef{}, bad
	}
	name, query, _ := strings.Cut(s, "?")
	q, err := url.ParseQuery(query)
	if err != nil || name == "" || len(q) > 16 {
		return LiveRef{}, bad
	}
	l := LiveRef{Name: name}
	for k, v := range q {
		if len(v) != 1 {
			return LiveRef{}, bad
		}
		if l.Args == nil {
			l.Args = Args{}
		}
		l.Args[k] = v[0]
	}
	if l.String() != s {
		return LiveRef{}, bad
	}
	return l, nil
}

// addLive remembers that the page shows a fragment.
func addLive(ctx context.Context, ref string) {
	r := From(ctx)
	if len(r.live) < MaxLive && !slices.Contains(r.live, ref) {
		r.live = append(r.live, ref)
	}
}

// liveURL is the address that sends the page's fragments again.
func (r *Request) liveURL() string {
	if len(r.live) == 0 || r.HTTP == nil {
		return ""
	}
	return "/live?" + url.Values{"f": r.live}.Encode()
}
