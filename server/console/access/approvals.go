package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Who may not see all requests sees their own: these pages ask for no permission.
func mountApprovals(s *ui.Section) {
	s.Page("GET /access/approvals", approvals)
	s.Page("GET /access/approvals/{id}", approval)
	s.Page("GET /access/approvals/{id}/{verb}", askDecide)
	s.Page("POST /access/approvals/{id}/{verb}", decide)
}

// states are the states of a request, as they are called.
var states = []ui.Option{{Value: "waiting", Label: "Waiting"}, {Value: "done", Label: "Carried out"}, {Value: "failed", Label: "Failed"}, {Value: "rejected", Label: "Rejected"},
	{Value: "withdrawn", Label: "Withdrawn"}, {Value: "expired", Label: "Expired"}, {Value: "approved", Label: "Interrupted"}}

func stateText(s access.ApprovalState) string {
	for _, o := range states {
		if o.Value == string(s) {
			return strings.ToLower(o.Label)
		}
	}
	return string(s)
}

func approvalTone(s access.ApprovalState) ui.Tone {
	switch s {
	case access.ApprovalWaiting:
		return ui.Warn
	case access.ApprovalDone:
		return ui.Good
	case access.ApprovalFailed, access.ApprovalApproved:
		return ui.Bad
	}
	return ui.Neutral
}

func ownRequest(r *ui.Request, a access.Approval) bool {
	return a.RequestedBy == r.Identity.Actor.String()
}

func approvals(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"state", "by"}, Columns: []string{"what", "why", "by", "at", "state", "decided"}})
	all := r.Can(access.ApprovalRead)
	var list adminapi.ApprovalList
	var err error
	if all && s.Filter("by") == "" {
		list, err = r.API.Approvals(r.Context(), adminapi.ApprovalFilter{State: access.ApprovalState(s.Filter("state")), Before: s.After, Limit: s.Limit})
	} else {
		var own []access.Approval
		own, err = r.API.OwnApprovals(r.Context())
		var found []access.Approval
		for _, a := range own {
			if s.Filter("state") == "" || string(a.State) == s.Filter("state") {
				found = append(found, a)
			}
		}
		list.Items, list.Next = ui.SortPage(s, found, nil)
	}
	names := newWho(r)
	t := ui.Table[access.Approval]{ID: "approvals", Label: "Requests for a second person", State: s, Rows: list.Items, Next: list.Next, Err: err,
		Filters: []ui.Filter{{Name: "state", Label: "State", Options: append([]ui.Option{{Value: "", Label: "All"}}, states...)}},
		Columns: []ui.Column[access.Approval]{
			{Key: "what", Label: "What", Wide: true, Cell: func(a access.Approval) ui.Node { return ui.Text(a.Summary) }},
			{Key: "why", Label: "Why", Cell: func(a access.Approval) ui.Node { return ui.Text(a.Reason) }},
			{Key: "by", Label: "Asked by", Cell: func(a access.Approval) ui.Node { return names.link(a.RequestedBy) }},
			{Key: "at", Label: "When", Cell: func(a access.Approval) ui.Node { return ui.Time(a.RequestedAt) }},
			{Key: "state", Label: "State", Cell: func(a access.Approval) ui.Node { return ui.Badge(approvalTone(a.State), stateText(a.State)) }},
			{Key: "decided", Label: "Decided by", Hidden: true, Cell: func(a access.Approval) ui.Node { return names.link(a.DecidedBy) }},
		},
		Href: func(a access.Approval) string { return at("approvals", a.ID) },
		RowTone: func(a access.Approval) ui.Tone {
			if a.State == access.ApprovalWaiting && !ownRequest(r, a) {
				return ui.Warn
			}
			return ui.Neutral
		},
		Empty: ui.EmptyProps{Icon: "check", Title: "Nothing waits", Text: "Some actions need a second person. When somebody asks for one, it is here."}}
	p := page(r, "/access/approvals")
	if all {
		t.Filters = append(t.Filters, ui.Filter{Name: "by", Label: "Asked by", Options: []ui.Option{{Value: "", Label: "Anybody"}, {Value: "me", Label: "Me"}}})
	} else {
		p.Lead = "What you asked for that needs a second person."
	}
	return r.Page(p, t)
}

// approvalNamed finds the request of the path, among one's own where others may
// not be seen.
func approvalNamed(r *ui.Request) (access.Approval, error) {
	if r.Can(access.ApprovalRead) {
		return r.API.Approval(r.Context(), r.Value("id"))
	}
	own, err := r.API.OwnApprovals(r.Context())
	if err != nil {
		return access.Approval{}, err
	}
	for _, a := range own {
		if a.ID == r.Value("id") {
			return a, nil
		}
	}
	return access.Approval{}, ui.NotFound()
}

