package manifest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// YAML writes a set as text that Load reads as an equal one, apart from
// places: documents by kind and name, keys in the order of the guide, values in
// one spelling. Comments are not in a Set. It is for sets that Load returned
// without problems.
func (s *Set) YAML() []byte {
	var docs []*yaml.Node
	for _, d := range s.DeviceTypes {
		docs = append(docs, formatDocument(DeviceTypeKind, d.Meta, formatDeviceType(d)))
	}
	for _, z := range s.Zones {
		docs = append(docs, formatDocument(ZoneKind, z.Meta, formatGrants(mapping(false), z.Grants)))
	}
	for _, a := range s.Apps {
		spec := mapping(false).put("clientIds", patternList(a.ClientIDs)).put("audience", textOr(a.Audience))
		docs = append(docs, formatDocument(AppKind, a.Meta, formatGrants(spec, a.Grants).put("limits", formatLimits(a.Limits))))
	}
	for _, p := range s.Policies {
		spec := formatGrants(mapping(false).put("select", formatSelector(p.Select)), p.Grants)
		spec.put("denyPublish", formatRules(p.DenyPublish, denyPublish)).put("denySubscribe", formatRules(p.DenySubscribe, denySubscribe))
		docs = append(docs, formatDocument(MessagePolicyKind, p.Meta, spec))
	}
	for _, a := range s.Audiences {
		docs = append(docs, formatDocument(AudienceKind, a.Meta, mapping(false).put("sees", listOf(a.Sees, formatView))))
	}
	for _, t := range s.Tests {
		docs = append(docs, formatDocument(PolicyTestKind, t.Meta, mapping(false).put("cases", listOf(t.Cases, formatCase))))
	}
	var out bytes.Buffer
	for i, d := range docs {
		if i > 0 {
			out.WriteString("---\n")
		}
		enc := yaml.NewEncoder(&out)
		enc.SetIndent(2)
		if err := enc.Encode(d); err != nil {
			panic(fmt.Sprintf("manifest: formatting a document: %v", err)) // nodes made here are always well formed
		}
		enc.Close()
	}
	return out.Bytes()
}

// object is a YAML mapping that is being written.
type object yaml.Node

func mapping(flow bool) *object {
	o := &object{Kind: yaml.MappingNode}
	if flow {
		o.Style = yaml.FlowStyle
	}
	return o
}

// put adds a key unless there is no value.
func (o *object) put(key string, value *yaml.Node) *object {
	if value != nil {
		o.Content = append(o.Content, text(key), value)
	}
	return o
}

// node is the mapping, or nil when nothing was put in.
func (o *object) node() *yaml.Node {
	if len(o.Content) == 0 {
		return nil
	}
	return (*yaml.Node)(o)
}

// bare is text that means itself without quotes, wherever it stands.
var bare = regexp.MustCompile(`^[A-Za-z0-9/][-A-Za-z0-9/._+]*$`)

