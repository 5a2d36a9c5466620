package adminapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Bounds of an overview.
const (
	refusedFor   = 15 * time.Minute
	shownRules   = 10
	shownEndings = 5
)

// overview puts together what the caller may see.
func (a *api) overview(ctx context.Context) (Overview, error) {
	o := Overview{Time: a.now().UTC(), Refused: []RuleRefusals{}, Warnings: []string{}}
	n := &notices{a: a, now: a.now()}
	for _, part := range []struct {
		needs access.Permission
		read  func(context.Context, *Overview, *notices) error
	}{
		{access.StatusRead, a.overviewServer},
		{access.DeviceRead, a.overviewDevices},
		{access.SessionRead, a.overviewTraffic},
		{access.SessionRead, a.overviewRefused},
		{access.CertificateRead, a.overviewCertificates},
		{access.EnrolmentRead, a.overviewWaiting},
		{access.ApprovalRead, a.overviewApprovals},
		{access.CARead, a.overviewAuthority},
		{access.PolicyRead, a.overviewPolicy},
	} {
		if !a.mayRead(ctx, part.needs) {
			continue
		}
		if err := part.read(ctx, &o, n); err != nil {
			return o, err
		}
	}
	o.Attention = n.sorted()
	return o, nil
}

func (a *api) overviewServer(ctx context.Context, o *Overview, n *notices) error {
	h, err := a.cfg.Watch.Household(ctx)
	if err != nil {
		return err
	}
	o.Warnings = present(h.Warnings)
	n.household(h, a.mayRead(ctx, access.PersonRead), a.mayRead(ctx, access.RoleRead))
	return nil
}

func (a *api) overviewDevices(ctx context.Context, o *Overview, n *notices) error {
	groups, complete, err := a.visibleGroups(ctx)
	if err != nil {
		return err
	}
	o.Devices = &DeviceNumbers{ByState: map[string]int64{}, Complete: complete}
	for _, g := range groups {
		o.Devices.Total += g.Count
		o.Devices.ByState[string(g.State)] += g.Count
	}
	return n.quarantined(ctx, o.Devices.ByState)
}

func (a *api) overviewTraffic(ctx context.Context, o *Overview, _ *notices) error {
	covers, err := a.covering(ctx, access.SessionRead)
	if err != nil {
		return err
	}
	f, err := a.cfg.Watch.Flow(ctx, "15m")
	if err != nil {
		return err
	}
	o.Sessions = &SessionNumbers{ByKind: map[string]int{}}
	for _, k := range f.Now {
		if k.Sessions > 0 && covers(k.Zone, k.Type) {
			o.Sessions.Total += k.Sessions
			o.Sessions.ByKind[k.Kind] += k.Sessions
		}
	}
	o.Rates = &MessageRates{}
	recent, minute := steps(15*time.Second, f), steps(time.Minute, f)
	for _, k := range f.Keys {
		if covers(k.Zone, k.Type) {
			o.Rates.In += mean(k.In, recent, f.Step)
			o.Rates.Out += mean(k.Out, recent, f.Step)
			o.Rates.Refused += sum(k.Refused, minute)
		}
	}
	return nil
}

// steps is how many steps of a flow a time has.
func steps(d time.Duration, f *Flow) int { return int(d / max(f.Step, time.Second)) }

// sum adds up the last n numbers.
func sum(list []int64, n int) (total int64) {
	for _, v := range list[max(0, len(list)-n):] {
		total += v
	}
	return total
}

// mean is how many there were a second, in the last n steps.
func mean(list []int64, n int, step time.Duration) float64 {
	return float64(sum(list, n)) / (float64(max(n, 1)) * max(step, time.Second).Seconds())
}

func (a *api) overviewRefused(ctx context.Context, o *Overview, n *notices) error {
	list, err := a.refusals(ctx, RefusalFilter{Since: a.now().Add(-refusedFor), Limit: maxRefused})
	if err != nil {
		return err
	}
	type ruleKey struct{ rule, kind string }
	found, clients := map[ruleKey]*RuleRefusals{}, map[ruleKey]map[string]bool{}
	for _, r := range list {
		key := ruleKey{r.Rule, r.Kind}
		if found[key] == nil {
			found[key], clients[key] = &RuleRefusals{Rule: r.Rule, Kind: r.Kind}, map[string]bool{}
		}
		found[key].Count += r.Count
		clients[key][whoRefused(r)] = true
	}
	for key, r := range found {
		r.Clients = len(clients[key])
		o.Refused = append(o.Refused, *r)
	}
	slices.SortFunc(o.Refused, func(x, y RuleRefusals) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.Kind, y.Kind))
	})
	o.Refused = o.Refused[:min(len(o.Refused), shownRules)]
	n.refusedOften(list)
	return nil
}

