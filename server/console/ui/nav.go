package ui

import "github.com/holdfast-iot/holdfast/access"

// NavItem is an entry of the navigation.
type NavItem struct {
	Section, Label, Path, Icon string
	Key                        string // after g
	Needs                      []access.Permission
	Short                      bool // also in the bar of small screens
}

// navigation is the whole of it, in order. Later capabilities add a line here.
var navigation = []NavItem{
	{"overview", "Overview", "/", "overview", "o", []access.Permission{access.StatusRead}, true},
	{"devices", "Devices", "/devices", "device", "d", []access.Permission{access.DeviceRead}, true},
	{"messages", "Messages", "/messages", "message", "m", []access.Permission{access.MessageTap, access.SessionRead}, true},
	{"policy", "Policy", "/policy", "policy", "p", []access.Permission{access.PolicyRead}, false},
	{"zones", "Zones", "/zones", "zone", "z", []access.Permission{access.ZoneRead}, false},
	{"audit", "Audit", "/audit", "audit", "a", []access.Permission{access.AuditRead}, true},
	{"access", "Access", "/access", "people", "c", []access.Permission{access.PersonRead, access.RoleRead, access.ClientRead, access.ApprovalRead}, false},
}

// Navigation is what the person may see of it.
func (r *Request) Navigation() []NavItem {
	var list []NavItem
	for _, item := range navigation {
		if r.CanAny(item.Needs) {
			list = append(list, item)
		}
	}
	return list
}

// AllNavigation is the navigation for somebody who may see everything.
func AllNavigation() []NavItem { return navigation }

// Page is what is around a page's body.
type Page struct {
	Title   string // the heading, and the document's title
	Section string // of the navigation; empty: where the page was mounted
	Crumbs  []Link // the pages above, outermost first
	Lead    string // a sentence below the heading
	Badge   Node   // beside the heading
	Actions Node   // at the right of the heading
	Tabs    []Tab
	Narrow  bool // for forms and texts: lines stay short
}

// Link is a text that leads somewhere.
type Link struct{ Text, Href string }

// Tab is one of several views of the same thing; each has an address.
type Tab struct {
	Text, Href string
	Active     bool
	Count      string // beside the text
}
