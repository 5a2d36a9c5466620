package server

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	day        = 24 * time.Hour
	maxEndings = 2000 // certificates that end soon and are looked at one by one
	unusedDays = 90
)

// Fleet implements adminapi.Watch.
func (s *Server) Fleet(ctx context.Context) (*adminapi.Fleet, error) {
	return s.watching.fleet.get(ctx, "", s.now, rememberFleet, s.countFleet)
}

func (s *Server) countFleet(ctx context.Context) (*adminapi.Fleet, error) {
	counts, err := s.store.FleetCounts(ctx)
	if err != nil {
		return nil, err
	}
	f := &adminapi.Fleet{}
	for _, c := range counts {
		f.Groups = append(f.Groups, adminapi.Group{Zone: c.Zone, Type: c.Type, Profile: c.Profile, State: c.State, Count: c.Count})
	}
	now := s.now()
	week, err := s.store.CountEndings(ctx, now, now.Add(7*day))
	if err != nil {
		return nil, err
	}
	month, err := s.store.CountEndings(ctx, now, now.Add(30*day))
	if err != nil {
		return nil, err
	}
	f.Week, f.Month = endingGroups(week), endingGroups(month)
	ends, err := s.store.Endings(ctx, now, now.Add(30*day), maxEndings+1)
	if err != nil {
		return nil, err
	}
	f.Cut = len(ends) > maxEndings
	for _, e := range ends[:min(len(ends), maxEndings)] {
		_, name, _ := strings.Cut(e.Principal, "/")
		f.Ending = append(f.Ending, adminapi.CertificateEnd{Serial: e.Serial, Profile: e.Profile, Principal: name, NotAfter: e.NotAfter.UTC(),
			Overdue: e.NotAfter.Sub(now) < e.NotAfter.Sub(e.NotBefore)/6, Zone: e.Zone, Type: e.Type, Labels: e.Labels})
	}
	return f, nil
}

func endingGroups(list []sqlstore.EndingCount) []adminapi.EndingGroup {
	out := make([]adminapi.EndingGroup, len(list))
	for i, c := range list {
		out[i] = adminapi.EndingGroup{Zone: c.Zone, Type: c.Type, Count: c.Count, Due: c.Due}
	}
	return out
}

// Household implements adminapi.Watch.
func (s *Server) Household(ctx context.Context) (*adminapi.Household, error) {
	h, err := s.watching.household.get(ctx, "", s.now, rememberHousehold, s.lookAround)
	if err != nil {
		return nil, err
	}
	now := *h
	_, warnings := s.policyStatus()
	now.Warnings = slices.Concat(s.warnings, warnings)
	return &now, nil
}

func (s *Server) lookAround(ctx context.Context) (*adminapi.Household, error) {
	h := &adminapi.Household{Demo: s.cfg.Demo, RootKey: fileExists(filepath.Join(s.cfg.Data, rootKeyFile)),
		AdminToken: fileExists(filepath.Join(s.cfg.Data, adminTokenFile))}
	now, rules := s.now(), s.sessionRules()
	if rules.Dormant > 0 {
		people, err := s.store.IdlePeople(ctx, now.Add(rules.Warn-rules.Dormant))
		if err != nil {
			return nil, err
		}
		for _, p := range people {
			if rules.Dormancy(p, now) != access.Used {
				h.Dozing++
			}
		}
	}
	unused, err := s.Unused(ctx, unusedDays)
	if err != nil {
		return nil, err
	}
	unused = slices.DeleteFunc(unused, func(u adminapi.Unused) bool { return !u.Permission.Privileged() })
	h.Idle = len(slices.CompactFunc(unused, func(x, y adminapi.Unused) bool { return x.Kind == y.Kind && x.Subject == y.Subject }))
	return h, nil
}
