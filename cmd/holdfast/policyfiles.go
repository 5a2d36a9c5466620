package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// readPolicy reads the manifests at a path: one file, or all *.yaml and *.yml
// below a folder except in hidden folders and those named testdata. Their names
// are relative to the folder.
func readPolicy(where string) ([]adminapi.PolicyFile, error) {
	info, err := os.Stat(where)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	dir, walk := where, "."
	if !info.IsDir() {
		dir, walk = filepath.Split(where)
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	defer root.Close()
	r := &policyReader{root: root}
	if info.IsDir() {
		err = fs.WalkDir(root.FS(), walk, r.visit)
	} else {
		err = r.file(walk)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the policy in %s: %w", where, err)
	}
	if len(r.files) == 0 {
		return nil, fixing("name the folder that holds the manifests", fmt.Errorf("there is no *.yaml or *.yml in %s", where))
	}
	slices.SortFunc(r.files, func(a, b adminapi.PolicyFile) int { return strings.Compare(a.Name, b.Name) })
	return r.files, nil
}

// policyReader opens files through a root, so that no symbolic link leads out of
// the folder that was named.
type policyReader struct {
	root  *os.Root
	files []adminapi.PolicyFile
	total int
}

func (r *policyReader) visit(name string, d fs.DirEntry, err error) error {
	switch base := path.Base(name); {
	case err != nil:
		return err
	case d.IsDir() && name != "." && (base[0] == '.' || base == "testdata"):
		return fs.SkipDir
	case d.IsDir() || base[0] == '.':
		return nil
	}
	if ext := strings.ToLower(path.Ext(name)); ext != ".yaml" && ext != ".yml" {
		return nil
	}
	return r.file(name)
}

func (r *policyReader) file(name string) error {
	if len(r.files) == manifest.MaxFiles {
		return fmt.Errorf("there are more than %d files", manifest.MaxFiles)
	}
	info, err := r.root.Stat(name)
	if err != nil {
		if l, lerr := r.root.Lstat(name); lerr == nil && l.Mode()&fs.ModeSymlink != 0 {
			return fixing("copy what it points to into the folder", fmt.Errorf("%s is a symbolic link that leads out of the folder, or nowhere", name))
		}
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	f, err := r.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := readBounded(f, name, manifest.MaxFile)
	if err != nil {
		return err
	}
	if r.total += len(text); r.total > manifest.MaxTotal {
		return fmt.Errorf("the files have more than %d bytes together", manifest.MaxTotal)
	}
	if !utf8.Valid(text) { // JSON could not carry it to the server as it is
		return fixing("save it as UTF-8", fmt.Errorf("%s is not UTF-8", name))
	}
	r.files = append(r.files, adminapi.PolicyFile{Name: filepath.ToSlash(name), Text: string(text)})
	return nil
}

// inFolder puts the folder that was named before the places in it, so that an
// editor finds them.
func inFolder(where, place string) string {
	if info, err := os.Stat(where); err == nil && !info.IsDir() {
		where = filepath.Dir(where)
	}
	if place == "" || where == "" {
		return place
	}
	return filepath.Join(where, place)
}

// writePolicy writes the files of a version into a folder; none may be there yet.
func writePolicy(dir string, files []adminapi.PolicyFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if err := writePolicyFile(root, f); err != nil {
			return fixing("name an empty folder", fmt.Errorf("writing the policy into %s: %w", dir, err))
		}
	}
	return nil
}

func writePolicyFile(root *os.Root, f adminapi.PolicyFile) error {
	name := filepath.FromSlash(f.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("the file name %q leads out of the folder", f.Name)
	}
	if parent := filepath.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = out.WriteString(f.Text)
	return errors.Join(err, out.Sync(), out.Close())
}
