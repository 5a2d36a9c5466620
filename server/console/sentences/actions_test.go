package sentences

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// sources are the folders whose code writes events.
var sources = []string{"../..", "../../people", "../../oauth", "../../scim", "../../sso"}

var actionForm = regexp.MustCompile(`^[a-z_]+\.[a-z_]+$`)

// TestEveryActionHasWords reads the sources of everything that writes events: the
// argument of each call that makes one is an action of the table, or composed of
// parts that are read where they are declared.
func TestEveryActionHasWords(t *testing.T) {
	want := map[string]string{} // action: where
	add := func(action, where string) { want[action] = where }
	for _, dir := range sources {
		for _, file := range parsed(t, dir) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if arg := actionArgument(n); arg != nil {
						actionsOf(t, arg, file, func(a string) { add(a, dir) })
					}
				}
				return true
			})
		}
	}
	for _, kind := range constants(t, "../../../broker", "Kind") {
		add("message."+strings.ReplaceAll(kind, "-", "_"), "broker")
	}
	for _, kind := range constants(t, "../../people", "NoticeKind") {
		add("alarm."+strings.ReplaceAll(kind, "-", "_"), "people")
	}
	if len(want) < 90 {
		t.Fatalf("only %d actions were found: the sources are written otherwise than this test reads them", len(want))
	}
	for action, where := range want {
		if !Known(action) {
			t.Errorf("the action %s of %s has no sentence in actions.go", action, where)
		}
	}
	for action := range table {
		if want[action] == "" {
			t.Errorf("nothing writes the action %s: its Sentence can go", action)
		}
	}
}

func parsed(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no sources: %v", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// actionArgument is the action of a call that makes an event or passes one on.
func actionArgument(c *ast.CallExpr) ast.Expr {
	name := ""
	switch f := c.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident:
		name = f.Name
	}
	at, ok := map[string]int{"event": 1, "Event": 1, "certificateEvent": 1, "grantEvent": 1, "approvalEvent": 1, "carryOut": 2, "decide": 4, "move": 4}[name]
	if !ok || len(c.Args) <= at {
		return nil
	}
	return c.Args[at]
}

// actionsOf finds what an argument can be. A variable can be every action that the
// same file spells.
func actionsOf(t *testing.T, arg ast.Expr, file *ast.File, add func(string)) {
	switch a := arg.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(a.Value); err == nil && actionForm.MatchString(text) {
			add(text)
		}
	case *ast.Ident:
		ast.Inspect(file, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok {
				return true
			}
			for i, left := range assign.Lhs {
				if id, ok := left.(*ast.Ident); ok && id.Name == a.Name && i < len(assign.Rhs) {
					if lit, ok := assign.Rhs[i].(*ast.BasicLit); ok {
						actionsOf(t, lit, file, add)
					}
				}
			}
			return true
		})
	case *ast.BinaryExpr:
		prefix, ok := a.X.(*ast.BasicLit)
		if !ok {
			t.Errorf("an action is composed in a way that this test cannot read: %T", a.X)
			return
		}
		switch head := strings.Trim(prefix.Value, `"`); head {
		case "message.", "alarm.": // of the kinds that are read from their constants
		case "device.":
			if index, ok := a.Y.(*ast.IndexExpr); ok {
				for _, verb := range valuesOf(file, index.X.(*ast.Ident).Name) {
					add(head + verb)
				}
				return
			}
			fallthrough
		default:
			t.Errorf("an action begins with %q and goes on in a way that this test cannot read", head)
		}
	}
}

// valuesOf are the texts of a map variable of a file.
func valuesOf(file *ast.File, name string) (list []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != name {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			if text, err := strconv.Unquote(e.(*ast.KeyValueExpr).Value.(*ast.BasicLit).Value); err == nil {
				list = append(list, text)
			}
		}
		return false
	})
	return list
}