// approvalPage is what the page of a request shows.
type approvalPage struct {
	r     *ui.Request
	a     access.Approval
	who   *who
	about about
	own   bool
	may   bool // decide on it
}

func approval(r *ui.Request) error {
	a, err := approvalNamed(r)
	if err != nil {
		return err
	}
	v := approvalPage{r: r, a: a, who: newWho(r), own: ownRequest(r, a)}
	v.may = r.Can(access.ApprovalDecide) && a.State == access.ApprovalWaiting && !v.own
	v.about = describe(r, v.who, a)
	frame := ui.Page{Title: v.about.title, Crumbs: []ui.Link{{Text: "Approvals", Href: "/access/approvals"}}, Badge: ui.Badge(approvalTone(a.State), stateText(a.State))}
	switch {
	case v.may:
		frame.Actions = ui.Nodes(ui.DialogButton(ui.Plain, "x", "Reject", at("approvals", a.ID, "reject")), ui.DialogButton(ui.Primary, "check", "Approve", at("approvals", a.ID, "approve")))
	case v.own && a.State == access.ApprovalWaiting:
		frame.Actions = ui.DialogButton(ui.Plain, "undo", "Withdraw", at("approvals", a.ID, "withdraw"))
	}
	return r.Page(frame, approvalView(v))
}

func askDecide(r *ui.Request) error {
	a, err := approvalNamed(r)
	if err != nil {
		return err
	}
	names := newWho(r)
	d := describe(r, names, a)
	c := ui.Confirm{Action: at("approvals", a.ID, r.Value("verb")), ID: "decide", Kind: ui.Danger}
	switch comment := ui.TextArea(ui.FieldProps{Form: "decide-form", Name: "comment", Label: "Comment", Hint: "For who asked, and for the audit log.", Optional: true, Rows: 2, Max: 1024}); r.Value("verb") {
	case "approve":
		c.Title, c.Verb, c.Body = "Approve this?", "Approve and carry out", comment
		c.Consequences = []string{d.title + ".", "It is carried out at once, in the name of " + names.called(a.RequestedBy) + ", with the rights that they have now.", "The audit log names you as the second person."}
	case "reject":
		c.Title, c.Verb, c.Body = "Reject this?", "Reject", comment
		c.Consequences = []string{"Nothing is carried out.", "They can ask again."}
	case "withdraw":
		c.Title, c.Verb, c.Kind = "Withdraw your request?", "Withdraw", ui.Primary
		c.Consequences = []string{"Nothing is carried out, and nobody can approve it any more."}
		c.Undo = "You can ask again."
	default:
		return ui.NotFound()
	}
	return r.Dialog(c)
}

func decide(r *ui.Request) (err error) {
	var a access.Approval
	switch verb := r.Value("verb"); verb {
	case "approve", "reject":
		a, err = r.API.DecideApproval(r.Context(), r.Value("id"), verb == "approve", r.Form("comment"))
	case "withdraw":
		a, err = r.API.WithdrawApproval(r.Context(), r.Value("id"))
	default:
		return ui.NotFound()
	}
	if err != nil {
		return err
	}
	to := at("approvals", a.ID)
	if a.State == access.ApprovalFailed {
		return r.Noted("It was approved, but could not be carried out.", to)
	}
	return r.Done(fmt.Sprintf("The request is %s.", stateText(a.State)), to)
}

// raw is the request as it was sent, as text.
func raw(a access.Approval) string {
	head := a.Method + " " + a.Path + "\n"
	switch {
	case len(a.Body) == 0:
		return head
	case !utf8.Valid(a.Body):
		return head + "\n" + ui.Bytes(int64(len(a.Body))) + " that are no text"
	case len(a.Body) > maxRaw:
		return head + "\n" + strings.ToValidUTF8(string(a.Body[:maxRaw]), "") + "\n… and " + ui.Bytes(int64(len(a.Body)-maxRaw)) + " more"
	}
	return head + "\n" + pretty(a.Body)
}

// maxRaw is how much of a body is shown, in bytes.
const maxRaw = 64 << 10

// weightiest are permissions with those that change something first.
func weightiest(list []access.Permission) []access.Permission {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b access.Permission) int { return cmp.Compare(b.Info().Effect, a.Info().Effect) })
	return list
}
