package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

const (
	maxImportRows = 500_000          // in one import
	stallTime     = 30 * time.Second // that a stream may stand still
)

// exchange gives an operation the request and the answer themselves, for bodies
// that are not held in memory.
type exchange struct {
	at *huma.Context // a pointer, so that huma does not look inside
}

// Resolve is called by huma before the operation.
func (x *exchange) Resolve(c huma.Context) []error {
	x.at = &c
	return nil
}

func (x exchange) open() (*http.Request, http.ResponseWriter) { return humago.Unwrap(*x.at) }

// outflow is an answer as it is written: its status goes out with the first
// byte, and each write gives the reader stallTime to take it.
type outflow struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	begun bool
	kind  string
	name  string // for a browser that saves it
}

func (o *outflow) Write(b []byte) (int, error) {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", o.kind)
		if o.name != "" {
			o.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": o.name}))
		}
	}
	o.ctl.SetWriteDeadline(time.Now().Add(stallTime)) // not supported by a recorder, which needs none
	return o.w.Write(b)
}

// stream answers with what write writes. An error before the first byte is a
// problem; after it the connection is cut, because a shorter answer would look
// whole.
func (a *api) stream(x exchange, kind, name string, write func(*outflow) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		r, w := x.open()
		out := &outflow{w: w, ctl: http.NewResponseController(w), kind: kind, name: name}
		err := write(out)
		switch {
		case err == nil && !out.begun:
			out.Write(nil)
		case err == nil:
		case !out.begun:
			writeProblem(w, a.problem(r.Context(), err))
		default:
			a.problem(r.Context(), err) // tells OnError
			out.ctl.Flush()             // a reader that has seen nothing at all would ask again
			panic(http.ErrAbortHandler)
		}
	}}
}

type deviceExport struct {
	DeviceQuery
	Format string `query:"format" default:"csv" enum:"csv,json,ndjson"`
	exchange
}

type deviceImport struct{ exchange }

func (a *api) exchangeOperations() {
	const csv = "id,type,zone,owner,serial,manufacturer,labels,notes\nsensor-0001,sensor,plant-1,line-team,SN-778812,Example Devices,hall=b;line=1,\n"
	register(a, operation{id: "export-devices", allow: access.DeviceRead, filters: true, method: http.MethodGet, path: "/devices/export", tag: "devices", summary: "Export devices",
		description: "All devices that the filters select, by id, as they are read: CSV, a JSON array or JSON lines. An answer that is cut off is not complete: its connection ends with an error.",
		response:    csv}, a.exportDevices)
	a.describeRaw("/devices/export", "text/csv", csv)
	response := a.described(http.MethodGet, "/devices/export").Responses["200"]
	response.Content["application/json"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}, Example: []any{exampleDevice}}
	response.Content["application/x-ndjson"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}, Example: exampleDevice}

	register(a, operation{id: "import-devices", allow: access.DeviceWrite, filters: true, method: http.MethodPost, path: "/devices/import", tag: "devices", maxBody: maxImport, summary: "Import devices",
		description: "Creates all devices of a file or none, at most 500,000 rows in 256 MiB. The columns are those of an export; state, times and version are ignored. " +
			"Rows that cannot be read answer 422 with errors. Otherwise the answer is 200 with JSON lines: " +
			"`{\"checked\":N,\"rows\":N}`, any number of `{\"written\":n,\"rows\":N}`, and as the last line the result: `{\"imported\":N}`, " +
			"or `{\"errors\":[{\"line\":…,\"field\":…,\"error\":…}],\"imported\":0}`, or `{\"problem\":{…},\"imported\":0}`.",
		response: map[string]any{"imported": 1000}}, a.importDevices)
	o := a.described(http.MethodPost, "/devices/import")
	object := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString}, Example: csv},
		"application/json":     {Schema: &huma.Schema{Type: huma.TypeArray, Items: object}, Example: []any{deviceCreate{exampleDevice.ID, exampleDeviceInput}}},
		"application/x-ndjson": {Schema: object, Example: deviceCreate{exampleDevice.ID, exampleDeviceInput}},
	}}
	o.Responses["200"].Content = map[string]*huma.MediaType{"application/x-ndjson": {Schema: object, Example: map[string]any{"imported": 1000}}}
}

func (a *api) exportDevices(ctx context.Context, _ access.Actor, in *deviceExport) (*huma.StreamResponse, error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	kind, write := "text/csv; charset=utf-8; header=present", device.WriteCSV
	switch in.Format {
	case "json":
		kind, write = "application/json", device.WriteJSON
	case "ndjson":
		kind, write = "application/x-ndjson", device.WriteJSONLines
	}
	return a.stream(in.exchange, kind, "devices."+in.Format, func(w *outflow) error { return write(w, a.everyDevice(ctx, f)) }), nil
}

