package adminapi

import (
	"context"

	"github.com/holdfast-iot/holdfast/access"
)

// pageInScope reads page after page until limit values that the caller may see
// are found or there are no more. Where it goes on is the key of one of them: the
// key of another would tell that it exists.
func pageInScope[T any](limit int, after string, key func(T) string, read func(after string) (page []T, next string, err error), keep func([]T) ([]T, error)) (list []T, next string, err error) {
	for {
		page, more, err := read(after)
		if err == nil {
			page, err = keep(page)
		}
		if err != nil {
			return nil, "", err
		}
		if list = append(list, page...); len(list) > limit {
			return list[:limit], key(list[limit-1]), nil
		}
		if more == "" {
			return list, "", nil
		}
		after = more
	}
}

// everywhere tells whether the caller may do something to the whole fleet, so
// that lists need not be looked through.
func (a *api) everywhere(ctx context.Context, p access.Permission) bool {
	id, err := identity(ctx)
	return err == nil && id.Rights.Everywhere(p, a.now())
}
