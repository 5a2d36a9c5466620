package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/plan"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// messaging is what a node knows of who may say what. Its zero value allows
// nothing to anybody.
type messaging struct {
	policy  atomic.Pointer[activePolicy]
	loading sync.Mutex
	tokens  appTokens
	config  policy.Config // set before Run
	// connected hands the principals that are connected to this node, with client
	// id and the filters that they subscribed to, to yield; nil when nobody can
	// connect. Set before Run.
	connected func(yield func(p policy.Principal, clientID string, filters []string))
}

// activePolicy is a policy as this node runs it. It never changes.
type activePolicy struct {
	Version   int64 // 0: none was applied
	Manifests *manifest.Set
	Policy    *policy.Set
	row       sqlstore.PolicyVersion // without its files
	broken    error                  // why the version cannot be run here: then it allows nothing
}

// activePolicy is what decides on this node; it is never nil.
func (s *Server) activePolicy() *activePolicy {
	if p := s.messaging.policy.Load(); p != nil {
		return p
	}
	return s.runPolicy(sqlstore.PolicyVersion{}, nil)
}

// loadPolicy makes the newest version the one that decides here. A version that
// cannot be read, because a newer program applied it, allows nothing: the log and
// the status say so.
func (s *Server) loadPolicy(ctx context.Context) error {
	s.messaging.loading.Lock() // so that an older one does not replace a newer
	defer s.messaging.loading.Unlock()
	p, err := s.currentPolicy(ctx)
	if err != nil {
		return fmt.Errorf("loading the policy: %w", err)
	}
	if p.broken != nil {
		s.log.Error("the active policy cannot be run here: nothing is allowed", "version", p.Version, "err", p.broken)
	}
	s.messaging.policy.Store(p)
	return nil
}

// currentPolicy is the newest version, whether this node runs it already or not.
func (s *Server) currentPolicy(ctx context.Context) (*activePolicy, error) {
	newest, err := s.store.PolicyVersions(ctx, 0, 1)
	if err != nil {
		return nil, err
	}
	if len(newest) == 0 {
		return s.runPolicy(sqlstore.PolicyVersion{}, nil), nil
	}
	if p := s.messaging.policy.Load(); p != nil && p.Version == newest[0].Version {
		return p, nil
	}
	row, err := s.store.PolicyVersion(ctx, newest[0].Version)
	if err != nil {
		return nil, err
	}
	files, err := decodeFiles(row.Files)
	if err != nil {
		return nil, err
	}
	return s.runPolicy(row, files), nil
}

// runPolicy compiles a version that was applied.
func (s *Server) runPolicy(row sqlstore.PolicyVersion, files []adminapi.PolicyFile) *activePolicy {
	row.Files = nil
	p := &activePolicy{Version: row.Version, row: row}
	var problems []manifest.Problem
	if p.Manifests, p.Policy, problems = s.compile(files); len(problems) > 0 {
		p.broken = problems[0]
		p.Manifests, p.Policy, _ = s.compile(nil)
	}
	return p
}

// compile reads and compiles manifests; with problems there is no policy.
func (s *Server) compile(files []adminapi.PolicyFile) (*manifest.Set, *policy.Set, []manifest.Problem) {
	list := make([]manifest.File, len(files))
	for i, f := range files {
		list[i] = manifest.File{Name: f.Name, Data: []byte(f.Text)}
	}
	set, problems := manifest.Load(list)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	compiled, problems := policy.Compile(set, s.messaging.config)
	return set, compiled, problems
}

// encodeFiles is how files are stored: sorted by name, so that equal files are
// equal bytes.
func encodeFiles(files []adminapi.PolicyFile) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b adminapi.PolicyFile) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." {
			return nil, invalid("bad-file-name", "name it relative to the folder of the manifests", "%.64q is not the name of a file in the folder", f.Name)
		}
	}
	return json.Marshal(files)
}

func decodeFiles(data []byte) (files []adminapi.PolicyFile, err error) {
	if err = json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("reading the files of a policy: %w", err)
	}
	return files, nil
}

// policyStatus is what the status says of the policy.
func (s *Server) policyStatus() (version int64, warnings []string) {
	p := s.activePolicy()
	if p.Version == 0 {
		warnings = append(warnings, "no policy was applied: nobody may publish or subscribe; write manifests and run `holdfast policy apply DIR`")
	}
	if p.broken != nil {
		warnings = append(warnings, fmt.Sprintf("policy version %d cannot be run by this server and allows nothing: update it, or apply a policy that it can read", p.Version))
	}
	return p.Version, warnings
}

