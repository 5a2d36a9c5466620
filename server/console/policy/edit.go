package policy

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// starter is a first manifest to begin from.
const starter = `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: sensor}
spec:
  publish:
    - name: telemetry
      topics: ["plant/${device.zone}/${device.id}/telemetry"]
`

func editPage() ui.Page {
	return ui.Page{Title: "Change the policy", Crumbs: []ui.Link{{Text: "Policy", Href: "/policy"}},
		Lead: "Edit the manifests, then look at what the change would do. Nothing is in force until you apply it."}
}

func edit(r *ui.Request) error {
	from, err := strconv.ParseInt("0"+r.Query("from"), 10, 64)
	if err != nil {
		return ui.NotFound()
	}
	p, err := r.API.Policy(r.Context(), from)
	if err != nil {
		return err
	}
	files := p.Files
	if len(files) == 0 {
		files = []adminapi.PolicyFile{{Name: "policy.yaml", Text: starter}}
	}
	return r.Page(editPage(), editView(files, nil))
}

// further is the editor with what was written, after a look at the plan.
func further(r *ui.Request) error { return r.Result(editPage(), editView(posted(r), nil)) }

// posted reads the files of a form: names and texts in the same order. A file
// without a text is left out; one without a name gets one.
func posted(r *ui.Request) []adminapi.PolicyFile {
	names, texts := r.FormAll("file"), r.FormAll("text")
	var files []adminapi.PolicyFile
	for i := range min(len(names), len(texts)) {
		text := strings.ReplaceAll(texts[i], "\r\n", "\n")
		if strings.TrimSpace(text) == "" {
			continue
		}
		name := strings.TrimSpace(names[i])
		if name == "" {
			name = fmt.Sprintf("file-%d.yaml", i+1)
		}
		files = append(files, adminapi.PolicyFile{Name: name, Text: text})
	}
	return files
}

// planned is what the page about a plan shows.
type planned struct {
	plan  adminapi.PolicyPlan
	files []adminapi.PolicyFile
	diffs []fileDiff
	may   bool
	// second tells that somebody else has to agree, as far as is known: a zone is in
	// production.
	second bool
}

// plan shows what the posted files would do; with problems, the editor again with
// the lines marked.
func plan(r *ui.Request) error {
	files := posted(r)
	p, err := r.API.PlanPolicy(r.Context(), files)
	if err != nil {
		return err
	}
	if len(p.Problems) > 0 {
		return r.Result(editPage(), editView(files, p.Problems))
	}
	now, err := r.API.Policy(r.Context(), 0)
	if err != nil {
		return err
	}
	v := planned{plan: p, files: files, diffs: diffFiles(now.Files, files), may: r.Can(access.PolicyApply)}
	if r.Can(access.ZoneRead) {
		zones, err := r.API.Zones(r.Context())
		if err != nil {
			return err
		}
		v.second = slices.ContainsFunc(zones, func(z device.Zone) bool { return z.Production })
	}
	return r.Result(ui.Page{Title: "What the change would do", Crumbs: []ui.Link{{Text: "Policy", Href: "/policy"}, {Text: "Change", Href: "/policy/edit"}}, Lead: "Nothing of this has happened yet."}, planView(v))
}

func apply(r *ui.Request) error {
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return ui.NotFound()
	}
	v, err := r.API.ApplyPolicy(r.Context(), adminapi.PolicyApply{Files: posted(r), Message: r.Form("message"), Version: version})
	if err != nil {
		return err
	}
	return r.Done(fmt.Sprintf("Version %d is in force.", v.Version), fmt.Sprintf("/policy?applied=%d", v.Version))
}

// wider and narrower count documents that may allow more, or less.
func wider(changes []adminapi.PolicyChange) (more, less int) {
	for _, c := range changes {
		if c.Widens {
			more++
		}
		if c.Narrows {
			less++
		}
	}
	return more, less
}

// parted are who is cut off, who loses something that they use, and who else is
// affected.
func parted(effects []adminapi.PolicyEffect) (gone, loses, others []adminapi.PolicyEffect) {
	for _, e := range effects {
		switch {
		case e.Gone:
			gone = append(gone, e)
		case len(e.Lost) > 0:
			loses = append(loses, e)
		default:
			others = append(others, e)
		}
	}
	return gone, loses, others
}

// whose is who an effect is on, in words.
func whose(e adminapi.PolicyEffect) string {
	s := e.Kind + " " + e.ID
	if e.Type != "" {
		s += ", a " + e.Type
	}
	if e.Zone != "" {
		s += " in " + e.Zone
	}
	return s
}

// problemsOf are the problems of a file, by line.
func problemsOf(problems []adminapi.PolicyProblem, file string) map[int]string {
	list := map[int]string{}
	for _, p := range problems {
		if p.File == file && p.Line > 0 {
			list[p.Line] = strings.TrimSpace(list[p.Line] + " " + p.Text)
		}
	}
	return list
}

// archived is the name of a file in an archive: below it, and never empty.
func archived(name string, i int) string {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c == ':' }) {
		return fmt.Sprintf("file-%d.yaml", i+1)
	}
	return name
}