// text writes text so that YAML reads nothing else.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
	probe := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	printable := !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	switch {
	case bare.MatchString(s) && probe.ShortTag() == "!!str":
		n.Style = 0
	case printable && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'"):
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

func textOr(s string) *yaml.Node {
	if s == "" {
		return nil
	}
	return text(s)
}

func plain(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func whole[T ~int | ~int64](v T) *yaml.Node {
	if v == 0 {
		return nil
	}
	return plain("!!int", strconv.FormatInt(int64(v), 10))
}

func wholePtr(v *int) *yaml.Node {
	if v == nil {
		return nil
	}
	return plain("!!int", strconv.Itoa(*v))
}

func number(v float64) *yaml.Node {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if strings.ContainsAny(s, ".e") {
		return plain("!!float", s)
	}
	return plain("!!int", s)
}

func numberPtr(v *float64) *yaml.Node {
	if v == nil {
		return nil
	}
	return number(*v)
}

func boolPtr(v *bool) *yaml.Node {
	if v == nil {
		return nil
	}
	return plain("!!bool", strconv.FormatBool(*v))
}

func truth(v bool) *yaml.Node {
	if !v {
		return nil
	}
	return boolPtr(&v)
}

func sizeOr[T ~int | ~int64](v T) *yaml.Node {
	s := FormatSize(int64(v))
	switch {
	case v == 0:
		return nil
	case strings.HasSuffix(s, "B"):
		return text(s)
	}
	return whole(v)
}

func listOf[T any](items []T, each func(T) *yaml.Node) *yaml.Node {
	if len(items) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range items {
		n.Content = append(n.Content, each(item))
	}
	return n
}

// flow writes a list on one line.
func flow(n *yaml.Node) *yaml.Node {
	if n != nil {
		n.Style = yaml.FlowStyle
	}
	return n
}

func texts(list []string) *yaml.Node { return flow(listOf(list, text)) }

func patternList(list []Pattern) *yaml.Node {
	return flow(listOf(list, func(p Pattern) *yaml.Node { return text(p.Text) }))
}

func textMap(m map[string]string) *yaml.Node {
	o := mapping(true)
	for _, k := range sortedKeys(m) {
		o.put(k, text(m[k]))
	}
	return o.node()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func formatDocument(kind Kind, m Meta, spec *object) *yaml.Node {
	meta := mapping(false).put("name", text(m.Name)).put("description", textOr(m.Description))
	return mapping(false).put("apiVersion", text(Version)).put("kind", text(string(kind))).
		put("metadata", meta.node()).put("spec", spec.node()).node()
}

func formatDeviceType(d DeviceType) *object {
	spec := formatGrants(mapping(false).put("clientIds", patternList(d.ClientIDs)), d.Grants)
	spec.put("commands", listOf(d.Commands, formatCommand))
	spec.put("marks", listOf(d.Marks, func(m Mark) *yaml.Node {
		return mapping(true).put("path", text(m.Path)).put("as", text(m.As)).node()
	}))
	return spec.put("limits", formatLimits(d.Limits)).put("total", formatLimits(d.Total))
}

func formatGrants(spec *object, g Grants) *object {
	return spec.put("publish", formatRules(g.Publish, publishPlace)).put("subscribe", formatRules(g.Subscribe, subscribePlace))
}

func formatRules(rules []Rule, in place) *yaml.Node {
	i := -1
	return listOf(rules, func(r Rule) *yaml.Node {
		i++
		o := mapping(false)
		if r.Name != in.madeName(i) {
			o.put("name", text(r.Name))
		}
		return o.put("topics", patternList(r.Topics)).put("qos", wholePtr(r.QoS)).put("retain", boolPtr(r.Retain)).
			put("shared", boolPtr(r.Shared)).put("when", textOr(r.When)).put("payload", formatPayload(r.Payload)).
			put("rate", formatRate(r.Rate)).node()
	})
}

func formatCommand(c Command) *yaml.Node {
	o := mapping(false).put("name", text(c.Name)).put("topic", text(c.Topic.Text)).
		put("payload", formatPayload(c.Payload)).put("rate", formatRate(c.Rate))
	if c.RefuseIn != nil && len(c.RefuseIn) == 0 {
		o.put("refuseIn", flow(&yaml.Node{Kind: yaml.SequenceNode}))
	}
	return o.put("refuseIn", texts(c.RefuseIn)).put("when", textOr(c.When)).node()
}

func formatPayload(p *Payload) *yaml.Node {
	if p == nil {
		return nil
	}
	fields := listOf(p.Fields, func(f Field) *yaml.Node {
		return mapping(true).put("path", text(f.Path)).put("type", text(string(f.Type))).put("required", truth(f.Required)).
			put("min", numberPtr(f.Min)).put("max", numberPtr(f.Max)).put("oneOf", texts(f.OneOf)).node()
	})
	return mapping(false).put("format", text(string(p.Format))).put("minBytes", sizeOr(p.MinBytes)).
		put("maxBytes", sizeOr(p.MaxBytes)).put("closed", truth(p.Closed)).put("fields", fields).node()
}

func formatRate(r Rate) *yaml.Node {
	o := mapping(true)
	if r.Messages != 0 {
		o.put("messages", text(FormatRate(r.Messages, false)))
	}
	o.put("burst", whole(r.Burst))
	if r.Bytes != 0 {
		o.put("bytes", text(FormatRate(r.Bytes, true)))
	}
	return o.node()
}

func formatLimits(l Limits) *yaml.Node {
	o := mapping(false).put("rate", formatRate(l.Rate)).put("subscriptions", whole(l.Subscriptions)).
		put("connections", whole(l.Connections)).put("inflight", whole(l.Inflight)).put("packetSize", sizeOr(l.PacketSize))
	if l.SessionExpiry != 0 {
		o.put("sessionExpiry", text(FormatDuration(l.SessionExpiry)))
	}
	return o.put("dailyMessages", whole(l.DailyMessages)).put("dailyBytes", sizeOr(l.DailyBytes)).node()
}

func formatSelector(s Selector) *yaml.Node {
	return mapping(false).put("kinds", texts(s.Kinds)).put("types", texts(s.Types)).put("zones", texts(s.Zones)).
		put("ids", texts(s.IDs)).put("labels", textMap(s.Labels)).node()
}

func formatView(v View) *yaml.Node {
	o := mapping(true).put("mark", text(v.Mark)).put("do", text(string(v.Do))).put("keep", whole(v.Keep))
	if v.Step != 0 {
		o.put("step", number(v.Step))
	}
	return o.put("unit", textOr(v.Unit)).node()
}

func formatCase(c Case) *yaml.Node {
	o := mapping(false).put("name", text(c.Name)).put("as", formatSubject(c.As))
	if !c.At.IsZero() {
		o.put("at", text(c.At.Format(time.RFC3339Nano)))
	}
	o.put("publish", formatMessage(c.Publish)).put("receive", formatMessage(c.Receive))
	o.put("subscribe", textOr(c.Subscribe)).put("connect", textOr(c.Connect))
	targets := mapping(false)
	for _, id := range sortedKeys(c.Target) {
		if facts := formatFacts(mapping(true), c.Target[id]).node(); facts != nil {
			targets.put(id, facts)
		} else {
			targets.put(id, (*yaml.Node)(mapping(true)))
		}
	}
	o.put("target", targets.node())
	expect := "deny"
	if c.Allow {
		expect = "allow"
	}
	if c.Rule == "" {
		return o.put("expect", text(expect)).node()
	}
	return o.put("expect", mapping(true).put(expect, text(c.Rule)).node()).node()
}

func formatSubject(s Subject) *yaml.Node {
	return formatFacts(mapping(true).put(s.Kind, text(s.ID)), s).node()
}

func formatFacts(o *object, s Subject) *object {
	return o.put("type", textOr(s.Type)).put("zone", textOr(s.Zone)).put("labels", textMap(s.Labels)).
		put("state", textOr(s.State)).put("maintenance", truth(s.Maintenance))
}

func formatMessage(m *TestMessage) *yaml.Node {
	if m == nil {
		return nil
	}
	o := mapping(false).put("topic", text(m.Topic))
	if value := jsonNode(m.Payload); value != nil {
		o.put("payload", value)
	} else if s := string(m.Payload); len(s) > 0 && utf8.ValidString(s) {
		o.put("text", text(s))
	} else if len(s) > 0 {
		o.put("base64", text(base64.StdEncoding.EncodeToString(m.Payload)))
	}
	o.put("qos", whole(m.QoS)).put("retain", truth(m.Retain))
	if m.From != nil {
		o.put("from", formatSubject(*m.From))
	}
	return o.node()
}

// jsonNode is the YAML value that Load makes exactly these bytes of, or nil.
func jsonNode(payload []byte) *yaml.Node {
	var doc yaml.Node
	if len(payload) == 0 || yaml.Unmarshal(payload, &doc) != nil || len(doc.Content) != 1 {
		return nil
	}
	n := doc.Content[0]
	var wrong problems
	r := &reader{data: payload, problems: &wrong}
	if !r.plain(n, 0) || string(r.json(nil, n)) != string(payload) || len(wrong) > 0 {
		return nil
	}
	respell(n)
	return flow(n)
}

// respell writes every text of a value as text does.
func respell(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		*n = *text(n.Value)
	}
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		respell(c)
	}
}