// PlanPolicy tells what applying files would do.
func (s *Server) PlanPolicy(ctx context.Context, files []adminapi.PolicyFile) (adminapi.PolicyPlan, error) {
	old, err := s.currentPolicy(ctx)
	if err != nil {
		return adminapi.PolicyPlan{}, err
	}
	p := adminapi.PolicyPlan{Version: old.Version}
	set, compiled, problems := s.compile(files)
	if len(problems) > 0 {
		p.Problems = problemViews(problems)
		return p, nil
	}
	step := plan.New(old.Manifests, set, old.Policy, compiled)
	p.Changes = changeViews(step.Changes)
	p.Tests = resultViews(plan.Tests(compiled, set, s.now()))
	if s.messaging.connected != nil {
		s.messaging.connected(func(who policy.Principal, clientID string, filters []string) {
			p.Connected++
			e := step.Affected(who, clientID, filters)
			if !e.Changed {
				return
			}
			p.Affected++
			p.Effects = append(p.Effects, adminapi.PolicyEffect{Kind: who.Kind, ID: who.ID, ClientID: clientID, Type: who.Type, Zone: who.Zone,
				By: e.By, Gone: e.Gone, Why: e.Why, Lost: e.Lost})
		})
	}
	slices.SortFunc(p.Effects, func(a, b adminapi.PolicyEffect) int {
		return cmp.Or(worse(a, b), strings.Compare(a.ID, b.ID), strings.Compare(a.ClientID, b.ClientID))
	})
	p.Effects = p.Effects[:min(len(p.Effects), maxEffects)]
	return p, nil
}

// worse orders those who lose something before those who do not.
func worse(a, b adminapi.PolicyEffect) int {
	harm := func(e adminapi.PolicyEffect) int {
		switch {
		case e.Gone:
			return 0
		case len(e.Lost) > 0:
			return 1
		}
		return 2
	}
	return cmp.Compare(harm(a), harm(b))
}

// maxEffects bounds the sessions that a plan names.
const maxEffects = 1000

// ApplyPolicy makes files the active policy. Order: everything that can be refused
// is refused first; then the version, its event and the control event are one
// transaction; a crash before it means that nothing changed, after it that every
// node learns of it.
func (s *Server) ApplyPolicy(ctx context.Context, by access.Actor, in adminapi.PolicyApply) (adminapi.PolicyVersion, error) {
	var none adminapi.PolicyVersion
	data, err := encodeFiles(in.Files)
	if err != nil {
		return none, err
	}
	set, compiled, problems := s.compile(in.Files)
	if len(problems) > 0 {
		return none, problemsRefused(problems)
	}
	if err := testsRefused(plan.Tests(compiled, set, s.now())); err != nil {
		return none, err
	}
	old, err := s.currentPolicy(ctx)
	if err != nil {
		return none, err
	}
	sum := sha256.Sum256(data)
	v := sqlstore.PolicyVersion{Version: old.Version + 1, CreatedAt: s.now(), CreatedBy: by.String(), Message: audit.Text(in.Message, 1024),
		SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data)), Files: data}
	if v.SHA256 == old.row.SHA256 { // also when the answer to an earlier request was lost
		return versionView(old.row), nil
	}
	if old.Version != in.Version {
		return none, s.policyChanged(ctx, in.Version, old)
	}
	err = s.store.ApplyPolicy(ctx, v, s.event(by, "policy.applied", "policy", strconv.FormatInt(v.Version, 10),
		"message", in.Message, "sha256", v.SHA256, "changes", changesText(plan.Diff(old.Manifests, set))))
	if isChanged(err) {
		if old, err = s.currentPolicy(ctx); err == nil {
			err = s.policyChanged(ctx, in.Version, old)
		}
	}
	if err != nil {
		return none, err
	}
	s.announce()
	// On this node before the answer: who asks for it next finds it in force. The
	// others follow the announcement.
	if err := s.usePolicy(ctx); err != nil {
		s.log.Warn("using a policy just applied", "version", v.Version, "err", err)
	}
	return versionView(v), nil
}

// changesText names the documents that change.
func changesText(changes []plan.Change) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = fmt.Sprintf("%s/%s %s", c.Kind, c.Name, c.What)
	}
	return strings.Join(parts, ", ")
}

// policyChanged refuses to apply over a version that the operator has not seen,
// and lists what it changed.
func (s *Server) policyChanged(ctx context.Context, expected int64, active *activePolicy) error {
	r := refusal.New(refusal.Conflict, "policy-changed", "plan again, on top of the active version", "version %d is active, not %d", active.Version, expected)
	if active.Version > 0 {
		r.Detail += fmt.Sprintf(": %s applied it at %s", active.row.CreatedBy, active.row.CreatedAt.UTC().Format("2006-01-02 15:04:05Z"))
	}
	seen, err := s.versionOf(ctx, expected)
	if err != nil {
		return r // there is nothing to compare with
	}
	var rows []adminapi.RowError
	for _, c := range changeViews(plan.Diff(seen.Manifests, active.Manifests)) {
		rows = append(rows, adminapi.RowError{Field: c.Kind + "/" + c.Name, Error: strings.TrimSuffix(c.What+" meanwhile: "+strings.Join(c.Details, "; "), ": ")})
	}
	return &adminapi.Rejected{Refusal: r, Rows: rows}
}