// constants are the values of a type of text.
func constants(t *testing.T, dir, kind string) (list []string) {
	t.Helper()
	for _, file := range parsed(t, dir) {
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.ValueSpec)
				if id, ok := spec.Type.(*ast.Ident); ok && id.Name == kind {
					if text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value); err == nil {
						list = append(list, text)
					}
				}
			}
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no constants of the type %s", dir, kind)
	}
	return list
}

// TestSentencesAreWellFormed renders every sentence with and without its details.
func TestSentencesAreWellFormed(t *testing.T) {
	held := regexp.MustCompile(`\{([a-z_]+)(?::(person|time))?\}`)
	labels := map[string]bool{}
	for _, n := range Groups {
		labels[n.Noun] = true
	}
	n := &Names{people: map[string]named{}, clients: map[string]named{}}
	for _, action := range slices.Sorted(maps.Keys(table)) {
		text := table[action]
		if noun, _, _ := strings.Cut(action, "."); !labels[noun] {
			t.Errorf("%s: its noun has no label", action)
		}
		if strings.Count(text, "[") != strings.Count(text, "]") || strings.Count(text, "{") != len(held.FindAllString(text, -1)) {
			t.Errorf("%s: the sentence is not well-formed: %s", action, text)
		}
		e := adminapi.Event{Action: action, Actor: adminapi.EventActor{Kind: "client", ID: "admin"}, Subject: adminapi.EventSubject{Kind: "device", ID: "pump-3"}, Outcome: "success"}
		short := n.Of(e).Text()
		e.Details = map[string]string{}
		for _, m := range held.FindAllStringSubmatch(text, -1) {
			e.Details[m[1]] = map[string]string{"": "X", "person": "client:bob", "time": "2030-01-31T12:00:00Z"}[m[2]]
		}
		long := n.Of(e).Text()
		for _, s := range []string{short, long} {
			if strings.ContainsAny(s, "[]{}") || strings.Contains(s, "  ") || s == "" || strings.HasSuffix(s, ".") {
				t.Errorf("%s reads: %s", action, s)
			}
		}
		if strings.Contains(long, "–") {
			t.Errorf("%s leaves a gap: %s", action, long)
		}
	}
}

func TestSentences(t *testing.T) {
	n := &Names{people: map[string]named{"pada": {"Ada", ""}, "pbob": {"Bob", ""}}, clients: map[string]named{}}
	ada := adminapi.EventActor{Kind: "person", ID: "pada"}
	for want, e := range map[string]adminapi.Event{
		`Ada quarantined pump-3 because “it talks to strangers”`: {Actor: ada, Action: "device.quarantined", Subject: adminapi.EventSubject{Kind: "device", ID: "pump-3"}, Outcome: "success",
			Details: map[string]string{"reason": "it talks to strangers"}},
		`Ada disabled Bob’s account because “left”`: {Actor: ada, Action: "person.disabled", Subject: adminapi.EventSubject{Kind: "person", ID: "pbob"}, Details: map[string]string{"reason": "left"}},
		`Ada changed their own account`:             {Actor: ada, Action: "person.updated", Subject: adminapi.EventSubject{Kind: "person", ID: "pada"}},
		`Ada signed in with passkey`:                {Actor: ada, Action: "person.signed_in", Subject: adminapi.EventSubject{Kind: "person", ID: "pada"}, Details: map[string]string{"methods": "passkey"}},
		`Somebody unknown was refused by the API because the token is not known`: {Actor: adminapi.EventActor{Kind: "anonymous", ID: "anonymous"}, Action: "api.authentication_refused", Outcome: "refused",
			Reason: "the token is not known"},
		`Ada: moon landed of x1`: {Actor: ada, Action: "moon.landed", Subject: adminapi.EventSubject{Kind: "moon", ID: "x1"}},
		`Holdfast carried out “retire device”, asked for by Bob and approved by Ada – it failed: the device is gone`: {Actor: adminapi.EventActor{Kind: "system", ID: "approvals"},
			Action: "approval.carried_out", Outcome: "failed", Reason: "the device is gone", Details: map[string]string{"operation": "retire-device", "requested_by": "person:pbob", "approved_by": "person:pada"}},
	} {
		if got := n.Of(e).Text(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
