package scim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func (s *service) listGroups(c *call, q url.Values) error {
	start, count, err := page(q)
	if err != nil {
		return err
	}
	all, err := s.cfg.Groups.ListGroups(c.r.Context())
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	if text := q.Get("filter"); text != "" {
		if all, err = s.chooseGroups(c.r.Context(), all, text); err != nil {
			return err
		}
	}
	total := len(all)
	all = all[min(start-1, total):]
	all = all[:min(count, len(all))]
	list, err := s.groupPage(c, all)
	if err != nil {
		return err
	}
	s.answer(c.w, c.r, http.StatusOK, listOf(list, total, start))
	return nil
}

// groupPage renders groups, with their members unless these are not wanted. It
// ends early rather than grow beyond maxListed members: the reader sees from
// itemsPerPage where to go on.
func (s *service) groupPage(c *call, all []Group) ([]any, error) {
	var list []any
	members := 0
	for _, g := range all {
		if c.view.wants("members") {
			full, err := s.cfg.Groups.GetGroup(c.r.Context(), g.ID)
			if errors.Is(err, ErrNotFound) {
				full, err = g, nil // deleted between the two reads
			}
			if err != nil {
				return nil, fmt.Errorf("listing groups: %w", err)
			}
			if members += len(full.Members); members > maxListed && len(list) > 0 {
				break
			}
			g = full
		}
		list = append(list, c.view.of(s.group(g)))
	}
	return list, nil
}

// chooseGroups keeps the groups that fit a filter. Who is a member is found from
// the user's side, with one read for each user that the filter names.
func (s *service) chooseGroups(ctx context.Context, all []Group, text string) ([]Group, error) {
	e, err := parseFilter(text)
	if err != nil {
		return nil, err
	}
	of := map[string]map[string]bool{} // user → groups
	if err := s.readMembers(ctx, e, of); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(g Group) bool {
		return !e.holds(func(a attr) (any, bool) {
			switch a.name {
			case "id":
				return g.ID, false
			case "externalid":
				return g.ExternalID, false
			case "displayname":
				return g.Name, true
			}
			var in []string
			for user, groups := range of {
				if groups[g.ID] {
					in = append(in, user)
				}
			}
			return in, false
		})
	}), nil
}

// readMembers checks that a filter asks for what groups have, rewrites
// members[value eq "x"] as members eq "x", and reads the groups of every x.
func (s *service) readMembers(ctx context.Context, e *expr, of map[string]map[string]bool) error {
	if e.left != nil {
		if err := s.readMembers(ctx, e.left, of); err != nil || e.right == nil {
			return err
		}
		return s.readMembers(ctx, e.right, of)
	}
	a := e.attr
	if in := a.where; in != nil && a.name == "members" && a.sub == "" && e.op == "pr" && in.attr.name == "value" && in.left == nil {
		*e = expr{op: in.op, attr: attr{name: "members"}, value: in.value}
		a = e.attr
	}
	plain := a.where == nil && !a.foreign
	switch {
	case plain && a.sub == "" && (a.name == "id" || a.name == "externalid" || a.name == "displayname"):
		return nil
	case plain && a.name == "members" && (a.sub == "" || a.sub == "value") && e.op == "eq":
	default:
		return bad(invalidFilter, "groups can be searched by displayName, externalId, id and members eq; not so by %s", clip(a.name))
	}
	id, _ := e.value.(string)
	if !validID(id) {
		return nil
	}
	u, err := s.cfg.Directory.GetUser(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("reading the groups of a user: %w", err)
	}
	of[id] = map[string]bool{}
	for _, g := range u.Groups {
		of[id][g.ID] = true
	}
	return nil
}

func (s *service) getGroup(c *call) error {
	g, err := s.cfg.Groups.GetGroup(c.r.Context(), c.id)
	if err != nil {
		return fmt.Errorf("reading a group: %w", err)
	}
	return s.show(c, http.StatusOK, s.group(g))
}

