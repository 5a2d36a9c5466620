package scim

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// page reads startIndex and count (RFC 7644 section 3.4.2.4).
func page(q url.Values) (start, count int, err error) {
	start, count = 1, 100
	for name, p := range map[string]*int{"startIndex": &start, "count": &count} {
		if v := q.Get(name); v != "" {
			if *p, err = strconv.Atoi(v); err != nil {
				return 0, 0, bad(invalidValue, "%s is not a number", name)
			}
		}
	}
	return min(max(start, 1), 1<<30), min(max(count, 0), MaxPage), nil
}

func (s *service) listUsers(c *call, q url.Values) error {
	start, count, err := page(q)
	if err != nil {
		return err
	}
	query := Query{Offset: start - 1, Limit: count}
	if text := q.Get("filter"); text != "" {
		e, err := parseFilter(text)
		if err != nil {
			return err
		}
		if query.Any, err = matches(e); err != nil {
			return err
		}
		if len(query.Any) == 0 {
			s.answer(c.w, c.r, http.StatusOK, listOf(nil, 0, start))
			return nil
		}
		for _, m := range query.Any {
			if m == (Match{}) {
				query.Any = nil // one of them fits everybody
				break
			}
		}
	}
	users, total, err := s.cfg.Directory.ListUsers(c.r.Context(), query)
	if err != nil {
		return fmt.Errorf("listing users: %w", err)
	}
	list := make([]any, len(users))
	for i, u := range users {
		list[i] = c.view.of(s.user(u))
	}
	s.answer(c.w, c.r, http.StatusOK, listOf(list, total, start))
	return nil
}

func (s *service) getUser(c *call) error {
	u, err := s.cfg.Directory.GetUser(c.r.Context(), c.id)
	if err != nil {
		return fmt.Errorf("reading a user: %w", err)
	}
	return s.show(c, http.StatusOK, s.user(u))
}

func (s *service) createUser(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	d := &draft{active: true}
	u, err := d.whole(body, User{})
	if err != nil {
		return err
	}
	err = c.write(func(ctx context.Context) error {
		u, err = s.cfg.Directory.CreateUser(ctx, c.by, u)
		return err
	})
	if err != nil {
		return fmt.Errorf("making a user: %w", err)
	}
	return s.show(c, http.StatusCreated, s.user(u))
}

// whole applies the body of a POST or PUT.
func (d *draft) whole(body object, onto User) (User, error) {
	if err := wantSchema(body, schemaUser); err != nil {
		return User{}, err
	}
	if err := fill(d, "replace", body, false); err != nil {
		return User{}, err
	}
	return d.onto(onto)
}

// putUser replaces a user. Whether they may sign in stays as it is when the body
// does not say: silence shall not let somebody back in.
func (s *service) putUser(c *call) error {
	return s.updateUser(c, func(body object, now User) (User, error) {
		return (&draft{active: now.Active}).whole(body, now)
	})
}

func (s *service) patchUser(c *call) error {
	return s.updateUser(c, func(body object, now User) (User, error) {
		d := draftOf(now)
		if err := patch(d, body); err != nil {
			return User{}, err
		}
		return d.onto(now)
	})
}

func (s *service) updateUser(c *call, edit func(object, User) (User, error)) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	var u User
	err = c.write(func(ctx context.Context) error {
		now, err := s.cfg.Directory.GetUser(ctx, c.id)
		if err != nil {
			return err
		}
		if err := c.ifMatch(now.tag()); err != nil {
			return err
		}
		if u, err = edit(body, now); err != nil {
			return err
		}
		u, err = s.cfg.Directory.UpdateUser(ctx, c.by, u)
		return err
	})
	if err != nil {
		return fmt.Errorf("changing a user: %w", err)
	}
	return s.show(c, http.StatusOK, s.user(u))
}

func (s *service) disableUser(c *call) error {
	err := c.write(func(ctx context.Context) error {
		version := int64(0)
		if len(c.r.Header.Values("If-Match")) > 0 {
			now, err := s.cfg.Directory.GetUser(ctx, c.id)
			if err != nil {
				return err
			}
			if err := c.ifMatch(now.tag()); err != nil {
				return err
			}
			version = now.Version
		}
		return s.cfg.Directory.DisableUser(ctx, c.by, c.id, version)
	})
	if err != nil {
		return fmt.Errorf("removing a user: %w", err)
	}
	s.answer(c.w, c.r, http.StatusNoContent, nil)
	return nil
}
