// Package holdfast has no code: its test keeps the tree the architecture that
// ARCHITECTURE.md describes.
package holdfast

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-iot/holdfast"

// layers lists parts of the tree from the bottom up; the longest prefix of a
// package's path says which part it is in. A package may import its own part
// and parts in lower layers. Parts that share a layer are strangers, and a part
// of a program is a stranger to other programs.
var layers = [][]string{
	{"refusal"},
	{"device"},
	{"access", "audit", "mqtt"},
	{"pki", "policy", "privacy"},
	{"enroll"},
	{"internal"},
	{"est", "natsd", "examples", "broker", "api"},
	{"server/config", "server/keystore", "server/store/sqlstore", "server/adminapi"},
	{"server/people", "server/oauth", "server/sso", "server/scim"},
	{"server/store", "server/demo", "server/console"},
	{"server"},
	{"cmd"},
	{"test", "bench"},
}

// pure counts the layers, from the bottom, whose packages only decide: no
// files, sockets, databases, processes, logs or clocks, and nobody else's code.
const pure = 5

var impure = []string{"os", "net", "net/http", "database/sql", "os/exec", "log", "log/slog"}

// allowed lists the third-party packages that a pure package may use.
var allowed = map[string][]string{
	"access/password": {"github.com/ccojocar/zxcvbn-go/match", "github.com/ccojocar/zxcvbn-go/matching", "github.com/ccojocar/zxcvbn-go/scoring",
		"golang.org/x/crypto/argon2", "golang.org/x/text/secure/precis", "golang.org/x/text/unicode/norm"},
	"audit":           {"golang.org/x/mod/sumdb/tlog"},
	"pki":             {"golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/cryptobyte/asn1"},
	"policy/manifest": {"go.yaml.in/yaml/v3"},
	"policy":          {"cel.dev/cel-go/cel", "cel.dev/cel-go/common/types", "cel.dev/cel-go/common/types/ref", "cel.dev/cel-go/interpreter"},
}

// testOnly lists the packages that only test files, and programs that exist for
// measuring, may import.
var testOnly = []string{module + "/server/store/storetest", module + "/internal/pgtest", module + "/internal/idptest", module + "/server/console/uitest", module + "/test/house"}

// lent lists the one sub-folder of a program that another program may use, and
// which: the signer is a key store of its own behind a socket.
var lent = map[string]string{"cmd/holdfast-signer": module + "/server/keystore"}

const maxFile, maxFunc = 600, 100

type pkg struct {
	ImportPath, Doc string
	Imports, Deps   []string
}

func list(t *testing.T, patterns ...string) (pkgs []pkg) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Imports,Deps"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// locate finds the part of the tree that an import path is in, and its layer:
// ours is false for the packages of others, and layer -1 for a stray of ours.
func locate(path string) (part, rel string, layer int, ours bool) {
	rel, ours = strings.CutPrefix(path, module+"/")
	layer = -1
	for i, parts := range layers {
		for _, p := range parts {
			if len(p) > len(part) && (rel == p || strings.HasPrefix(rel, p+"/")) {
				part, layer = p, i
			}
		}
	}
	return part, rel, layer, ours
}

// top returns the program or noun that a part belongs to.
func top(part string) string { return strings.Split(part, "/")[0] }

func thirdParty(path string) bool { return strings.Contains(strings.Split(path, "/")[0], ".") }

// TestFiles reads every Go file. That also tells the test cache what the tests
// below depend on, because it does not see what go list reads.
func TestFiles(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil || ast.IsGenerated(f) {
			return err
		}
		if n := fset.Position(f.FileEnd).Line; n > maxFile {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFile)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunc {
					t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFunc)
				}
			}
		}
		if part, _, layer, _ := locate(module + "/" + filepath.ToSlash(path)); 0 <= layer && layer < pure {
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Now" {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
						t.Errorf("%s: %s asks for the time: take it as an argument", fset.Position(n.Pos()), part)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	for _, p := range list(t, "./...") {
		from, rel, layer, ours := locate(p.ImportPath)
		if !ours {
			continue
		}
		if layer < 0 {
			t.Errorf("%s is in no layer: put it where it belongs, or add it to layers", rel)
			continue
		}
		if !strings.HasPrefix(p.Doc, "Package ") && !strings.HasPrefix(p.Doc, "Command ") {
			t.Errorf("%s has no package comment", rel)
		}
		for _, imp := range p.Imports {
			to, _, below, ours := locate(imp)
			switch {
			case slices.Contains(testOnly, imp) && top(from) != "bench" && !slices.Contains(testOnly, p.ImportPath):
				t.Errorf("%s imports %s, which is for tests", rel, imp)
			case ours && from != to && (from == "internal" || below >= layer || strings.Contains(to, "/") && top(to) != top(from) && !mayReachInto(rel, imp)):
				t.Errorf("%s imports %s: %s may not know %s", rel, imp, from, to)
			case !ours && layer < pure && (slices.Contains(impure, imp) || thirdParty(imp) && !slices.Contains(allowed[rel], imp)):
				t.Errorf("%s imports %s: %s only decides; let an adapter do that", rel, imp, from)
			}
		}
	}
}

// mayReachInto tells who may import a sub-folder of a program that is not its own:
// the commands that start the program, tests and measurements.
func mayReachInto(rel, imp string) bool {
	switch top(rel) {
	case "test", "bench":
		return true
	case "cmd":
		return rel == "cmd/holdfast" || lent[rel] == imp
	}
	return false
}

// TestSignerDeps keeps the process that holds the hardware keys small: it links no
// server, no database and no message bus.
func TestSignerDeps(t *testing.T) {
	for _, dep := range list(t, "./cmd/holdfast-signer")[0].Deps {
		for _, bad := range []string{"database/sql", "html/template", module + "/server/store", module + "/natsd", module + "/server/adminapi"} {
			if dep == bad || strings.HasPrefix(dep, bad+"/") {
				t.Errorf("the signer links %s", dep)
			}
		}
	}
}
