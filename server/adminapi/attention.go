package adminapi

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Bounds of what an overview draws attention to.
const (
	maxAttention = 50
	eachOf       = 10 // of one kind by name; the rest is one
	oftenRefused = 3  // in refusedFor: a device that does as it should is not refused at all
)

// notices collects what somebody should look at.
type notices struct {
	a       *api
	now     time.Time
	list    []Attention
	endings int // written by name
	more    int // not
}

func (n *notices) add(severity, title, detail, kind, id string, since time.Time) {
	n.list = append(n.list, Attention{severity, title, detail, kind, id, since})
}

var severities = []string{SeverityHigh, SeverityMedium, SeverityLow}

// sorted lists the most urgent first, and of these the oldest.
func (n *notices) sorted() []Attention {
	if n.more > 0 {
		n.add(SeverityMedium, counted(n.more, "more certificate was", "more certificates were")+" not renewed in time", "they end within 7 days", "certificates", "", time.Time{})
	}
	slices.SortStableFunc(n.list, func(x, y Attention) int {
		return cmp.Or(cmp.Compare(slices.Index(severities, x.Severity), slices.Index(severities, y.Severity)), x.Since.Compare(y.Since))
	})
	return present(n.list[:min(len(n.list), maxAttention)])
}

// counted is "1 device is" or "3 devices are".
func counted[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(int64(n), 10) + " " + many
}

// quarantined names devices in quarantine that the caller may see.
func (n *notices) quarantined(ctx context.Context, states map[string]int64) error {
	total := states[string(device.Quarantined)]
	if total == 0 {
		return nil
	}
	page, _, err := n.a.cfg.Devices.Devices(ctx, n.a.narrow(ctx, access.DeviceRead, device.Filter{State: device.Quarantined}), device.Page{Limit: 10 * eachOf})
	if err == nil {
		page, err = inScope(ctx, n.a, access.DeviceRead, page, deviceObject)
	}
	if err != nil {
		return err
	}
	page = page[:min(len(page), eachOf)]
	for _, d := range page {
		n.add(SeverityMedium, "Device "+string(d.ID)+" is in quarantine", "it cannot connect or enrol until somebody releases or revokes it", "device", string(d.ID), d.UpdatedAt)
	}
	if rest := total - int64(len(page)); rest > 0 {
		n.add(SeverityMedium, counted(rest, "more device is", "more devices are")+" in quarantine", "they cannot connect or enrol until somebody releases or revokes them", "devices", string(device.Quarantined), time.Time{})
	}
	return nil
}

// refusedOften names who was refused several times.
func (n *notices) refusedOften(list []Refusal) {
	type one struct {
		of    Refusal // the newest
		count int64
		since time.Time
	}
	found := map[string]*one{}
	for _, r := range list {
		who := whoRefused(r)
		if found[who] == nil {
			found[who] = &one{of: r}
		}
		found[who].count += r.Count
		found[who].since = r.Time // the list goes back in time
	}
	var often []*one
	for _, f := range found {
		if f.count >= oftenRefused {
			often = append(often, f)
		}
	}
	slices.SortFunc(often, func(x, y *one) int {
		return cmp.Or(cmp.Compare(y.count, x.count), cmp.Compare(whoRefused(x.of), whoRefused(y.of)))
	})
	for _, f := range often[:min(len(often), eachOf)] {
		severity := SeverityLow
		switch {
		case f.count >= 100:
			severity = SeverityHigh
		case f.count >= 10:
			severity = SeverityMedium
		}
		p := f.of.Principal
		title, kind, id := "Connections from "+hostOf(f.of.Address), "address", hostOf(f.of.Address)
		switch {
		case p.ID != "" && p.Kind == "app":
			title, kind, id = "App "+p.ID, "app", p.ID
		case p.ID != "":
			title, kind, id = "Device "+p.ID, "device", p.ID
		case id == "":
			continue // many different ones, gathered in one
		}
		verb := " was"
		if kind == "address" {
			verb = " were"
		}
		n.add(severity, title+verb+" refused "+counted(f.count, "time", "times")+" in 15 minutes", "the last time: "+f.of.Detail, kind, id, f.since)
	}
}

