package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// alphabet is what topics of brute force are made of; patterns never hold z, so it
// stands for every text that no pattern names.
var alphabet = []string{"a", "b", "", "$x", "z"}

const bruteDepth = 5

// topics lists every topic name over the alphabet, up to bruteDepth levels.
var topics = func() (all []string) {
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		for _, l := range alphabet {
			name := l
			if depth > 1 {
				name = prefix + "/" + l
			}
			if name != "" {
				all = append(all, name)
			}
			if depth < bruteDepth {
				grow(name, depth+1)
			}
		}
	}
	grow("", 1)
	return all
}()

// drawFilter makes a valid filter of up to 4 levels.
func drawFilter(t *rapid.T, name string) string {
	for {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$x", "+", "+"}), 0, 4).Draw(t, name)
		if rapid.Bool().Draw(t, name+" open") {
			levels = append(levels[:min(len(levels), 3)], "#")
		}
		if f := strings.Join(levels, "/"); f != "" {
			return f
		}
	}
}

// onlyAt makes patterns of rules of their own.
func onlyAt(patterns []string) (out []bound) {
	for i, p := range patterns {
		out = append(out, bound{p, &rule{name: p, qos: byte(i % 3)}})
	}
	return out
}

// bruteContain looks at every topic: some pattern must match what the filter matches.
func bruteContain(patterns []string, filter string) (contained bool) {
	for _, topic := range topics {
		if mqtt.Match(filter, topic) && !matchesAny(patterns, topic) {
			return false
		}
	}
	return true
}

func matchesAny(patterns []string, topic string) bool {
	for _, p := range patterns {
		if mqtt.Match(p, topic) {
			return true
		}
	}
	return false
}

func checkContain(t interface {
	Helper()
	Fatalf(string, ...any)
}, patterns []string, filter string) {
	t.Helper()
	first, qos, witness := contain(onlyAt(patterns), filter)
	if want := bruteContain(patterns, filter); (first != nil) != want {
		t.Fatalf("%q within %q: %v by the rule, %v by brute force (witness %q)", filter, patterns, first != nil, want, witness)
	}
	if first == nil {
		if mqtt.ValidTopic(witness) != nil || !mqtt.Match(filter, witness) || matchesAny(patterns, witness) {
			t.Fatalf("%q within %q: %q shows nothing", filter, patterns, witness)
		}
		return
	}
	for _, topic := range topics { // the QoS that is granted holds for every topic
		if mqtt.Match(filter, topic) {
			if m, _ := matching(onlyAt(patterns), []byte(topic)); m.qos < qos {
				t.Fatalf("%q within %q: QoS %d granted, and %q has %d", filter, patterns, qos, topic, m.qos)
			}
		}
	}
}

func TestContainProperty(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawFilter(t, "pattern") }), 0, 5).Draw(t, "patterns")
		filter := drawFilter(t, "filter")
		if rapid.IntRange(0, 2).Draw(t, "near") > 0 && len(patterns) > 0 { // make containment likely
			prefix := strings.TrimSuffix(patterns[0], "/#")
			patterns = append(patterns, prefix, prefix+"/+", prefix+"/+/#")
			filter = strings.TrimSuffix(strings.TrimSuffix(prefix, "/+"), "#")
			if filter = strings.Trim(filter+"/#", ""); strings.Contains(filter, "#/") {
				filter = "#"
			}
		}
		for i := 0; i < len(patterns); i++ {
			if mqtt.ValidFilter(patterns[i]) != nil {
				patterns = append(patterns[:i], patterns[i+1:]...)
				i--
			}
		}
		if mqtt.ValidFilter(filter) != nil {
			filter = "#"
		}
		if bruteContain(patterns, filter) {
			yes++
		} else {
			no++
		}
		checkContain(t, patterns, filter)
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d were contained and %d were not: one side was not tested", yes, no)
	}
}

func TestIntersectProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawFilter(t, "a"), drawFilter(t, "b")
		want := false
		for _, topic := range topics {
			want = want || mqtt.Match(a, topic) && mqtt.Match(b, topic)
		}
		topic, got := intersect(a, b)
		if got != want {
			t.Fatalf("%q and %q: %v by the rule, %v by brute force", a, b, got, want)
		}
		if overlap(a, b) != want {
			t.Fatalf("%q and %q: not %v, says overlap", a, b, want)
		}
		if got && (mqtt.ValidTopic(topic) != nil || !mqtt.Match(a, topic) || !mqtt.Match(b, topic)) {
			t.Fatalf("%q and %q: %q is not in both", a, b, topic)
		}
	})
}

// TestPublishProperty compares the compiled decision with one that puts the values
// into the patterns as text and matches each.
func TestPublishProperty(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "+", "${device.id}", "${device.zone}", "${device.labels.site}", "p-${device.id}", "$x"})
	value := rapid.SampledFrom([]string{"a", "b", "", "$x", "a/b", "+", "#", "a+", "\x01", "é", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := func(name string) manifest.Pattern {
			levels := rapid.SliceOfN(level, 1, 4).Draw(t, name)
			if rapid.IntRange(0, 3).Draw(t, name+" open") == 0 {
				levels = append(levels, "#")
			}
			return manifest.Pattern{Text: strings.Join(levels, "/")}
		}
		who := Principal{Kind: Device, ID: value.Draw(t, "id"), Type: "pump", Zone: value.Draw(t, "zone"), State: "active",
			Labels: map[string]string{"site": value.Draw(t, "site")}}
		var grants, denials []manifest.Rule
		var allow, deny []manifest.Pattern
		for range rapid.IntRange(0, 3).Draw(t, "grants") {
			p := pattern("grant")
			grants, allow = append(grants, manifest.Rule{Topics: []manifest.Pattern{p}}), append(allow, p)
		}
		for range rapid.IntRange(0, 1).Draw(t, "denials") {
			p := pattern("deny")
			denials, deny = append(denials, manifest.Rule{Topics: []manifest.Pattern{p}}), append(deny, p)
		}
		set, problems := Compile(&manifest.Set{
			DeviceTypes: []manifest.DeviceType{{Meta: manifest.Meta{Name: "pump"}, Grants: manifest.Grants{Publish: grants, Subscribe: grants}}},
			Policies:    []manifest.MessagePolicy{{Meta: manifest.Meta{Name: "no"}, DenyPublish: denials, DenySubscribe: denials}},
		}, Config{})
		if problems != nil {
			for _, p := range append(allow, deny...) {
				if p.Text == "" {
					return // an empty pattern, and the compiler says so
				}
			}
			t.Fatalf("%v", problems)
		}
		perms := set.For(who)
		for _, topic := range topics[:min(len(topics), 800)] {
			want := naive(allow, &who, topic) && !naive(deny, &who, topic)
			if got := perms.Publish(topic); got.Allowed != want || got.Simple() != want {
				t.Fatalf("publishing to %q: %v (simple %v), want %v", topic, got.Allowed, got.Simple(), want)
			}
			if got := perms.Receive(topic); got.Allowed != want || got.Simple() != want {
				t.Fatalf("receiving %q: %v (simple %v), want %v", topic, got.Allowed, got.Simple(), want)
			}
		}
	})
}

// naive substitutes as text and matches; a value that cannot be a level spoils the pattern.
func naive(patterns []manifest.Pattern, p *Principal, topic string) bool {
	for _, pattern := range patterns {
		text, usable := pattern.Text, true
		for name, v := range map[string]string{"${device.id}": p.ID, "${device.zone}": p.Zone, "${device.labels.site}": p.Labels["site"]} {
			if !strings.Contains(text, name) {
				continue
			}
			if v == "" || strings.ContainsAny(v, "/+#\x01") || v == "\xff" || v[0] == '$' && strings.HasPrefix(pattern.Text, name) {
				usable = false
			}
			text = strings.ReplaceAll(text, name, v)
		}
		if usable && mqtt.Match(text, topic) {
			return true
		}
	}
	return false
}