// versionOf compiles an old version; 0 is the empty one.
func (s *Server) versionOf(ctx context.Context, version int64) (*activePolicy, error) {
	if version == 0 {
		return s.runPolicy(sqlstore.PolicyVersion{}, nil), nil
	}
	row, err := s.store.PolicyVersion(ctx, version)
	if err != nil {
		return nil, err
	}
	files, err := decodeFiles(row.Files)
	if err != nil {
		return nil, err
	}
	return s.runPolicy(row, files), nil
}

func problemsRefused(problems []manifest.Problem) error {
	var rows []adminapi.RowError
	for _, p := range problemViews(problems) {
		rows = append(rows, adminapi.RowError{Field: p.Place(), Error: strings.TrimSuffix(p.Text+": "+p.Fix, ": ")})
	}
	return &adminapi.Rejected{Rows: rows, Refusal: refusal.New(refusal.Invalid, "policy-problems", "correct what is named in errors",
		"the manifests have problems: %d, and nothing was applied", len(rows))}
}

// testsRefused is nil when all passed.
func testsRefused(results []plan.Result) error {
	var rows []adminapi.RowError
	for _, r := range resultViews(results) {
		if !r.Passed {
			rows = append(rows, adminapi.RowError{Field: r.Place(), Error: fmt.Sprintf("%s: %s: want %s, got %s", r.Test, r.Case, r.Want, r.Got)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return &adminapi.Rejected{Rows: rows, Refusal: refusal.New(refusal.Invalid, "policy-tests-failed", "correct the policy, or its tests",
		"tests of the policy failed: %d, and nothing was applied", len(rows))}
}

// Policy shows a version with its files; 0 is the active one.
func (s *Server) Policy(ctx context.Context, version int64) (adminapi.PolicyDetails, error) {
	row, err := s.store.PolicyVersion(ctx, version)
	if version == 0 && errors.Is(err, sqlstore.ErrNotFound) {
		return adminapi.PolicyDetails{Active: true}, nil
	}
	if err != nil {
		return adminapi.PolicyDetails{}, missing(err, "policy", strconv.FormatInt(version, 10))
	}
	d := adminapi.PolicyDetails{PolicyVersion: versionView(row), Active: version == 0}
	if version != 0 {
		newest, err := s.store.PolicyVersions(ctx, 0, 1)
		if err != nil {
			return d, err
		}
		d.Active = len(newest) > 0 && newest[0].Version == version
	}
	d.Files, err = decodeFiles(row.Files)
	return d, err
}

// PolicyVersions lists versions, newest first.
func (s *Server) PolicyVersions(ctx context.Context, before int64, limit int) ([]adminapi.PolicyVersion, error) {
	rows, err := s.store.PolicyVersions(ctx, before, limit)
	list := make([]adminapi.PolicyVersion, len(rows))
	for i, row := range rows {
		list[i] = versionView(row)
	}
	return list, err
}

// TestPolicy runs the tests in files, or with none those of the active policy.
func (s *Server) TestPolicy(ctx context.Context, files []adminapi.PolicyFile) (adminapi.PolicyTestReport, error) {
	if len(files) == 0 {
		p, err := s.currentPolicy(ctx)
		if err != nil {
			return adminapi.PolicyTestReport{}, err
		}
		return adminapi.PolicyTestReport{Results: resultViews(plan.Tests(p.Policy, p.Manifests, s.now()))}, nil
	}
	set, compiled, problems := s.compile(files)
	if len(problems) > 0 {
		return adminapi.PolicyTestReport{Problems: problemViews(problems)}, nil
	}
	return adminapi.PolicyTestReport{Results: resultViews(plan.Tests(compiled, set, s.now()))}, nil
}

func versionView(row sqlstore.PolicyVersion) adminapi.PolicyVersion {
	return adminapi.PolicyVersion{Version: row.Version, CreatedAt: row.CreatedAt, CreatedBy: row.CreatedBy, Message: row.Message, SHA256: row.SHA256, Size: row.Size}
}

func problemViews(problems []manifest.Problem) (list []adminapi.PolicyProblem) {
	for _, p := range problems {
		list = append(list, adminapi.PolicyProblem{File: p.Pos.File, Line: p.Pos.Line, Column: p.Pos.Column, Text: p.Text, Fix: p.Fix})
	}
	return list
}

func changeViews(changes []plan.Change) (list []adminapi.PolicyChange) {
	for _, c := range changes {
		list = append(list, adminapi.PolicyChange{Kind: string(c.Kind), Name: c.Name, What: string(c.What), Details: c.Details, Widens: c.Widens, Narrows: c.Narrows})
	}
	return list
}

func resultViews(results []plan.Result) (list []adminapi.PolicyTestResult) {
	for _, r := range results {
		list = append(list, adminapi.PolicyTestResult{Test: r.Test, Case: r.Case, File: r.Pos.File, Line: r.Pos.Line, Column: r.Pos.Column, Passed: r.Passed, Got: r.Got, Want: r.Want})
	}
	return list
}
