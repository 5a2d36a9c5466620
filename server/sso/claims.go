package sso

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// external reads claims, whose signature was checked, as the configuration says.
func (p *OIDC) external(claims map[string]any) (External, error) {
	for path, want := range p.cfg.Require {
		have, ok := texts(find(claims, path))
		if !ok || !slices.Contains(have, want) {
			return External{}, fail(CodeProfile, "the claim %q is not %q, as the configuration requires", path, want)
		}
	}
	groups, ok := texts(find(claims, p.cfg.GroupsClaim))
	if !ok {
		return External{}, fail(CodeMisconfigured, "the claim %q is neither a text nor a list of texts", p.cfg.GroupsClaim)
	}
	mail, _ := find(claims, p.cfg.MailClaim).(string)
	e := External{
		Provider: p.cfg.Name,
		Mail:     mail,
		Groups:   groups,
		Factors:  p.factors(claims),
		// The claim email_verified speaks of the claim email alone.
		MailVerified: p.cfg.TrustMail || p.cfg.MailClaim == "email" && yes(claims["email_verified"]),
	}
	e.Subject, _ = find(claims, p.cfg.SubjectClaim).(string)
	e.Name, _ = find(claims, p.cfg.NameClaim).(string)
	e.Display, _ = find(claims, p.cfg.DisplayClaim).(string)
	e.SessionRef, _ = claims["sid"].(string)
	e.AuthTime, _ = moment(claims["auth_time"])
	return settle(e)
}

// factors tells whether amr (RFC 8176) or acr say that more than one factor was used.
func (p *OIDC) factors(claims map[string]any) bool {
	said, _ := texts(claims["amr"])
	if acr, ok := claims["acr"].(string); ok {
		said = append(said, acr)
	}
	return slices.ContainsFunc(said, func(s string) bool { return slices.Contains(p.cfg.MultiFactor, s) })
}

// find follows a path through objects. A claim whose own name is the path, or
// the rest of it, wins: names of claims are often URLs, with dots.
func find(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			if v := find(inner, path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// texts reads a list of texts, or one text; what is absent is an empty list.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, 0, min(len(v), MaxGroups+1))
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

// yes reads a boolean, which some providers send as text.
func yes(v any) bool {
	return v == true || strings.EqualFold(fmt.Sprint(v), "true")
}

// moment reads a NumericDate (RFC 7519 section 2): seconds since 1970.
func moment(v any) (time.Time, bool) {
	f, ok := v.(float64)
	if n, isNumber := v.(json.Number); isNumber {
		var err error
		f, err = n.Float64()
		ok = err == nil
	}
	if !ok || math.IsNaN(f) || f < 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0).UTC(), true
}