// hostOf is an address without its port; empty when there is none.
func hostOf(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil {
		return a.Addr().String()
	}
	return ""
}

// ending names a device whose certificate should have been renewed.
func (n *notices) ending(e CertificateEnd) {
	if !e.Overdue || !e.NotAfter.Before(n.now.Add(7*24*time.Hour)) {
		return
	}
	if n.endings++; n.endings > eachOf {
		n.more++
		return
	}
	severity := SeverityMedium
	if e.NotAfter.Before(n.now.Add(24 * time.Hour)) {
		severity = SeverityHigh
	}
	what, kind, id := "device", "device", e.Principal
	if e.Profile != "device" && e.Profile != "gateway" {
		what, kind, id = e.Profile, "certificates", e.Serial
	}
	n.add(severity, "The certificate of "+what+" "+e.Principal+" ends soon", fmt.Sprintf("it ends at %s and was not renewed: after that it cannot connect", e.NotAfter.UTC().Format("2006-01-02 15:04 UTC")), kind, id, time.Time{})
}

func (n *notices) waiting(list []enroll.Waiting) {
	if len(list) == 0 {
		return
	}
	since := list[0].RequestedAt
	for _, w := range list {
		if w.RequestedAt.Before(since) {
			since = w.RequestedAt
		}
	}
	n.add(SeverityMedium, counted(len(list), "device waits", "devices wait")+" to be admitted", "compare the key with the device's and admit or reject it", "waiting", "", since)
}

func (n *notices) approvals(list []access.Approval) {
	if len(list) == 0 {
		return
	}
	oldest := slices.MinFunc(list, func(x, y access.Approval) int { return x.RequestedAt.Compare(y.RequestedAt) })
	n.add(SeverityMedium, counted(len(list), "request waits", "requests wait")+" for a second person", "the oldest ends at "+oldest.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC"), "approvals", "", oldest.RequestedAt)
}

func (n *notices) authority(ca *AuthorityEnd) {
	if ca == nil || ca.NotAfter.After(n.now.Add(90*24*time.Hour)) {
		return
	}
	severity := SeverityMedium
	if ca.NotAfter.Before(n.now.Add(30 * 24 * time.Hour)) {
		severity = SeverityHigh
	}
	n.add(severity, "A certificate authority ends on "+ca.NotAfter.UTC().Format(time.DateOnly), "the "+ca.Role+" authority has to be replaced before: no certificate lives longer than its authority", "authority", ca.ID, time.Time{})
}

func (n *notices) household(h *Household, people, roles bool) {
	if h.RootKey {
		n.add(SeverityHigh, "The root key lies on this server", "who takes the server takes the fleet's identity: move the key and what opens it offline, apart from each other", "installation", "root-key", time.Time{})
	}
	if h.AdminToken && !h.Demo {
		n.add(SeverityMedium, "The first administrator's token lies on this server", "it may do everything, without a second factor and in nobody's name: make accounts for people, then delete the file", "installation", "admin-token", time.Time{})
	}
	if h.Demo {
		n.add(SeverityLow, "This is a demonstration", "a simulated fleet runs on this server: do not connect real devices to it", "installation", "demo", time.Time{})
	}
	if people && h.Dozing > 0 {
		n.add(SeverityLow, counted(h.Dozing, "account", "accounts")+" will be disabled soon", "nobody signed in for a long time", "people", "", time.Time{})
	}
	if roles && h.Idle > 0 {
		n.add(SeverityLow, counted(h.Idle, "person or program has", "people and programs have")+" powers that they do not use", "they have not used them for 90 days: take the roles back", "unused", "", time.Time{})
	}
}
