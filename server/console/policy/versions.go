package policy

import (
	"archive/zip"
	"fmt"
	"io"
	"strconv"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// numbered reads the version in the path, in its one spelling.
func numbered(r *ui.Request) (int64, error) {
	text := r.Value("version")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
		return 0, ui.NotFound()
	}
	return n, nil
}

func versionPath(n int64) string { return "/policy/versions/" + strconv.FormatInt(n, 10) }

func exportPath(n int64) string { return versionPath(n) + "/export" }

// compared is a version beside another.
type compared struct {
	policy adminapi.PolicyDetails
	with   int64 // the other version; 0: nothing, before the first
	files  []fileDiff
	side   bool                // side by side
	back   adminapi.PolicyPlan // what going back to it would change
}

// version shows what a version changed: beside the one before, or the one that the
// address names.
func version(r *ui.Request) error {
	n, err := numbered(r)
	if err != nil {
		return err
	}
	v := compared{with: n - 1, side: r.Query("view") == "side"}
	if v.policy, err = r.API.Policy(r.Context(), n); err != nil {
		return err
	}
	if with, err := strconv.ParseInt(r.Query("with"), 10, 64); err == nil && with > 0 && with != n {
		v.with = with
	}
	var before []adminapi.PolicyFile
	if v.with > 0 {
		other, err := r.API.Policy(r.Context(), v.with)
		if err != nil {
			return err
		}
		before = other.Files
	}
	v.files = diffFiles(before, v.policy.Files)
	at := ui.Page{Title: fmt.Sprintf("Version %d", n), Crumbs: []ui.Link{{Text: "Policy", Href: "/policy"}, {Text: "Versions", Href: "/policy/versions"}}, Actions: ui.LinkButton(ui.Plain, "download", "Export", exportPath(n))}
	if v.policy.Active {
		at.Badge = ui.Badge(ui.Good, "in force")
	} else {
		if v.back, err = r.API.PlanPolicy(r.Context(), v.policy.Files); err != nil {
			return err
		}
		at.Actions = ui.Nodes(at.Actions, ui.If(r.Can(access.PolicyApply), ui.LinkButton(ui.Primary, "undo", "Go back to this version", fmt.Sprintf("/policy/edit?from=%d", n))))
	}
	return r.Page(at, versionView(v))
}

// viewTabs are the two ways to look at what changed.
func (v compared) viewTabs() []ui.Tab {
	to := func(view string) string {
		return fmt.Sprintf("%s?with=%d&view=%s", versionPath(v.policy.Version), v.with, view)
	}
	return []ui.Tab{{Text: "In one column", Href: to("one"), Active: !v.side}, {Text: "Side by side", Href: to("side"), Active: v.side}}
}

// export is a version's files as they were applied, in an archive. A name of a file
// is text that somebody wrote: the archive has none that leads elsewhere.
func export(r *ui.Request) error {
	n, err := numbered(r)
	if err != nil {
		return err
	}
	p, err := r.API.Policy(r.Context(), n)
	if err != nil {
		return err
	}
	return r.Download(fmt.Sprintf("policy-%d.zip", n), "application/zip", func(w io.Writer) error {
		z := zip.NewWriter(w)
		for i, f := range p.Files {
			h := &zip.FileHeader{Name: archived(f.Name, i), Method: zip.Deflate, Modified: p.CreatedAt}
			out, err := z.CreateHeader(h)
			if err == nil {
				_, err = io.WriteString(out, f.Text)
			}
			if err != nil {
				return fmt.Errorf("writing the archive: %w", err)
			}
		}
		return z.Close()
	})
}
