package manifest

import (
	"bytes"
	"cmp"
	"slices"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/device"
	"go.yaml.in/yaml/v3"
)

// Bounds on what Load reads.
const (
	MaxFile  = 1 << 20  // bytes of one file
	MaxTotal = 16 << 20 // bytes of all files
	MaxFiles = 10_000
)

// File is a manifest file: YAML documents with --- between them.
type File struct {
	Name string // as problems name it
	Data []byte
}

// Load reads manifests. It returns everything that is wrong, by file, line and
// column, at most MaxProblems; a Set is complete and valid only when there are
// no problems. Order and splitting of the files mean nothing: a Set is sorted by
// name.
func Load(files []File) (*Set, []Problem) {
	l := loader{set: &Set{}, seen: map[string]Pos{}}
	total, names := 0, map[string]bool{}
	for _, f := range files {
		total += len(f.Data)
		switch {
		case names[f.Name]:
			l.problems.add(Pos{File: f.Name}, "name each file once", "the file is given twice")
		case total > MaxTotal || len(names) >= MaxFiles:
			l.problems.add(Pos{File: f.Name}, "use fewer rules with variables such as ${device.id}", "the manifests are more than %s or %d files", FormatSize(MaxTotal), MaxFiles)
			return l.set, l.problems.sorted()
		default:
			l.file(f)
		}
		names[f.Name] = true
	}
	l.references()
	l.sort()
	return l.set, l.problems.sorted()
}

type loader struct {
	problems
	set   *Set
	seen  map[string]Pos // of documents, by "Kind name"
	later []func()       // checks that need all documents
}

func (l *loader) file(f File) {
	switch zero := bytes.IndexByte(f.Data, 0); {
	case len(f.Data) > MaxFile:
		l.problems.add(Pos{File: f.Name}, "split it", "the file has %d bytes, more than %s", len(f.Data), FormatSize(MaxFile))
	case zero >= 0:
		l.problems.add(placeOf(f, zero), "write manifests as text in UTF-8", "the file has a NUL byte")
	case !utf8.Valid(f.Data):
		l.problems.add(placeOf(f, invalidAt(f.Data)), "write manifests as text in UTF-8", "the file is not UTF-8 here")
	default:
		r := &reader{file: f.Name, data: f.Data, problems: &l.problems}
		r.documents(func(n *yaml.Node) { l.document(r, n) })
	}
}

// placeOf is the line and column, in bytes, of an offset.
func placeOf(f File, offset int) Pos {
	before := f.Data[:offset]
	return Pos{f.Name, bytes.Count(before, []byte("\n")) + 1, offset - bytes.LastIndexByte(before, '\n')}
}

func invalidAt(data []byte) (offset int) {
	for offset < len(data) {
		c, n := utf8.DecodeRune(data[offset:])
		if c == utf8.RuneError && n == 1 {
			break
		}
		offset += n
	}
	return offset
}

// kinds are the kinds of documents with what reads their spec.
var kinds = []struct {
	kind Kind
	spec string // keys
	read func(*loader, *document, fields)
}{
	{DeviceTypeKind, "clientIds publish subscribe commands marks limits total", (*loader).deviceType},
	{ZoneKind, "publish subscribe", (*loader).zone},
	{AppKind, "clientIds audience publish subscribe limits", (*loader).app},
	{MessagePolicyKind, "select publish subscribe denyPublish denySubscribe", (*loader).messagePolicy},
	{AudienceKind, "sees", (*loader).audience},
	{PolicyTestKind, "cases!", (*loader).test},
}

// document reads one document into the set.
func (l *loader) document(r *reader, n *yaml.Node) {
	f, _ := r.fields(n, "the document", "apiVersion! kind! metadata! spec")
	if v, ok := r.text(f["apiVersion"], maxName, false); ok && v != Version {
		r.add(r.pos(f["apiVersion"]), "write "+Version, "the version `%s` is not known", clip(v))
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k.kind))
	}
	kind := Kind(r.word(f["kind"], "kind of document", names...))
	at := slices.Index(names, string(kind))
	if at < 0 || f["metadata"] == nil {
		return
	}
	d := &document{reader: r, Meta: l.meta(r, kind, f["metadata"]), names: map[string]Pos{}}
	spec := fields{}
	if f["spec"] != nil {
		spec, _ = r.fields(f["spec"], "the spec of "+string(kind), kinds[at].spec)
	} else if kind == PolicyTestKind {
		r.add(r.pos(n), "add spec with cases", "the test has no `spec`")
	}
	kinds[at].read(l, d, spec)
}

