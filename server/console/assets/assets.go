// Package assets holds what browsers load beside pages: one style sheet, small
// modules of our own, icons, and vendored libraries with their licences.
//
// It promises that every address holds the hash of all content, so that answers
// may be kept for ever, and that nothing but the files compiled in is served. It
// trusts the files of this folder; whoever could write them would run in every
// operator's browser, so a test pins the sums of the vendored ones.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed css js vendor icons.svg logo.svg
var files embed.FS

// sheets are the parts of the one style sheet, in the order of the cascade.
var sheets = []string{"css/tokens.css", "vendor/uplot/uPlot.min.css", "css/base.css", "css/shell.css", "css/components.css", "css/forms.css",
	"css/tables.css", "css/data.css", "css/signin.css", "css/audit.css", "css/overview.css", "css/policy.css", "css/devices.css", "css/messages.css", "css/access.css", "css/print.css"}

var types = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml"}

type file struct {
	plain, zipped []byte
	kind          string
}

type bundle struct {
	hash  string
	files map[string]file
}

// load reads everything once.
var load = sync.OnceValue(func() bundle {
	b := bundle{files: map[string]file{}}
	must(fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		kind, ok := types[path.Ext(name)]
		if err != nil || d.IsDir() || !ok || path.Ext(name) == ".css" {
			return err
		}
		data, err := files.ReadFile(name)
		b.files[name] = file{data, pack(data), kind}
		return err
	}))
	// More than one theme or page would not make a second sheet cheaper than this
	// one, which is fetched once for each release.
	var css bytes.Buffer
	for _, name := range sheets {
		data, err := files.ReadFile(name)
		must(err)
		css.Write(data)
		css.WriteByte('\n')
	}
	b.files["app.css"] = file{css.Bytes(), pack(css.Bytes()), types[".css"]}
	names := make([]string, 0, len(b.files))
	for name := range b.files {
		names = append(names, name)
	}
	slices.Sort(names)
	sum := sha256.New()
	for _, name := range names {
		part := sha256.Sum256(b.files[name].plain)
		sum.Write(part[:])
		sum.Write([]byte(name + "\n"))
	}
	b.hash = hex.EncodeToString(sum.Sum(nil))[:16]
	return b
})

// must is for faults of what was compiled in, which every test would show.
func must(err error) {
	if err != nil {
		panic("console assets: " + err.Error())
	}
}

func pack(data []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// URL is the address of a file of this folder, such as "js/app.js", "app.css"
// (all of css/) or "icons.svg". A name that does not exist panics: it is a
// mistake in a page, and every test of the page shows it.
func URL(name string) string {
	b := load()
	if _, ok := b.files[name]; !ok {
		panic("console assets: there is no " + name)
	}
	return Prefix + b.hash + "/" + name
}

// Prefix is where Handler has to be mounted.
const Prefix = "/assets/"

// Handler serves the files below Prefix. The path's hash has to be the present
// one: an answer that may be kept for ever must not be another release's file.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := load()
		hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
		f, ok := b.files[name]
		if !ok || hash != b.hash || r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		data := f.plain
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			data = f.zipped
		}
		h.Set("Content-Length", strconv.Itoa(len(data)))
		if r.Method == http.MethodGet {
			w.Write(data)
		}
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as it
// matters here.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return strings.ReplaceAll(q, " ", "") != "q=0"
		}
	}
	return false
}
