package assets_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/server/console/assets"
)

// Each vendored file is named with its sum, and is the file of that sum.
func TestVendoredSums(t *testing.T) {
	readme, err := os.ReadFile("vendor/README.md")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` .* ([0-9a-f]{64}) \\|$").FindAllStringSubmatch(string(readme), -1) {
		sums[m[1]] = m[2]
	}
	found := 0
	err = filepath.WalkDir("vendor", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LICENSE" || d.Name() == "README.md" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		name, _ := filepath.Rel("vendor", path)
		if found++; sums[name] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has the sum %x, the README says %q", name, sum, sums[name])
		}
		return nil
	})
	if err != nil || found != len(sums) {
		t.Fatalf("found %d files for %d sums: %v", found, len(sums), err)
	}
}

func get(path, encoding string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	assets.Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestServing(t *testing.T) {
	url := assets.URL("app.css")
	plain, packed := get(url, ""), get(url, "br, gzip;q=0.5")
	if plain.StatusCode != 200 || !strings.Contains(plain.Header.Get("Cache-Control"), "immutable") || plain.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Fatalf("%d %v", plain.StatusCode, plain.Header)
	}
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("%v", packed.Header)
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := io.ReadAll(z)
	b, _ := io.ReadAll(plain.Body)
	if string(a) != string(b) || len(a) < 10_000 {
		t.Fatal("packed and plain differ")
	}
	if got := get(url, "gzip;q=0").Header.Get("Content-Encoding"); got != "" {
		t.Fatalf("packed for who refuses it: %s", got)
	}
	for _, path := range []string{"/assets/", "/assets/0000000000000000/app.css", strings.Replace(url, "app.css", "../assets.go", 1), strings.Replace(url, "app.css", "vendor/README.md", 1), "/assets/x"} {
		if res := get(path, ""); res.StatusCode != 404 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// Our own files load nothing of others and evaluate nothing.
func TestOwnFiles(t *testing.T) {
	bad := regexp.MustCompile(`https?://(?:[^w]|w[^w])|\beval\(|new Function|innerHTML\s*=|outerHTML\s*=|insertAdjacentHTML|document\.write|@import|setAttribute\("style`)
	for _, pattern := range []string{"js/*.js", "css/*.css"} {
		list, _ := filepath.Glob(pattern)
		for _, name := range list {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if m := bad.Find(data); m != nil {
				t.Errorf("%s holds %q", name, m)
			}
		}
	}
}
