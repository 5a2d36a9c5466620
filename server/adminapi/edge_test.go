package adminapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// do sends one request past the network and reads a problem when there is one.
func do(t *testing.T, m *memory, method, path, kind, text string) (*httptest.ResponseRecorder, Problem) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(text))
	r.Header.Set("Authorization", "Bearer "+goodToken)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	rec := httptest.NewRecorder()
	m.handler().ServeHTTP(rec, r)
	var p Problem
	if rec.Code >= 400 {
		if rec.Header().Get("Content-Type") != typeProblem {
			t.Errorf("%s %s: %d is %s", method, path, rec.Code, rec.Header().Get("Content-Type"))
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
			t.Errorf("%s %s: %v", method, path, err)
		}
		if p.Status != rec.Code || p.Type != problemURN+p.Code || p.Code == "" || p.Title == "" || p.Detail == "" || p.Fix == "" || p.RequestID != rec.Header().Get("X-Request-Id") {
			t.Errorf("%s %s: the problem is not whole: %s", method, path, rec.Body)
		}
	}
	h := rec.Header()
	if len(h.Get("X-Request-Id")) != 16 || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") == "" {
		t.Errorf("%s %s: headers are %v", method, path, h)
	}
	return rec, p
}

func TestProblems(t *testing.T) {
	const js = "application/json"
	m := newMemory()
	whole := `{"id":"d1","type":"sensor","zone":"plant"}`
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		code, says               string
	}{
		{"GET", "/api/v1/nothing", "", "", 404, "no-such-path", "path"},
		{"GET", "/", "", "", 404, "no-such-path", "path"},
		{"GET", "/docs", "", "", 404, "no-such-path", "path"},
		{"GET", "/api/v1/ca%2Fbundle.pem", "", "", 404, "no-such-path", "path"},
		{"PATCH", "/api/v1/devices/x", "", "", 405, "method-not-allowed", "PATCH"},
		{"GET", "/api/v1/devices/none", "", "", 404, "no-such-device", "no such device"},
		{"GET", "/api/v1/devices/" + strings.Repeat("x", 65), "", "", 422, "invalid-request", "length"},
		{"GET", "/api/v1/devices?limit=0", "", "", 422, "invalid-request", "limit"},
		{"GET", "/api/v1/devices?limit=many", "", "", 422, "invalid-request", "invalid integer"},
		{"GET", "/api/v1/devices?zome=x", "", "", 422, "invalid-request", `did you mean "zone"?`},
		{"GET", "/api/v1/devices?label=novalue", "", "", 422, "bad-label", "key=value"},
		{"GET", "/api/v1/devices?label=a=1&label=a=2", "", "", 422, "bad-label", "key=value"},
		{"GET", "/api/v1/devices?label=A=1", "", "", 422, "bad-label", "not valid"},
		{"GET", "/api/v1/devices?label=a=1&label=b=1&label=c=1&label=d=1&label=e=1", "", "", 422, "invalid-request", "label"},
		{"GET", "/api/v1/audit/entries/x", "", "", 422, "invalid-request", "index"},
		{"GET", "/api/v1/audit/entries?since=yesterday", "", "", 422, "invalid-request", "since"},
		{"POST", "/api/v1/devices", js, "", 400, "no-body", "no body"},
		{"POST", "/api/v1/devices", js, "{", 400, "bad-json", "JSON"},
		{"POST", "/api/v1/devices", js, whole + "x", 400, "bad-json", "JSON"},
		{"POST", "/api/v1/devices", js, `[]`, 422, "invalid-request", "object"},
		{"POST", "/api/v1/devices", js, `{"id":"d1","type":"sensor"}`, 422, "invalid-request", "zone"},
		{"POST", "/api/v1/devices", js, `{"id":"d1","type":"sensor","zone":"p","onwer":"x"}`, 422, "invalid-request", `onwer: this is not known: did you mean "owner"?`},
		{"POST", "/api/v1/devices", js, `{"id":"d1","type":"sensor","zone":"p","labels":{"a":1}}`, 422, "invalid-request", "labels.a"},
		{"POST", "/api/v1/devices", "application/x-www-form-urlencoded", whole, 415, "unsupported-media-type", "media type"},
		{"POST", "/api/v1/devices", js, whole + strings.Repeat(" ", maxBody), 413, "body-too-large", "larger"},
		{"POST", "/api/v1/types", js, `{"name":"x","validity":"soon"}`, 422, "invalid-request", "duration"},
		{"POST", "/api/v1/types", js, `{"name":"x","validity":1}`, 422, "invalid-request", "validity"},
		{"POST", "/api/v1/types/x/sign-offs", js, `{"stage":"develop","statement":"all is reviewed"}`, 422, "bad-stage", "needs no sign-off"},
		{"POST", "/api/v1/devices/import", "image/png", "x", 415, "unsupported-media-type", "media type"},
		{"POST", "/api/v1/devices/import", "text/csv; charset=latin1", "x", 415, "unsupported-media-type", "media type"},
		{"GET", "/api/v1/devices/export?format=xlsx", "", "", 422, "invalid-request", "format"},
		{"GET", "/api/v1/audit/log/" + strings.Repeat("x", 200), "", "", 404, "no-such-tile", "file"},
	} {
		rec, p := do(t, m, c.method, c.path, c.kind, c.body)
		if rec.Code != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s %s %.60s: got %d %s: %s", c.method, c.path, c.body, rec.Code, p.Code, rec.Body)
		}
		if len(m.errs) > 0 {
			t.Errorf("%s %s: OnError was told %v", c.method, c.path, m.errs)
		}
	}
}

