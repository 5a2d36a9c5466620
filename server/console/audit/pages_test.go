package audit_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// TestPages reads the pages of one server's short history.
func TestPages(t *testing.T) {
	f := start(t)
	all := f.pages()
	for name, test := range map[string]func(*testing.T, *fleet, http.Handler){
		"search": searches, "what somebody wrote is text": escapes, "what may not be seen is not shown": hides, "an entry": entryPages,
		"the log": logPages, "exports": exportFiles, "offline": offlinePackage,
	} {
		t.Run(name, func(t *testing.T) { test(t, f, all) })
	}
}

var (
	rowLink = regexp.MustCompile(`href="/audit/([0-9]+)"`)
	total   = regexp.MustCompile(`([0-9]+) events? in [0-9]+`)
)

// found are the numbers of the entries that a page lists, newest first.
func found(body string) (list []string) {
	for _, m := range rowLink.FindAllStringSubmatch(body, -1) {
		if len(list) == 0 || list[len(list)-1] != m[1] {
			list = append(list, m[1])
		}
	}
	return list
}

// searches: every filter is in the address, says what it found, and is shown as set.
func searches(t *testing.T, f *fleet, pages http.Handler) {
	quarantined := fmt.Sprint(f.await("device.quarantined").Index)
	refused := fmt.Sprint(f.await("api.authentication_refused").Index)
	for query, want := range map[string]string{
		"action=device.quarantined": quarantined, "action=device.*&subject=pump-3&outcome=success&q=quarantined": quarantined, "q=alert": quarantined, "subject=device%3Apump-3&q=because": quarantined,
		"outcome=refused": refused, "who=any%3Aanonymous": refused, "who=client%3Aadmin&action=device.quarantined&range=15m": quarantined,
	} {
		code, body, _ := get(t, pages, "/audit?"+query)
		if list := found(body); code != 200 || !contains(list, want) {
			t.Errorf("%s answers %d with %v, not %s", query, code, list, want)
		}
		values, _ := url.ParseQuery(query)
		if n := strings.Count(body, "Take away the filter"); n != len(values) {
			t.Errorf("%s shows %d filters as set", query, n)
		}
	}
	for _, nothing := range []string{"q=never+written", "subject=pump-99", "outcome=failed", "who=me", "to=1980-01-01", "range=custom&from=9000-01-01"} {
		if code, body, _ := get(t, pages, "/audit?"+nothing); code != 200 || len(found(body)) != 0 {
			t.Errorf("%s answers %d with %v", nothing, code, found(body))
		}
	}
	for _, wrong := range []string{"from=yesterday", "to=31.12.", "action=DROP+TABLE"} {
		if code, body, _ := get(t, pages, "/audit?"+wrong); code != 200 || !strings.Contains(body, "is not one") {
			t.Errorf("%s answers %d and does not say what is wrong", wrong, code)
		}
	}
	_, body, _ := get(t, pages, "/audit?action=device.*&outcome=success")
	if m := total.FindStringSubmatch(body); m == nil || m[1] == "0" {
		t.Error("a search does not say in how many events it looked")
	}
	// Page after page, every entry is there once.
	seen, path := map[string]bool{}, "/audit?limit=10"
	for path != "" {
		_, body, _ := get(t, pages, path)
		for _, index := range found(body) {
			if seen[index] {
				t.Fatalf("entry %s is on two pages", index)
			}
			seen[index] = true
		}
		path = ""
		if m := regexp.MustCompile(`href="(/audit\?[^"]*after=[^"]*)"[^>]*rel="next"|rel="next"[^>]*href="(/audit\?[^"]*after=[^"]*)"`).FindStringSubmatch(body); m != nil {
			path = strings.ReplaceAll(m[1]+m[2], "&amp;", "&")
		}
	}
	if len(seen) < 15 || !seen["0"] {
		t.Errorf("paging shows %d entries, and the first: %v", len(seen), seen["0"])
	}
}

func contains(list []string, want string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+want+" ")
}

