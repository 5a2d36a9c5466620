package access

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func mountRoles(s *ui.Section) {
	s.Page("GET /access/roles", roles, access.RoleRead)
	s.Page("GET /access/new-role", newRole, access.RoleWrite)
	s.Page("POST /access/roles", createRole, access.RoleWrite)
	s.Page("GET /access/roles/{name}", role, access.RoleRead)
	s.Page("GET /access/roles/{name}/edit", editRole, access.RoleWrite)
	s.Page("POST /access/roles/{name}/edit", updateRole, access.RoleWrite)
	s.Page("GET /access/roles/{name}/delete", askDeleteRole, access.RoleWrite)
	s.Page("POST /access/roles/{name}/delete", deleteRole, access.RoleWrite)
	s.Page("GET /access/unused", unused, access.RoleRead)
	s.Page("GET /access/unused/{grant}", askSmaller, access.RoleWrite)
	s.Page("POST /access/unused/{grant}", takeSmaller, access.RoleWrite)
}

var roleCrumbs = []ui.Link{{Text: "Roles", Href: "/access/roles"}}

func roleNamed(list []access.Role, name string) (access.Role, bool) {
	i := slices.IndexFunc(list, func(r access.Role) bool { return r.Name == name })
	if i < 0 {
		return access.Role{}, false
	}
	return list[i], true
}

// roleWords is what a role is for, in a sentence or less.
func roleWords(r access.Role) string {
	if r.Description != "" {
		return r.Description
	}
	return ui.Count(int64(len(r.Permissions)), "permission", "permissions")
}

// held counts who has each role.
func held(grants []access.Grant) map[string]int {
	seen, n := map[string]bool{}, map[string]int{}
	for _, g := range grants {
		if key := g.Role + "\x00" + string(g.Kind) + g.Subject; !seen[key] {
			seen[key] = true
			n[g.Role]++
		}
	}
	return n
}

func roles(r *ui.Request) error {
	list, err := r.API.Roles(r.Context())
	if err != nil {
		return err
	}
	grants, err := r.API.Grants(r.Context(), "", "")
	if err != nil {
		return err
	}
	p := page(r, "/access/roles")
	p.Actions = ui.Nodes(ui.LinkButton(ui.Plain, "clock", "What is not used", "/access/unused"), ui.If(r.Can(access.RoleWrite), ui.LinkButton(ui.Primary, "plus", "Create a role", "/access/new-role")))
	return r.Page(p, rolesView(list, held(grants)))
}

// noun is the permissions about one thing.
type noun struct {
	title string
	infos []access.Info
}

// nounTitles are the things that permissions are about, as headings.
var nounTitles = map[string]string{"status": "The server", "device": "Devices", "type": "Device types", "zone": "Zones", "enrolment": "Enrolment", "certificate": "Certificates", "ca": "Authorities",
	"policy": "Policy", "app": "Apps", "session": "Sessions", "message": "Messages", "audit": "Audit log", "person": "People", "personal": "Personal data", "role": "Roles", "client": "API clients", "approval": "Approvals"}

// nouns groups all permissions by what they are about, in their order.
func nouns() (list []noun) {
	for _, i := range access.Permissions() {
		title := nounTitles[i.Permission.Noun()]
		if title == "" {
			title = i.Permission.Noun()
		}
		if len(list) == 0 || list[len(list)-1].title != title {
			list = append(list, noun{title: title})
		}
		list[len(list)-1].infos = append(list[len(list)-1].infos, i)
	}
	return list
}

// nounsOf are the nouns of a role alone.
func nounsOf(r access.Role) (list []noun) {
	for _, n := range nouns() {
		n.infos = slices.DeleteFunc(n.infos, func(i access.Info) bool { return !r.Has(i.Permission) })
		if len(n.infos) > 0 {
			list = append(list, n)
		}
	}
	return list
}

// rolePage is what the page of a role shows.
type rolePage struct {
	r      *ui.Request
	role   access.Role
	grants []access.Grant
	who    *who
}

func role(r *ui.Request) error {
	v, err := roleOf(r)
	if err != nil {
		return err
	}
	frame := ui.Page{Title: v.role.Name, Crumbs: roleCrumbs, Lead: v.role.Description, Badge: roleBadge(v.role)}
	if r.Can(access.RoleWrite) {
		copy := ui.LinkButton(ui.Plain, "copy", "Make a role like it", "/access/new-role?from="+v.role.Name)
		frame.Actions = copy
		if !v.role.Builtin {
			frame.Actions = ui.Nodes(ui.LinkButton(ui.Plain, "edit", "Edit", at("roles", v.role.Name, "edit")), copy, ui.DialogButton(ui.Plain, "trash", "Delete", at("roles", v.role.Name, "delete")))
		}
	}
	return r.Page(frame, roleView(v))
}