func TestKinds(t *testing.T) {
	a := &api{cfg: newMemory().config()}
	for kind := refusal.Invalid; kind <= refusal.Unavailable; kind++ {
		p := a.problem(t.Context(), fmt.Errorf("wrapped secret: %w", refusal.New(kind, "some-code", "do this", "this is wrong")))
		if p.Status != statusOf[kind] || p.Status < 400 || p.Code != "some-code" || p.Detail != "this is wrong" || p.Fix != "do this" {
			t.Errorf("kind %d: got %+v", kind, p)
		}
		if retry := p.GetHeaders().Get("Retry-After"); (retry != "") != (kind == refusal.TooMany || kind == refusal.Unavailable) {
			t.Errorf("kind %d: Retry-After is %q", kind, retry)
		}
	}
}

func TestInnerErrorsStayInside(t *testing.T) {
	for _, id := range []string{"broken", "panic"} {
		m := newMemory()
		rec, p := do(t, m, "GET", "/api/v1/devices/"+id, "", "")
		if rec.Code != 500 || p.Code != "internal" || strings.Contains(rec.Body.String(), "secret") || strings.Contains(rec.Body.String(), "hunter2") {
			t.Errorf("%s: got %d %s", id, rec.Code, rec.Body)
		}
		if len(m.errs) != 1 || !strings.HasPrefix(m.errs[0].Error(), p.RequestID+": ") {
			t.Errorf("%s: OnError was told %v", id, m.errs)
		}
	}
}