func (s *service) createGroup(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	ch, err := wholeGroup(body, Group{})
	if err != nil {
		return err
	}
	var g Group
	err = c.write(func(ctx context.Context) error {
		g, err = s.cfg.Groups.SetGroup(ctx, c.by, ch)
		return err
	})
	if err != nil {
		return fmt.Errorf("making a group: %w", err)
	}
	return s.show(c, http.StatusCreated, s.group(g))
}

// wholeGroup applies the body of a POST or PUT.
func wholeGroup(body object, now Group) (GroupChange, error) {
	if err := wantSchema(body, schemaGroup); err != nil {
		return GroupChange{}, err
	}
	r := rosterOf(Group{})
	if err := fill(r, "replace", body, false); err != nil {
		return GroupChange{}, err
	}
	return r.change(now)
}

func (s *service) putGroup(c *call) error {
	g, err := s.updateGroup(c, wholeGroup)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, s.group(g))
}

// patchGroup answers without a body unless the request names attributes: a group
// may have thousands of members, and one is added at a time.
func (s *service) patchGroup(c *call) error {
	g, err := s.updateGroup(c, func(body object, now Group) (GroupChange, error) {
		r := rosterOf(now)
		r.limit = MaxPatched
		if err := patch(r, body); err != nil {
			return GroupChange{}, err
		}
		return r.change(now)
	})
	if err != nil {
		return err
	}
	if c.view.only != nil {
		return s.show(c, http.StatusOK, s.group(g))
	}
	c.w.Header().Set("ETag", g.tag())
	s.answer(c.w, c.r, http.StatusNoContent, nil)
	return nil
}

func (s *service) updateGroup(c *call, edit func(object, Group) (GroupChange, error)) (g Group, err error) {
	body, err := c.body()
	if err != nil {
		return Group{}, err
	}
	err = c.write(func(ctx context.Context) error {
		if g, err = s.cfg.Groups.GetGroup(ctx, c.id); err != nil {
			return err
		}
		if err := c.ifMatch(g.tag()); err != nil {
			return err
		}
		ch, err := edit(body, g)
		if err != nil || ch.empty(g) {
			return err
		}
		g, err = s.cfg.Groups.SetGroup(ctx, c.by, ch)
		return err
	})
	if err != nil {
		return Group{}, fmt.Errorf("changing a group: %w", err)
	}
	return g, nil
}

func (s *service) deleteGroup(c *call) error {
	err := c.write(func(ctx context.Context) error {
		version := int64(0)
		if len(c.r.Header.Values("If-Match")) > 0 {
			now, err := s.cfg.Groups.GetGroup(ctx, c.id)
			if err != nil {
				return err
			}
			if err := c.ifMatch(now.tag()); err != nil {
				return err
			}
			version = now.Version
		}
		return s.cfg.Groups.DeleteGroup(ctx, c.by, c.id, version)
	})
	if err != nil {
		return fmt.Errorf("removing a group: %w", err)
	}
	s.answer(c.w, c.r, http.StatusNoContent, nil)
	return nil
}

const schemaSearch = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"

// search is a list whose filter is in the body, where no log of addresses sees
// it (RFC 7644 section 3.4.3).
func (s *service) search(c *call, list func(*call, url.Values) error) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if err := wantSchema(body, schemaSearch); err != nil {
		return err
	}
	q, names := url.Values{}, map[string][]string{}
	for _, f := range body {
		switch low := strings.ToLower(f.name); low {
		case "filter", "startindex", "count":
			text := scalar(f.value)
			q.Set(map[string]string{"filter": "filter", "startindex": "startIndex", "count": "count"}[low], text)
		case "attributes", "excludedattributes":
			for _, v := range several(f.value) {
				name, _ := v.(string)
				names[low] = append(names[low], name)
			}
		}
	}
	if c.view, err = projectionOf(names["attributes"], names["excludedattributes"]); err != nil {
		return err
	}
	return list(c, q)
}