func (l *loader) meta(r *reader, kind Kind, n *yaml.Node) Meta {
	f, ok := r.fields(n, "`metadata`", "name! description")
	m := Meta{Pos: r.pos(n)}
	m.Description, _ = r.text(f["description"], 1<<10, true)
	if !ok {
		return m
	}
	m.Pos = r.pos(f["name"])
	switch kind {
	case DeviceTypeKind:
		m.Name = r.inventory(f["name"], func(s string) error { return device.TypeName(s).Validate() })
	case ZoneKind:
		m.Name = r.inventory(f["name"], func(s string) error { return device.ZoneName(s).Validate() })
	default:
		m.Name = r.name(f["name"])
	}
	if m.Name == "" {
		return m
	}
	if kind == AudienceKind && m.Name == Operator {
		r.add(m.Pos, "rename it", "the audience `%s` is built in: it sees every field whole", Operator)
	}
	r.distinct(l.seen, "document", string(kind)+" "+m.Name, m.Pos)
	return m
}

func (l *loader) deviceType(d *document, f fields) {
	d.scope = deviceVariables
	t := DeviceType{Meta: d.Meta, Grants: d.grants(f)}
	t.ClientIDs = d.patterns(f["clientIds"], "`clientIds`", d.deviceClientID)
	t.Commands = d.commands(f["commands"])
	t.Marks = d.marks(f["marks"])
	t.Limits, t.Total = d.limits(f["limits"]), d.total(f["total"])
	l.set.DeviceTypes = append(l.set.DeviceTypes, t)
}

func (d *document) grants(f fields) Grants {
	return Grants{Publish: d.rules(f["publish"], publishPlace), Subscribe: d.rules(f["subscribe"], subscribePlace)}
}

func (l *loader) zone(d *document, f fields) {
	d.scope = deviceVariables
	l.set.Zones = append(l.set.Zones, Zone{Meta: d.Meta, Grants: d.grants(f)})
}

func (l *loader) app(d *document, f fields) {
	d.scope = appVariables
	a := App{Meta: d.Meta, Grants: d.grants(f), Limits: d.limits(f["limits"])}
	a.ClientIDs = d.patterns(f["clientIds"], "`clientIds`", d.appClientID)
	if f["audience"] != nil {
		a.Audience = d.name(f["audience"])
	}
	l.set.Apps = append(l.set.Apps, a)
	if a.Audience != "" && a.Audience != Operator {
		l.later = append(l.later, func() {
			l.refer(d.pos(f["audience"]), AudienceKind, a.Audience, Operator)
		})
	}
}

func (l *loader) messagePolicy(d *document, f fields) {
	p := MessagePolicy{Meta: d.Meta, Select: l.selector(d, f["select"])}
	d.scope = allVariables
	switch apps := slices.Contains(p.Select.Kinds, "app"); {
	case apps && len(p.Select.Kinds) == 1:
		d.scope = appVariables
	case !apps && len(p.Select.Kinds) > 0:
		d.scope = deviceVariables
	}
	p.Grants = d.grants(f)
	p.DenyPublish, p.DenySubscribe = d.rules(f["denyPublish"], denyPublish), d.rules(f["denySubscribe"], denySubscribe)
	l.set.Policies = append(l.set.Policies, p)
}

func (l *loader) audience(d *document, f fields) {
	a := Audience{Meta: d.Meta}
	seen := map[string]Pos{}
	d.list(f["sees"], "`sees`", func(_ int, n *yaml.Node) {
		if v, ok := d.view(n); ok && d.distinct(seen, "mark", v.Mark, v.Pos) {
			a.Sees = append(a.Sees, v)
		}
	})
	l.set.Audiences = append(l.set.Audiences, a)
}

// refer checks that a document exists, or that name is built in.
func (l *loader) refer(at Pos, kind Kind, name string, builtIn ...string) bool {
	if _, ok := l.seen[string(kind)+" "+name]; ok || slices.Contains(builtIn, name) {
		return true
	}
	known := slices.Concat(l.named(kind), builtIn)
	fix := "declare it; its spec may be empty"
	if near := nearest(name, known); near != "" {
		fix = "did you mean `" + near + "`?"
	}
	l.problems.add(at, fix, "there is no %s `%s`", kind, clip(name))
	return false
}

// named lists the names of the documents of a kind.
func (l *loader) named(kind Kind) (names []string) {
	for key := range l.seen {
		if name, is := cutKind(key, kind); is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (l *loader) references() {
	for _, check := range l.later {
		check()
	}
}

func (l *loader) sort() {
	slices.SortStableFunc(l.set.DeviceTypes, func(a, b DeviceType) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(l.set.Zones, func(a, b Zone) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(l.set.Apps, func(a, b App) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(l.set.Policies, func(a, b MessagePolicy) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(l.set.Audiences, func(a, b Audience) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(l.set.Tests, func(a, b Test) int { return cmp.Compare(a.Name, b.Name) })
}
