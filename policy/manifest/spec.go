package manifest

import (
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"go.yaml.in/yaml/v3"
)

// Bounds on limits.
const (
	maxSubscriptions = 10_000
	maxConnections   = 100_000
	maxInflight      = 65_535
	minPacket        = 128
	maxQuota         = 1e15
	maxSession       = 366 * 24 * time.Hour
)

// limits reads what one principal may use.
func (r *reader) limits(n *yaml.Node) Limits {
	if n == nil {
		return Limits{}
	}
	f, _ := r.fields(n, "`limits`", "rate subscriptions connections inflight packetSize sessionExpiry dailyMessages dailyBytes")
	limits := r.shared(f)
	if v, ok := r.integer(f["subscriptions"], 1, maxSubscriptions); ok {
		limits.Subscriptions = int(v)
	}
	if v, ok := r.integer(f["inflight"], 1, maxInflight); ok {
		limits.Inflight = int(v)
	}
	if f["packetSize"] != nil {
		limits.PacketSize = int(r.size(f["packetSize"], minPacket, maxBytes))
	}
	if f["sessionExpiry"] != nil {
		limits.SessionExpiry = r.duration(f["sessionExpiry"], time.Second, maxSession)
	}
	return limits
}

// total reads what all devices of a type may use together.
func (r *reader) total(n *yaml.Node) Limits {
	if n == nil {
		return Limits{}
	}
	f, _ := r.fields(n, "`total`", "rate connections dailyMessages dailyBytes")
	return r.shared(f)
}

func (r *reader) shared(f fields) Limits {
	limits := Limits{Rate: r.rate(f["rate"], false)}
	if v, ok := r.integer(f["connections"], 1, maxConnections); ok {
		limits.Connections = int(v)
	}
	limits.DailyMessages, _ = r.integer(f["dailyMessages"], 1, maxQuota)
	if f["dailyBytes"] != nil {
		limits.DailyBytes = r.size(f["dailyBytes"], 1, maxQuota)
	}
	return limits
}

// inventory reads a name as the inventory has it.
func (r *reader) inventory(n *yaml.Node, check func(string) error) string {
	s, ok := r.text(n, 1<<10, false)
	if !ok {
		return ""
	}
	if !r.accepted(n, check(s)) {
		return ""
	}
	return s
}

// accepted turns the refusal of another noun into a problem.
func (r *reader) accepted(n *yaml.Node, err error) bool {
	if err == nil {
		return true
	}
	text, fix := err.Error(), ""
	if no := refusal.As(err); no != nil {
		text, fix = no.Detail, no.Fix
	}
	r.add(r.pos(n), fix, "%s", text)
	return false
}

var principalKinds = []string{"device", "gateway", "app"}

// selector reads whom a message policy is for. An empty list is refused: it
// could be read as nobody, and it would mean everybody.
func (l *loader) selector(d *document, n *yaml.Node) Selector {
	if n == nil {
		return Selector{}
	}
	f, ok := d.fields(n, "`select`", "kinds types zones ids labels")
	if ok && len(f) == 0 {
		d.add(d.pos(n), "choose somebody, or leave the key out to choose everybody", "`select` is empty")
	}
	s := Selector{Labels: d.labels(f["labels"])}
	s.Kinds = d.texts(f["kinds"], "`kinds`", func(c *yaml.Node) (string, bool) {
		k := d.word(c, "kind of principal", principalKinds...)
		return k, k != ""
	})
	s.Types = d.texts(f["types"], "`types`", func(c *yaml.Node) (string, bool) {
		name := d.inventory(c, func(s string) error { return device.TypeName(s).Validate() })
		if name != "" {
			l.later = append(l.later, func() { l.refer(d.pos(c), DeviceTypeKind, name) })
		}
		return name, name != ""
	})
	s.Zones = d.texts(f["zones"], "`zones`", func(c *yaml.Node) (string, bool) {
		name := d.inventory(c, func(s string) error { return device.ZoneName(s).Validate() })
		return name, name != ""
	})
	s.IDs = d.texts(f["ids"], "`ids`", func(c *yaml.Node) (string, bool) {
		id := d.inventory(c, validID)
		return id, id != ""
	})
	onlyApps := len(s.Kinds) == 1 && s.Kinds[0] == "app"
	for _, key := range []string{"types", "zones", "labels"} {
		if onlyApps && f[key] != nil {
			d.add(d.pos(f[key]), "choose apps by ids", "`%s` chooses no app: apps have none", key)
		}
	}
	if n := f["labels"]; n != nil && n.Kind == yaml.MappingNode && len(n.Content) == 0 || n != nil && isNull(n) {
		d.add(d.pos(f["labels"]), "name at least one, or leave the key out", "`labels` is empty")
	}
	return s
}

func validID(s string) error {
	_, err := device.ParseID(s)
	return err
}

// labels reads names with texts.
func (r *reader) labels(n *yaml.Node) map[string]string {
	if n == nil || isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.add(r.pos(n), "write {site: north}", "expected labels with values, found %s", found(n))
		return nil
	}
	out := map[string]string{}
	r.pairs(n, func(key, value *yaml.Node) {
		if s, ok := r.text(value, device.MaxLabel, false); ok && r.accepted(key, device.ValidateLabels(map[string]string{key.Value: s})) {
			out[key.Value] = s
		}
	})
	if len(out) == 0 {
		return nil
	}
	if len(out) > device.MaxTags {
		r.accepted(n, device.ValidateLabels(out))
	}
	return out
}

// The words of views.
var (
	transforms = []string{string(Whole), string(Masked), string(Hashed), string(Generalize), string(Dropped)}
	timeUnits  = []string{"year", "month", "day", "hour"}
)

const maxKeep = 16

// view reads what an audience sees of a mark.
func (r *reader) view(n *yaml.Node) (View, bool) {
	f, ok := r.fields(n, "an entry of `sees`", "mark! do! keep step unit")
	if !ok {
		return View{}, false
	}
	v := View{Mark: r.name(f["mark"]), Do: Transform(r.word(f["do"], "transform", transforms...)), Pos: r.pos(n)}
	if keep, ok := r.integer(f["keep"], 0, maxKeep); ok {
		v.Keep = int(keep)
	}
	if step := r.number(f["step"]); step != nil {
		v.Step = *step
		if *step <= 0 {
			r.add(r.pos(f["step"]), "write what to round to, such as 0.01", "`step` is not more than 0")
		}
	}
	if f["unit"] != nil {
		v.Unit = r.word(f["unit"], "unit of time to cut to", timeUnits...)
	}
	for key, of := range map[string]Transform{"keep": Masked, "step": Generalize, "unit": Generalize} {
		if f[key] != nil && v.Do != of && v.Do != "" {
			r.add(r.pos(f[key]), "take it away, or write do: "+string(of), "`%s` is for %s, and this is %s", key, of, v.Do)
		}
	}
	if v.Do == Generalize && f["step"] == nil && f["unit"] == nil {
		r.add(v.Pos, "add step: 0.01 for numbers, or unit: day for times", "`generalize` needs `step` or `unit`")
	}
	return v, v.Mark != "" && !slices.Contains([]Transform{""}, v.Do)
}
