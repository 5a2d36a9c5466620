package sqlstore_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/server/store/storetest"
)

// TestEveryWriteIsCovered reads this package's source for exported methods of
// Store that write, and compares them with the contract's fault tests.
func TestEveryWriteIsCovered(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var methods []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.IsExported() && writes(f) {
				methods = append(methods, f.Name.Name)
			}
		}
	}
	slices.Sort(methods)
	if len(methods) == 0 {
		t.Fatal("no method that writes was found")
	}
	if covered := storetest.Writes(); !slices.Equal(methods, covered) {
		t.Errorf("the methods that write are\n%v\nand the fault tests cover\n%v", methods, covered)
	}
}

// writes tells whether a method calls its receiver's method write.
func writes(f *ast.FuncDecl) (found bool) {
	if len(f.Recv.List[0].Names) == 0 {
		return false
	}
	receiver := f.Recv.List[0].Names[0].Name
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "write" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == receiver {
				found = true
			}
		}
		return !found
	})
	return found
}
