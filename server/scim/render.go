package scim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	schemaUser  = "urn:ietf:params:scim:schemas:core:2.0:User"
	schemaGroup = "urn:ietf:params:scim:schemas:core:2.0:Group"
	schemaList  = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
)

// resource is a JSON object on its way out.
type resource map[string]any

func (s *service) meta(kind, id, tag string, created, updated time.Time) map[string]any {
	return map[string]any{"resourceType": kind, "location": s.base + "/" + kind + "s/" + url.PathEscape(id), "version": tag,
		"created": stamp(created), "lastModified": stamp(updated)}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *service) user(u User) resource {
	r := resource{"schemas": []string{schemaUser}, "id": u.ID, "userName": u.UserName, "active": u.Active,
		"meta": s.meta("User", u.ID, u.tag(), u.CreatedAt, u.UpdatedAt)}
	name := map[string]any{}
	for key, v := range map[string]string{"formatted": u.Display, "givenName": u.Given, "familyName": u.Family} {
		if v != "" {
			name[key] = v
		}
	}
	if len(name) > 0 {
		r["name"] = name
	}
	if u.Display != "" {
		r["displayName"] = u.Display
	}
	if u.ExternalID != "" {
		r["externalId"] = u.ExternalID
	}
	if u.Mail != "" {
		r["emails"] = []any{map[string]any{"value": u.Mail, "type": "work", "primary": true}}
	}
	if len(u.Groups) > 0 {
		list := make([]any, len(u.Groups))
		for i, g := range u.Groups {
			list[i] = map[string]any{"value": g.ID, "display": g.Name, "type": "direct", "$ref": s.base + "/Groups/" + url.PathEscape(g.ID)}
		}
		r["groups"] = list
	}
	return r
}

func (s *service) group(g Group) resource {
	r := resource{"schemas": []string{schemaGroup}, "id": g.ID, "displayName": g.Name, "meta": s.meta("Group", g.ID, g.tag(), g.CreatedAt, g.UpdatedAt)}
	if g.ExternalID != "" {
		r["externalId"] = g.ExternalID
	}
	if len(g.Members) > 0 {
		list := make([]any, len(g.Members))
		for i, id := range g.Members {
			list[i] = map[string]any{"value": id, "type": "User", "$ref": s.base + "/Users/" + url.PathEscape(id)}
		}
		r["members"] = list
	}
	return r
}

// tag is the weak entity tag of a user: the account's version, and a digest of
// the groups, which change without it.
func (u User) tag() string {
	t := strconv.FormatInt(u.Version, 10)
	if len(u.Groups) > 0 {
		h := sha256.New()
		for _, g := range u.Groups {
			fmt.Fprintf(h, "%d:%s%d:%s", len(g.ID), g.ID, len(g.Name), g.Name)
		}
		t += "-" + hex.EncodeToString(h.Sum(nil)[:6])
	}
	return `W/"` + t + `"`
}

func (g Group) tag() string { return fmt.Sprintf(`W/"%d"`, g.Version) }

// tagFits compares a tag with If-Match or If-None-Match (RFC 9110 section 13.1):
// weakly, because there are no strong tags here.
func tagFits(header []string, tag string) bool {
	bare := strings.TrimPrefix(tag, "W/")
	for _, h := range header {
		for one := range strings.SplitSeq(h, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == bare {
				return true
			}
		}
	}
	return false
}

// projection is what a request wants to see (RFC 7644 section 3.9).
type projection struct {
	only, except []attr
}

// projectionOf reads attributes and excludedAttributes; the first wins when both
// are there. A name that there is not is not an error.
func projectionOf(only, except []string) (projection, error) {
	var p projection
	for i, names := range [][]string{only, except} {
		list := []attr{}
		for _, n := range names {
			if len(list) == 64 {
				return p, bad(invalidValue, "more than 64 attributes are named")
			}
			if a, err := parsePath(n); err == nil && a.where == nil && !a.foreign {
				list = append(list, a)
			}
		}
		if len(names) > 0 && i == 0 {
			p.only = list
		} else if len(names) > 0 {
			p.except = list
		}
	}
	return p, nil
}

// wants tells whether any of an attribute is to be shown.
func (p projection) wants(name string) bool {
	low := strings.ToLower(name)
	if low == "id" || low == "schemas" {
		return true // always returned
	}
	if p.only != nil {
		return named(p.only, low, func(attr) bool { return true })
	}
	return !named(p.except, low, func(a attr) bool { return a.sub == "" })
}

func named(list []attr, low string, also func(attr) bool) bool {
	for _, a := range list {
		if a.name == low && also(a) {
			return true
		}
	}
	return false
}

// wantsSub tells whether a part of an attribute is to be shown.
func (p projection) wantsSub(name, sub string) bool {
	low, sub := strings.ToLower(name), strings.ToLower(sub)
	if p.only != nil {
		return named(p.only, low, func(a attr) bool { return a.sub == "" || a.sub == sub })
	}
	return !named(p.except, low, func(a attr) bool { return a.sub == sub })
}

// of shows what is wanted of a resource.
func (p projection) of(r resource) resource {
	if p.only == nil && p.except == nil {
		return r
	}
	out := resource{}
	for name, v := range r {
		if !p.wants(name) {
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			out[name] = p.part(name, v)
		case []any:
			list := make([]any, len(v))
			for i := range v {
				list[i] = v[i]
				if m, ok := v[i].(map[string]any); ok {
					list[i] = p.part(name, m)
				}
			}
			out[name] = list
		default:
			out[name] = v
		}
	}
	return out
}

func (p projection) part(name string, m map[string]any) map[string]any {
	out := map[string]any{}
	for sub, v := range m {
		if p.wantsSub(name, sub) {
			out[sub] = v
		}
	}
	return out
}

// listOf is a page of a list (RFC 7644 section 3.4.2).
func listOf(page []any, total, start int) map[string]any {
	if page == nil {
		page = []any{}
	}
	return map[string]any{"schemas": []string{schemaList}, "totalResults": total, "itemsPerPage": len(page), "startIndex": start, "Resources": page}
}

// answer writes a body. What SCIM answers is personal, so nothing keeps it.
func (s *service) answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if body == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		s.cfg.OnError(r.Context(), fmt.Errorf("writing a SCIM answer: %w", err))
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