func escapes(t *testing.T, f *fleet, pages http.Handler) {
	e := f.await("device.quarantined")
	for _, path := range []string{"/audit", "/audit?q=" + url.QueryEscape(hostile), "/audit?subject=" + url.QueryEscape(hostile), "/audit?action=" + url.QueryEscape(hostile), "/audit?who=" + url.QueryEscape("client:"+hostile),
		"/audit?from=" + url.QueryEscape(hostile), "/audit?live=1&q=" + url.QueryEscape(hostile), fmt.Sprintf("/audit/%d", e.Index), fmt.Sprintf("/audit/%d", f.await("person.invited").Index)} {
		code, body, _ := get(t, pages, path)
		if code >= 500 || strings.Contains(body, "<script>alert") || strings.Contains(body, "<b>Hopper") {
			t.Errorf("%s answers %d with markup that somebody wrote", path, code)
		}
	}
	if _, body, _ := get(t, pages, "/audit?subject=pump-3"); !strings.Contains(body, "&lt;script&gt;alert") {
		t.Error("the reason of the quarantine is not shown")
	}
}

// hides: an auditor without the permission to see personal data sees neither names
// nor network addresses, and no proof, which holds both.
func hides(t *testing.T, f *fleet, all http.Handler) {
	auditor := f.pages(access.AuditRead, access.PersonRead)
	index := f.await("role.granted").Index
	_, full, _ := get(t, all, fmt.Sprintf("/audit/%d", index))
	_, less, _ := get(t, auditor, fmt.Sprintf("/audit/%d", index))
	if !strings.Contains(full, "Hopper") || !strings.Contains(full, "Verify in this browser") {
		t.Error("who may see names is not shown them, or no proof")
	}
	if strings.Contains(less, "Hopper") || strings.Contains(less, "Verify in this browser") || !strings.Contains(less, "personal.read") {
		t.Error("an auditor without personal.read is shown a name or a proof, or not told what it takes")
	}
	if _, list, _ := get(t, auditor, "/audit"); strings.Contains(list, "Hopper") || strings.Contains(list, "/audit/export") {
		t.Error("the list of an auditor without personal.read shows a name or an export")
	}
	erased := f.await("person.erased").Index
	if _, body, _ := get(t, all, fmt.Sprintf("/audit/%d", erased)); strings.Contains(body, "Cato") || !strings.Contains(body, "erased account") {
		t.Error("the name of an erased account is shown")
	}
}

func entryPages(t *testing.T, f *fleet, pages http.Handler) {
	q, r := f.await("device.quarantined").Index, f.await("device.released").Index
	_, body, _ := get(t, pages, fmt.Sprintf("/audit/%d", q))
	for _, want := range []string{fmt.Sprintf(`rel="next" href="/audit/%d"`, r), `rel="prev"`, "subject=device%3Apump-3", "action=device.quarantined", fmt.Sprintf(`href="/audit/%d/bundle"`, q), verifyWords} {
		if !strings.Contains(body, want) {
			t.Errorf("the entry of the quarantine has no %s", want)
		}
	}
	if _, body, _ := get(t, pages, fmt.Sprintf("/audit/%d", r)); !strings.Contains(body, "Nothing happened to it since") {
		t.Error("the last event of a device does not say that it is the last")
	}
	for _, path := range []string{"/audit/-1", "/audit/01", "/audit/1e3", "/audit/999999", "/audit/99999999999999999999", "/audit/999999/proof", "/audit/999999/bundle"} {
		if code, _, _ := get(t, pages, path); code != 404 {
			t.Errorf("%s answers %d", path, code)
		}
	}
}

const verifyWords = "holdfast audit verify --key log-key.txt proof.json"