// everyDevice pages through the store, so that neither side holds the fleet. A
// device that changes meanwhile is seen once, before or after; one that is
// created behind the page that was read may be missed.
func (a *api) everyDevice(ctx context.Context, f device.Filter) iter.Seq2[device.Device, error] {
	return func(yield func(device.Device, error) bool) {
		p := device.Page{Limit: device.MaxPage}
		for {
			page, next, err := a.cfg.Devices.Devices(ctx, a.narrow(ctx, access.DeviceRead, f), p)
			if err == nil {
				page, err = inScope(ctx, a, access.DeviceRead, page, deviceObject)
			}
			if err != nil {
				yield(device.Device{}, err)
				return
			}
			for _, d := range page {
				if !yield(d, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			p.After = next
		}
	}
}

func (a *api) importDevices(ctx context.Context, by access.Actor, in *deviceImport) (*huma.StreamResponse, error) {
	select {
	case a.importing <- struct{}{}:
	default:
		return nil, refusal.New(refusal.TooMany, "import-running", "wait until it has ended", "another import is running on this server")
	}
	r, w := in.open()
	rows, err := readImport(ctx, r.Header.Get("Content-Type"), &inflow{r: http.MaxBytesReader(w, r.Body, maxImport), ctl: http.NewResponseController(w)})
	if err == nil {
		err = a.mayImport(ctx, rows)
	}
	if err != nil {
		<-a.importing
		return nil, err
	}
	release := sync.OnceFunc(func() { <-a.importing })
	s := a.stream(in.exchange, "application/x-ndjson", "", func(out *outflow) error { return a.writeImport(ctx, by, rows, release, out) })
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer release()
		s.Body(c)
	}}, nil
}

// mayImport names the rows that are outside of the caller's scopes.
func (a *api) mayImport(ctx context.Context, rows []ImportRow) error {
	id, err := identity(ctx)
	if err != nil || id.Rights.Everywhere(access.DeviceWrite, a.now()) {
		return err
	}
	var outside []RowError
	for _, r := range rows {
		if !id.Rights.Covers(access.DeviceWrite, deviceObject(r.Device), a.now()) {
			outside = append(outside, RowError{Line: r.Line, Error: "this device would be outside of the part of the fleet that you may change"})
		}
	}
	if len(outside) > 0 {
		return &ImportError{Rows: outside}
	}
	return nil
}

// inflow is a body as it is read: each read gives the sender stallTime to go on.
type inflow struct {
	r   io.Reader
	ctl *http.ResponseController
	err error // that ended it, if not io.EOF
}

func (i *inflow) Read(b []byte) (int, error) {
	if i.ctl != nil {
		i.ctl.SetReadDeadline(time.Now().Add(stallTime))
	}
	n, err := i.r.Read(b)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// readImport reads and checks all rows.
func readImport(ctx context.Context, contentType string, in *inflow) ([]ImportRow, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if charset := params["charset"]; err == nil && charset != "" && !isUTF8(charset) {
		err = errors.New("the charset is not UTF-8")
	}
	read := device.ReadJSON
	switch {
	case err == nil && kind == "text/csv":
		read = device.ReadCSV
	case err == nil && (kind == "application/json" || kind == "application/x-ndjson"):
	default:
		return nil, newProblem(ctx, http.StatusUnsupportedMediaType, "unsupported-media-type",
			"the body's media type is not one that this operation reads", "send Content-Type: text/csv, application/json or application/x-ndjson, in UTF-8")
	}
	found, bad := read(in, maxImportRows)
	if in.ctl != nil {
		in.ctl.SetReadDeadline(time.Time{})
	}
	if in.err != nil {
		var large *http.MaxBytesError
		if errors.As(in.err, &large) {
			return nil, in.err
		}
		return nil, newProblem(ctx, http.StatusBadRequest, "body-cut-off", "the body could not be read to its end", "send it again")
	}
	var wrong []RowError
	rows := make([]ImportRow, len(found))
	for i, row := range found {
		rows[i] = ImportRow{Line: row.Line, Device: row.Device}
	}
	for _, e := range bad {
		wrong = append(wrong, RowError{Line: e.Line, Field: e.Field, Error: e.Message})
	}
	if len(wrong) > 0 {
		return nil, &ImportError{Rows: wrong}
	}
	return rows, nil
}

func isUTF8(charset string) bool {
	switch charset {
	case "utf-8", "UTF-8", "utf8", "UTF8", "us-ascii", "US-ASCII":
		return true
	}
	return false
}

// writeImport orders the import and tells how it goes on. Progress is written by
// another goroutine and dropped when the reader is slow: the store's transaction
// must not wait for somebody's network.
func (a *api) writeImport(ctx context.Context, by access.Actor, rows []ImportRow, release func(), out *outflow) error {
	line := func(v importLine) {
		b, err := json.Marshal(v)
		if err != nil {
			return
		}
		out.Write(append(b, '\n')) // a reader that is gone shows in ctx
		out.ctl.Flush()
	}
	line(importLine{ImportProgress: ImportProgress{Checked: len(rows), Rows: len(rows)}})
	steps, told := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(told)
		for done := range steps {
			line(importLine{ImportProgress: ImportProgress{Written: done, Rows: len(rows)}})
		}
	}()
	err := func() error {
		defer func() { close(steps); <-told }() // also when the store panics
		step, last := max(len(rows)/100, 1), 0
		return a.cfg.Devices.ImportDevices(ctx, by, rows, func(done int) {
			if done-last < step && done < len(rows) {
				return
			}
			last = done
			select {
			case steps <- done:
			default:
			}
		})
	}()
	release() // before the result, so that who has read it can import again
	n, none := len(rows), 0
	var bad *ImportError
	switch {
	case err == nil:
		line(importLine{Imported: &n})
	case errors.As(err, &bad):
		if len(bad.Rows) == 0 {
			bad = &ImportError{Rows: []RowError{{Error: bad.Error()}}}
		}
		line(importLine{Errors: clipRows(bad.Rows), Imported: &none})
	default:
		line(importLine{Problem: a.problem(ctx, err), Imported: &none})
	}
	return nil
}