// maxRefused bounds the refusals that are looked at, of all servers.
const maxRefused = 20_000

// whoRefused names who was refused: a principal, or an address.
func whoRefused(r Refusal) string {
	if r.Principal.ID != "" {
		return r.Principal.Kind + ":" + r.Principal.ID
	}
	return "address:" + hostOf(r.Address)
}

func (a *api) overviewCertificates(ctx context.Context, o *Overview, n *notices) error {
	id, err := identity(ctx)
	if err != nil {
		return err
	}
	fleet, err := a.cfg.Watch.Fleet(ctx)
	if err != nil {
		return err
	}
	now := a.now()
	scopes, all := id.Rights.Scopes(access.CertificateRead, now)
	c := &CertificateNumbers{Complete: true, First: []CertificateEnd{}}
	o.Certificates = c
	single := !all && byLabels(scopes) // counted one by one: groups do not tell
	if single {
		c.Complete = !fleet.Cut
	} else {
		covers := func(zone EndingGroup) bool {
			return all || id.Rights.Covers(access.CertificateRead, objectOfGroup(zone.Zone, zone.Type), now)
		}
		c.Week, _ = countEndings(fleet.Week, covers)
		c.Month, c.Due = countEndings(fleet.Month, covers)
	}
	for _, e := range fleet.Ending {
		if !all && !id.Rights.Covers(access.CertificateRead, access.Object{Zone: e.Zone, Type: e.Type, Labels: e.Labels}, now) {
			continue
		}
		if single {
			c.Month++
			if e.NotAfter.Before(now.Add(7 * 24 * time.Hour)) {
				c.Week++
			}
			if e.Overdue {
				c.Due++
			}
		}
		if len(c.First) < shownEndings {
			c.First = append(c.First, e)
		}
		n.ending(e)
	}
	return nil
}

func countEndings(list []EndingGroup, covers func(EndingGroup) bool) (all, due int64) {
	for _, g := range list {
		if covers(g) {
			all, due = all+g.Count, due+g.Due
		}
	}
	return all, due
}

func (a *api) overviewWaiting(ctx context.Context, o *Overview, n *notices) error {
	waiting, err := a.cfg.Enrolment.Waiting(ctx)
	if err == nil {
		waiting, err = inScope(ctx, a, access.EnrolmentRead, waiting, waitingObject)
	}
	if err != nil {
		return err
	}
	waiting = slices.DeleteFunc(slices.Clone(waiting), func(w enroll.Waiting) bool { return w.Decision != enroll.Undecided })
	o.Waiting = new(len(waiting))
	n.waiting(waiting)
	return nil
}

func (a *api) overviewApprovals(ctx context.Context, o *Overview, n *notices) error {
	if a.cfg.Approvals == nil {
		return nil
	}
	list, err := a.cfg.Approvals.Approvals(ctx, ApprovalFilter{State: access.ApprovalWaiting, Limit: maxPage})
	if err != nil {
		return err
	}
	o.Approvals = new(len(list))
	n.approvals(list)
	return nil
}

func (a *api) overviewAuthority(ctx context.Context, o *Overview, n *notices) error {
	list, err := a.cfg.Authority.CAs(ctx)
	if err != nil {
		return err
	}
	for _, ca := range list {
		if ca.Status == "active" && (o.Authority == nil || ca.NotAfter.Before(o.Authority.NotAfter)) {
			o.Authority = &AuthorityEnd{ca.ID, ca.Role, ca.NotAfter}
		}
	}
	n.authority(o.Authority)
	return nil
}

func (a *api) overviewPolicy(ctx context.Context, o *Overview, n *notices) error {
	versions, err := a.cfg.Policies.PolicyVersions(ctx, 0, 1)
	if err != nil {
		return err
	}
	o.Policy = &PolicyNow{}
	if len(versions) > 0 {
		o.Policy.Version, o.Policy.Since = versions[0].Version, versions[0].CreatedAt
	} else {
		n.add(SeverityMedium, "No policy was applied", "without a policy nobody may connect or send: write manifests and apply them", "policy", "", time.Time{})
	}
	return nil
}