func TestShownCanBeSentBack(t *testing.T) {
	m := newMemory()
	for _, c := range []struct{ create, path, body string }{
		{"/api/v1/devices", "/api/v1/devices/d1", `{"id":"d1","type":"sensor","zone":"plant","labels":{"a":"1"}}`},
		{"/api/v1/types", "/api/v1/types/t1", `{"name":"t1","validity":"48h"}`},
		{"/api/v1/zones", "/api/v1/zones/z1", `{"name":"z1"}`},
	} {
		if rec, _ := do(t, m, "POST", c.create, "application/json", c.body); rec.Code != 201 {
			t.Fatalf("%s: %d %s", c.create, rec.Code, rec.Body)
		}
		shown, _ := do(t, m, "GET", c.path, "", "")
		if rec, _ := do(t, m, "PUT", c.path, "application/json", shown.Body.String()); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"version":2`) {
			t.Errorf("%s: sent back %s, got %d %s", c.path, shown.Body, rec.Code, rec.Body)
		}
	}
	if rec, _ := do(t, m, "GET", "/api/v1/types/t1", "", ""); !strings.Contains(rec.Body.String(), `"validity":"48h0m0s"`) || !strings.Contains(rec.Body.String(), `"sign_offs":[]`) {
		t.Errorf("shown %s", rec.Body)
	}
}

func TestCrossOrigin(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/v1/zones", strings.NewReader(`{"name":"z"}`))
	r.Header.Set("Authorization", "Bearer "+goodToken)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	rec := httptest.NewRecorder()
	Handler(newMemory().config()).ServeHTTP(rec, r)
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "cross-origin") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

func TestImport(t *testing.T) {
	m, c := serve(t)
	var file strings.Builder
	file.WriteString("\ufeffzone,id,type\n")
	for i := range 250 {
		fmt.Fprintf(&file, "plant,d%03d,sensor\n", i)
	}
	var told []ImportProgress
	n, err := c.ImportDevices(t.Context(), strings.NewReader(file.String()), "text/csv", func(p ImportProgress) { told = append(told, p) })
	if err != nil || n != 250 || len(m.devices) != 250 {
		t.Fatalf("imported %d (%d), %v", n, len(m.devices), err)
	}
	if told[0] != (ImportProgress{Checked: 250, Rows: 250}) || len(told) < 2 || told[len(told)-1].Rows != 250 ||
		!slices.IsSortedFunc(told, func(a, b ImportProgress) int { return a.Written - b.Written }) {
		t.Errorf("was told %+v", told)
	}
	_, err = c.ImportDevices(t.Context(), strings.NewReader("id,type,zone\nx,sensor,p\nx,sensor,p\na b,,p\nexport,sensor,p\n"), "text/csv; charset=utf-8", nil)
	var p *Problem
	if !errors.As(err, &p) || p.Status != 422 || p.Code != "bad-rows" || len(p.Errors) != 4 || p.Errors[0].Line != 3 || p.Errors[0].Field != "id" {
		t.Errorf("got %v %+v", err, p)
	}
	_, err = c.ImportDevices(t.Context(), strings.NewReader(`[{"id":"export","type":"t","zone":"z"}]`), "application/json", nil)
	want(t, err, "422 bad-rows")
	m.importErr = &ImportError{Rows: []RowError{{Line: 2, Field: "id", Error: "the device exists"}}}
	_, err = c.ImportDevices(t.Context(), strings.NewReader(`{"id":"x","type":"t","zone":"z"}`), "application/x-ndjson", nil)
	var rows *ImportError
	if !errors.As(err, &rows) || rows.Rows[0].Line != 2 {
		t.Errorf("got %v", err)
	}
	m.importErr = errors.New("disk on fire")
	_, err = c.ImportDevices(t.Context(), strings.NewReader(`{"id":"x","type":"t","zone":"z"}`), "application/x-ndjson", nil)
	want(t, err, "500 internal")
	m.importErr = &ImportError{}
	if _, err = c.ImportDevices(t.Context(), strings.NewReader(`{"id":"x","type":"t","zone":"z"}`), "application/x-ndjson", nil); !errors.As(err, &rows) {
		t.Errorf("got %v", err)
	}
}

// TestImportOneAtATime sends an import while another holds the place.
func TestImportOneAtATime(t *testing.T) {
	a := newAPI(newMemory().config())
	h := a.begin(http.HandlerFunc(a.route))
	send := func() int {
		r := httptest.NewRequest("POST", "/api/v1/devices/import", strings.NewReader("id,type,zone\n"))
		r.Header.Set("Authorization", "Bearer "+goodToken)
		r.Header.Set("Content-Type", "text/csv")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Code
	}
	a.importing <- struct{}{}
	if got := send(); got != http.StatusTooManyRequests {
		t.Errorf("got %d", got)
	}
	<-a.importing
	for range 2 {
		if got := send(); got != http.StatusOK {
			t.Errorf("got %d", got)
		}
	}
}

func TestImportBodyCutOff(t *testing.T) {
	in := &inflow{r: io.MultiReader(strings.NewReader("id,type,zone\nd,t,z\n"), failing{errors.New("reset")})}
	_, err := readImport(t.Context(), "text/csv", in)
	want(t, err, "400 body-cut-off")
	in = &inflow{r: http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader("id,type,zone\nd,t,z\n")), 15)}
	_, err = readImport(t.Context(), "text/csv", in)
	want(t, (&api{cfg: newMemory().config()}).problem(t.Context(), err), "413 body-too-large")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestExport(t *testing.T) {
	m, c := serve(t)
	for i := range 2500 {
		d := exampleDevice
		d.ID, d.Notes = device.ID(fmt.Sprintf("d%04d", i)), "=1+1"
		if i%2 == 0 {
			d.Zone = "other"
		}
		m.devices[d.ID] = d
	}
	for format, read := range map[string]func(io.Reader, int) ([]device.Row, []device.RowError){"csv": device.ReadCSV, "json": device.ReadJSON, "ndjson": device.ReadJSON} {
		var out bytes.Buffer
		if err := c.ExportDevices(t.Context(), device.Filter{}, format, &out); err != nil {
			t.Fatal(err)
		}
		rows, bad := read(&out, 10_000)
		if len(bad) > 0 || len(rows) != 2500 || rows[7].Device.Notes != "=1+1" {
			t.Errorf("%s: %d rows, %v", format, len(rows), bad)
		}
		if err := c.ExportDevices(t.Context(), device.Filter{Zone: "other", Labels: map[string]string{"hall": "b"}}, format, &out); err != nil {
			t.Fatal(err)
		}
		if rows, bad = read(&out, 10_000); len(rows) != 1250 {
			t.Errorf("%s: filtered %d rows, %v", format, len(rows), bad)
		}
	}
	m.pages, m.failList = 0, 1
	want(t, c.ExportDevices(t.Context(), device.Filter{}, "csv", io.Discard), "500 internal")
	m.pages, m.failList = 0, 3
	if err := c.ExportDevices(t.Context(), device.Filter{}, "csv", io.Discard); err == nil || strings.Contains(err.Error(), "fire") {
		t.Errorf("an export that was cut off gave %v", err)
	}
	rec, _ := do(t, m, "GET", "/api/v1/devices/export?format=csv&id_prefix=none", "", "")
	if rec.Code != 200 || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/csv") || rec.Header().Get("Content-Disposition") != "attachment; filename=devices.csv" || strings.Count(rec.Body.String(), "\n") != 1 {
		t.Errorf("got %d %v %q", rec.Code, rec.Header(), rec.Body)
	}
	rec, _ = do(t, m, "GET", "/api/v1/devices/export?format=ndjson&id_prefix=none", "", "")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/x-ndjson" || rec.Body.Len() != 0 {
		t.Errorf("got %d %v %q", rec.Code, rec.Header(), rec.Body)
	}
}

func FuzzImport(f *testing.F) {
	f.Add("text/csv", "id,type,zone\nd1,sensor,plant\n")
	f.Add("application/json", `[{"id":"d1","type":"sensor","zone":"plant"}]`)
	f.Add("application/x-ndjson", "{\"id\":\"d1\"}\n{\"id\":\"d2\",\"x\":1}")
	f.Add("text/csv; charset=utf-16", "\xff\xfei\x00")
	f.Add("text/csv", "id,type,zone\nexport,sensor,plant\n")
	f.Fuzz(func(t *testing.T, kind, text string) {
		rows, err := readImport(t.Context(), kind, &inflow{r: strings.NewReader(text)})
		if (rows == nil) == (err == nil) {
			t.Fatalf("%d rows and %v", len(rows), err)
		}
		for _, r := range rows {
			if err := r.Device.Validate(); err != nil || r.Line < 1 || r.Device.ID == "export" {
				t.Fatalf("line %d: %v", r.Line, err)
			}
		}
		p := (&api{cfg: newMemory().config()}).problem(t.Context(), err)
		if err != nil && (p.Status < 400 || p.Status >= 500 || len(p.Errors) > maxErrors+1) {
			t.Fatalf("got %+v", p)
		}
	})
}

func FuzzDeviceBody(f *testing.F) {
	f.Add(`{"id":"d1","type":"sensor","zone":"plant","labels":{"a":"1"}}`)
	f.Add(`{"id":1}`)
	f.Add(`{"id":"d1","type":"sensor","zone":"plant","validity":"1h","` + strings.Repeat("x", 200) + `":1}`)
	m := newMemory()
	h := Handler(m.config())
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest("POST", "/api/v1/devices", strings.NewReader(text))
		r.Header.Set("Authorization", "Bearer "+goodToken)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
		var p Problem
		if rec.Code >= 400 && (json.Unmarshal(rec.Body.Bytes(), &p) != nil || p.Code == "" || p.Fix == "") {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	})
}