func logPages(t *testing.T, f *fleet, pages http.Handler) {
	state, err := f.api.AuditState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.ParsePublicKey(state.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := get(t, pages, "/audit/log"); code != 200 || !strings.Contains(body, state.VerifierKey) || !strings.Contains(body, "none is configured") {
		t.Errorf("the page of the log answers %d without its key", code)
	}
	if _, body, _ := get(t, pages, "/audit/log/key"); body != state.VerifierKey+"\n" {
		t.Errorf("the key is %q", body)
	}
	_, note, _ := get(t, pages, "/audit/log/checkpoint")
	c, err := audit.Open([]byte(note), key)
	if err != nil {
		t.Fatalf("the checkpoint: %v", err)
	}
	_, body, _ := get(t, pages, fmt.Sprintf("/audit/log/consistency?old=3&size=%d", c.Size))
	var answer struct{ Proof []string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Proof) == 0 {
		t.Errorf("how the log continues its third entry: %q, %v", body, err)
	}
	for _, wrong := range []string{"", "?old=0&size=5", "?old=6&size=5", "?old=1&size=9999999999999999", "?old=x&size=5"} {
		if code, _, _ := get(t, pages, "/audit/log/consistency"+wrong); code != 422 && code != 400 {
			t.Errorf("sizes %q answer %d", wrong, code)
		}
	}
}

func exportFiles(t *testing.T, _ *fleet, pages http.Handler) {
	for format, want := range map[string]string{"log": "holdfast-audit", "ocsf": `"class_uid"`} {
		code, body, header := get(t, pages, "/audit/export?format="+format)
		if code != 200 || !strings.Contains(body, want) || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Errorf("the export as %s answers %d: %.200s", format, code, body)
		}
	}
	if code, _, _ := get(t, pages, "/audit/export?format=exe"); code != 422 && code != 400 {
		t.Errorf("an export of no format answers %d", code)
	}
}

// offlinePackage: what is downloaded verifies with the command that it names, run as
// it stands in its folder, and no longer when a byte of it was changed.
func offlinePackage(t *testing.T, f *fleet, pages http.Handler) {
	index := f.await("device.quarantined").Index
	code, body, header := get(t, pages, fmt.Sprintf("/audit/%d/bundle", index))
	if code != 200 || !strings.Contains(header.Get("Content-Disposition"), "holdfast-audit-") {
		t.Fatalf("the package answers %d", code)
	}
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	dir, files := t.TempDir(), map[string][]byte{}
	for _, file := range z.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[file.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"proof.json", "log-key.txt", "README.txt"} {
		if len(files[name]) == 0 {
			t.Fatalf("the package has no %s", name)
		}
		put(name, files[name])
	}
	if !bytes.Contains(files["README.txt"], []byte(verifyWords)) {
		t.Errorf("the package does not say how to check it: %s", files["README.txt"])
	}
	bin := filepath.Join(t.TempDir(), "holdfast")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../../cmd/holdfast")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	verify := func() (string, error) {
		c := exec.CommandContext(t.Context(), bin, strings.Fields(verifyWords)[1:]...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := verify(); err != nil || !strings.Contains(out, "pump-3") && !strings.Contains(out, fmt.Sprint(index)) {
		t.Fatalf("the package does not verify: %v\n%s", err, out)
	}
	for _, changed := range tampered(t, files["proof.json"]) {
		put("proof.json", changed)
		if out, err := verify(); err == nil {
			t.Errorf("a changed proof verifies: %s", out)
		}
	}
}

// tampered are proofs with one thing changed: the event, the path, the signature.
func tampered(t *testing.T, proof []byte) (list [][]byte) {
	t.Helper()
	p, err := audit.ParseProof(proof)
	if err != nil {
		t.Fatal(err)
	}
	other := p
	other.Leaf = bytes.Replace(p.Leaf, []byte("pump-3"), []byte("pump-1"), 1)
	list = append(list, written(t, other))
	other = p
	other.Path = append([]audit.Hash{}, p.Path...)
	other.Path[0][0] ^= 1
	list = append(list, written(t, other))
	other = p
	note := bytes.Clone(p.Checkpoint)
	at := bytes.LastIndexByte(note, ' ') + 20 // within the signature
	if note[at] = 'A'; p.Checkpoint[at] == 'A' {
		note[at] = 'B'
	}
	other.Checkpoint = note
	return append(list, written(t, other))
}

func written(t *testing.T, p audit.Proof) []byte {
	t.Helper()
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
