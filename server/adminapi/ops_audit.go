package adminapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// maxPage is the longest page of certificates and audit entries.
const maxPage = 1000

type entryList struct {
	Actor   string    `query:"actor" maxLength:"545" doc:"kind:id, exactly" example:"client:admin"`
	Action  string    `query:"action" maxLength:"64" doc:"exactly, or a noun with .*" example:"device.*"`
	Subject string    `query:"subject" maxLength:"545" doc:"kind:id, exactly" example:"device:sensor-0001"`
	Since   time.Time `query:"since" doc:"not before this time"`
	Until   time.Time `query:"until" doc:"before this time"`
	Before  int64     `query:"before" minimum:"0" doc:"list from below this index on; 0 begins with the newest"`
	Limit   int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type entryIndex struct {
	Index int64 `path:"index" minimum:"0" maximum:"9007199254740991" example:"4711"`
}

func (a *api) auditOperations() {
	const tag = "audit"
	register(a, operation{id: "list-entries", allow: access.AuditRead, method: http.MethodGet, path: "/audit/entries", tag: tag, summary: "List the audit log",
		description: "One page of the entries that all given filters select, newest first.", response: EntryList{[]Entry{exampleEntry}, 4711}}, a.listEntries)
	register(a, operation{id: "show-entry", allow: access.AuditRead, method: http.MethodGet, path: "/audit/entries/{index}", tag: tag, summary: "Show an audit entry",
		description: "The entry with this index.", response: exampleEntry},
		func(ctx context.Context, _ access.Actor, in *entryIndex) (*body[Entry], error) {
			entries, err := a.cfg.Audit.Entries(ctx, AuditFilter{Before: in.Index + 1, Limit: 1})
			if err != nil {
				return nil, err
			}
			if len(entries) != 1 || entries[0].Index != in.Index {
				return nil, refusal.New(refusal.NotFound, "no-such-entry", "look at the newest with `holdfast audit list`", "the audit log has no entry %d", in.Index)
			}
			return &body[Entry]{a.entryView(ctx)(entries[0])}, nil
		})
	register(a, operation{id: "prove-entry", also: access.PersonalRead, allow: access.AuditRead, method: http.MethodGet, path: "/audit/entries/{index}/proof", tag: tag, summary: "Prove an audit entry",
		description: "The entry with its path to a signed checkpoint: `holdfast audit verify` checks it offline with the log's public key.",
		response:    map[string]any{"index": 4711, "leaf": exampleEntry.Event, "path": []string{"NODE-HASH-IN-BASE64"}, "checkpoint": exampleCheckpoint}},
		func(ctx context.Context, _ access.Actor, in *entryIndex) (*raw, error) {
			proof, err := a.cfg.Audit.Proof(ctx, in.Index)
			if err != nil {
				return nil, err
			}
			b, err := proof.Encode()
			return &raw{"application/json", b}, err
		})
	a.describeRaw("/audit/entries/{index}/proof", "application/json", nil)
	register(a, operation{id: "show-checkpoint", allow: access.AuditRead, method: http.MethodGet, path: "/audit/checkpoint", tag: tag, summary: "Show the audit checkpoint",
		description: "The newest signed state of the log (C2SP tlog-checkpoint) and the public key that checks it. Keep checkpoints elsewhere: they reveal a log that was rolled back.",
		response:    Checkpoint{exampleCheckpoint, "holdfast.example.com/log+KEY-ID+KEY-IN-BASE64"}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[Checkpoint], error) {
			signed, key, err := a.cfg.Audit.Checkpoint(ctx)
			return &body[Checkpoint]{Checkpoint{string(signed), key}}, err
		})
}

func (a *api) listEntries(ctx context.Context, _ access.Actor, in *entryList) (*body[EntryList], error) {
	entries, err := a.cfg.Audit.Entries(ctx, AuditFilter{Actor: in.Actor, Action: in.Action, Subject: in.Subject,
		Since: in.Since, Until: in.Until, Before: in.Before, Limit: min(in.Limit+1, maxPage)})
	if err != nil {
		return nil, err
	}
	more := len(entries) > in.Limit || len(entries) == maxPage
	if more {
		entries = entries[:in.Limit]
	}
	l := EntryList{Items: items(entries, a.entryView(ctx)).Body.Items}
	// An entry with index 0 has none below it, so that 0 can mean: no more.
	if more {
		l.Next = entries[in.Limit-1].Index
	}
	return &body[EntryList]{l}, nil
}

// entryView shows entries as the caller may see them: where people were is
// personal.
func (a *api) entryView(ctx context.Context) func(AuditEntry) Entry {
	personal := a.mayRead(ctx, access.PersonalRead)
	return func(e AuditEntry) Entry {
		v := viewEntry(e)
		if kind := v.Event.Actor.Kind; !personal && (kind == string(access.Human) || kind == string(access.Anonymous)) {
			v.Event.Actor.Source = ""
		}
		return v
	}
}

type auditExport struct {
	Format string `query:"format" required:"true" enum:"log,ocsf" doc:"log for offline verification, ocsf for a SIEM"`
	exchange
}

// logOperations are those whose answer is not built in memory.
func (a *api) logOperations() {
	register(a, operation{id: "export-audit", also: access.PersonalRead, allow: access.AuditExport, method: http.MethodGet, path: "/audit/export", tag: "audit", summary: "Export the audit log",
		description: "The whole log, as it is read. An answer that is cut off is not complete: its connection ends with an error.", response: exampleEntry.Event},
		func(ctx context.Context, _ access.Actor, in *auditExport) (*huma.StreamResponse, error) {
			return a.stream(in.exchange, "application/x-ndjson", "audit-"+in.Format, func(w *outflow) error {
				return a.cfg.Audit.Export(ctx, w, in.Format)
			}), nil
		})
	a.describeRaw("/audit/export", "application/x-ndjson", exampleEntry.Event)

	// A path of several segments has no form in OpenAPI, so huma does not route this one.
	const path = "/audit/log/{path}"
	o := operation{id: "log-file", method: http.MethodGet, path: path, tag: "audit", summary: "Get a file of the log",
		description: "The log as static files (C2SP tlog-tiles): path is `checkpoint`, or `tile/0/000` and the like, slashes included."}.huma()
	o.Security = []map[string][]string{{"token": {}}}
	o.Extensions = map[string]any{"x-holdfast-permission": access.AuditRead, "x-holdfast-also-permission": access.PersonalRead}
	o.Parameters = []*huma.Param{{Name: "path", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}, Example: "tile/0/000"}}
	o.Responses = map[string]*huma.Response{}
	for _, status := range o.Errors {
		o.Responses[strconv.Itoa(status)] = a.problemResponse(status)
	}
	o.Responses["200"] = &huma.Response{Description: "The file", Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}, Example: exampleCheckpoint}}}
	a.huma.OpenAPI().AddOperation(&o)
	const pattern = "GET " + basePath + "audit/log/{path...}"
	a.rules[pattern] = rule{id: "log-file", allow: access.AuditRead, also: access.PersonalRead}
	a.mux.HandleFunc(pattern, a.logFile)
}

func (a *api) logFile(w http.ResponseWriter, r *http.Request) {
	ctx, path := r.Context(), r.PathValue("path")
	var data []byte
	immutable, kind := false, "text/plain; charset=utf-8"
	_, err := who(ctx)
	switch {
	case err != nil:
	case path == "checkpoint":
		data, _, err = a.cfg.Audit.Checkpoint(ctx)
	case len(path) > 128:
		err = refusal.New(refusal.NotFound, "no-such-tile", "read the checkpoint first", "the log has no such file")
	default:
		kind = "application/octet-stream"
		data, immutable, err = a.cfg.Audit.Tile(ctx, path)
	}
	if err != nil {
		writeProblem(w, a.problem(ctx, err))
		return
	}
	if immutable {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", kind)
	w.Write(data)
}

func (a *api) statusOperations() {
	register(a, operation{id: "show-status", allow: access.StatusRead, method: http.MethodGet, path: "/status", tag: "status", summary: "Show how the server is",
		description: "Version, endpoints, the number of devices by state, and what needs an operator.", response: exampleStatus},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[Status], error) {
			s, err := a.cfg.Status(ctx)
			s.Warnings = present(s.Warnings)
			return &body[Status]{s}, err
		})
}