// roleOf finds the role of the path, and who has it.
func roleOf(r *ui.Request) (v rolePage, err error) {
	list, err := r.API.Roles(r.Context())
	if err != nil {
		return v, err
	}
	found, ok := roleNamed(list, r.Value("name"))
	if !ok {
		return v, ui.NotFound()
	}
	v = rolePage{r: r, role: found, who: newWho(r)}
	grants, err := r.API.Grants(r.Context(), "", "")
	for _, g := range grants {
		if g.Role == found.Name {
			v.grants = append(v.grants, g)
		}
	}
	return v, err
}

func roleBadge(role access.Role) ui.Node {
	if role.Builtin {
		return ui.Badge(ui.Neutral, "comes with Holdfast")
	}
	return ui.Badge(ui.Info, "made here")
}

// newRole begins with a copy of the role "from", less what "without" names.
func newRole(r *ui.Request) error {
	list, err := r.API.Roles(r.Context())
	if err != nil {
		return err
	}
	base, ok := roleNamed(list, r.Query("from"))
	made := access.Role{Permissions: base.Permissions}
	if ok {
		made.Name = base.Name + "-2"
		if r.Query("without") != "" {
			made.Name = base.Name + "-less"
		}
	}
	for p := range strings.SplitSeq(r.Query("without"), ",") {
		made.Permissions = slices.DeleteFunc(slices.Clone(made.Permissions), func(q access.Permission) bool { return string(q) == p })
	}
	return r.Page(ui.Page{Title: "Create a role", Crumbs: roleCrumbs, Lead: "A role does nothing until it is given to somebody. Tick the least that the work needs."}, roleForm(made, true, 0, list, base.Name))
}

func createRole(r *ui.Request) error {
	in := adminapi.RoleInput{Description: r.Form("description"), Permissions: permissions(r.FormAll("permission"))}
	made, err := r.API.Because(r.Form("reason")).CreateRole(r.Context(), r.Form("name"), in)
	if err != nil {
		return err
	}
	return r.Done("The role "+made.Name+" is created.", at("roles", made.Name))
}

func editRole(r *ui.Request) error {
	v, err := roleOf(r)
	if err != nil {
		return err
	}
	if v.role.Builtin {
		return ui.NotFound()
	}
	return r.Page(ui.Page{Title: "Edit " + v.role.Name, Crumbs: append(roleCrumbs[:1:1], ui.Link{Text: v.role.Name, Href: at("roles", v.role.Name)}),
		Lead: "The change holds at once for " + ui.Count(int64(held(v.grants)[v.role.Name]), "holder", "holders") + "."}, roleForm(v.role, false, held(v.grants)[v.role.Name], nil, ""))
}

func updateRole(r *ui.Request) error {
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return badField("version", "the form is not whole", "open it again")
	}
	in := adminapi.RoleInput{Description: r.Form("description"), Permissions: permissions(r.FormAll("permission"))}
	changed, err := r.API.Because(r.Form("reason")).UpdateRole(r.Context(), r.Value("name"), version, in)
	if err != nil {
		return err
	}
	return r.Done("The change holds from now on.", at("roles", changed.Name))
}

func askDeleteRole(r *ui.Request) error {
	v, err := roleOf(r)
	if err != nil {
		return err
	}
	c := ui.Confirm{ID: "delete-role", Title: "Delete the role " + v.role.Name + "?", Action: at("roles", v.role.Name, "delete"), Verb: "Delete", Kind: ui.Danger, Consequences: []string{"Nobody has it, so nobody loses anything."}}
	if n := held(v.grants)[v.role.Name]; n > 0 {
		c.Consequences = []string{ui.Count(int64(n), "person or client has it", "people and clients have it") + ": this will be refused until it is taken back from them."}
	}
	return r.Dialog(c)
}

func deleteRole(r *ui.Request) error {
	if err := r.API.DeleteRole(r.Context(), r.Value("name")); err != nil {
		return err
	}
	return r.Done("The role "+r.Value("name")+" is deleted.", "/access/roles")
}
