package reach

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// device has an id that differs, a zone that is known, and labels.
func device(variable string) (value, hole string) {
	switch {
	case variable == "device.id":
		return "", idHole
	case variable == "device.zone":
		return "north", ""
	case strings.HasPrefix(variable, labels):
		return "", labelHole + strings.TrimPrefix(variable, labels)
	}
	return "", ""
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		send, receive string
		meets         bool
		topic         string // in common
		want          needs
	}{
		{"a/b", "a/b", true, "a/b", needs{}},
		{"a/b", "a/c", false, "", needs{}},
		{"a/b", "a/b/c", false, "", needs{}},
		{"a/#", "a", true, "a", needs{}},
		{"a/#", "a/b/#", true, "a/b/#", needs{}},
		{"#", "a/+", true, "a/+", needs{}},
		{"#", "#", true, "#", needs{}},
		{"+/b", "a/+", true, "a/b", needs{}},
		{"+", "$SYS", false, "", needs{}},
		{"#", "$SYS/a", false, "", needs{}},
		{"$SYS/#", "$SYS/a", true, "$SYS/a", needs{}},
		{"a/+", "a/$b", true, "a/$b", needs{}},
		{"${device.id}/a", "$x/a", false, "", needs{}},
		{"${device.id}", "$x${device.id}", false, "", needs{}},
		{"a/${device.id}", "a/$x${device.id}", true, "a/$x{receiver id}", needs{}},
		{"a/${device.zone}/x", "a/+/+", true, "a/north/x", needs{}},
		{"a/${device.zone}", "a/south", false, "", needs{}},
		{"a/${device.id}", "a/+", true, "a/{sender id}", needs{}},
		{"a/+", "a/dev-${device.id}", true, "a/dev-{receiver id}", needs{}},
		{"a/${device.id}", "a/${device.id}", true, "a/{receiver id}", needs{itself: true}},
		{"a/x-${device.id}", "a/${device.id}", true, "a/{receiver id}", needs{}},
		{"a/x-${device.id}", "a/y-${device.id}", false, "", needs{}},
		{"a/${device.id}-x", "a/${device.id}-y", false, "", needs{}},
		{"a/${device.id}", "a/pump-1", true, "a/pump-1", needs{sender: "pump-1"}},
		{"a/dev-pump-1.b", "a/dev-${device.id}.b", true, "a/dev-pump-1.b", needs{receiver: "pump-1"}},
		{"a/dev-", "a/dev-${device.id}", false, "", needs{}},
		{"${device.id}/${device.id}", "a/b", true, "a/b", needs{sender: "b", never: true}},
		{"a/${device.labels.site}", "a/x", true, "a/x", needs{}},
		{"a/${device.labels.site}-${device.id}", "a/x-y", true, "a/x-y", needs{}},
		{"a/${device.labels.site}-${device.id}", "a/x-", false, "", needs{}},
		{"a/${device.labels.site}${device.id}", "a/x", false, "", needs{}},
		{"a/${device.labels.site}${device.id}", "a/xy", true, "a/xy", needs{}},
		{"/", "+/+", true, "/", needs{}},
	} {
		s, _, ok := bind(c.send, device)
		r, _, fine := bind(c.receive, device)
		if !ok || !fine {
			t.Fatalf("%v does not bind", c)
		}
		if got, turned := overlap(&s, &r), overlap(&r, &s); got != c.meets || turned != c.meets {
			t.Errorf("%q and %q overlap: %t, and the other way about %t", c.send, c.receive, got, turned)
		} else if got {
			both := shared(&s, &r)
			if text := both.String(); text != c.topic {
				t.Errorf("%q and %q have %q in common, want %q", c.send, c.receive, text, c.topic)
			}
			if n := both.needs(); n != c.want {
				t.Errorf("%q and %q need %+v, want %+v", c.send, c.receive, n, c.want)
			}
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		send, receive, in  string
		ofSender, receiver bool
	}{
		{"a/b", "a/+", "a/b", true, true},
		{"a/+", "a/+", "a/b", false, false},
		{"a/+", "a/+", "a/+", true, true},
		{"a/b/#", "#", "a/#", true, true},
		{"a/#", "#", "a/b/#", false, false},
		{"a/#", "a/#", "a/+", false, false},
		{"a", "a/#", "a/#", true, true},
		{"a", "a", "a/+/#", false, false},
		{"a/${device.id}", "a/+", "a/${device.id}", true, false},
		{"a/+", "a/${device.id}", "a/${device.id}", false, true},
		{"a/x", "a/${device.id}", "a/${device.id}", false, true},
		{"a/x-${device.id}", "#", "a/${device.id}", false, false},
		{"$a/b", "$a/b", "#", false, false},
		{"$a/b", "$a/b", "+/b", false, false},
		{"$a/b", "$a/b", "$a/#", true, true},
		{"#", "#", "#", true, true},
	} {
		s, _, _ := bind(c.send, device)
		r, _, _ := bind(c.receive, device)
		in, _, _ := bind(c.in, device)
		both := shared(&s, &r)
		if got := both.within(&in, false); got != c.ofSender {
			t.Errorf("what %q and %q share is within %q of the sender: %t", c.send, c.receive, c.in, got)
		}
		if got := both.within(&in, true); got != c.receiver {
			t.Errorf("what %q and %q share is within %q of the receiver: %t", c.send, c.receive, c.in, got)
		}
	}
}

func TestBindRefuses(t *testing.T) {
	for _, pattern := range []string{"a/${gateway.id}", "a/${app.name}"} {
		if _, _, ok := bind(pattern, device); ok {
			t.Errorf("%q binds, though a device has no such value", pattern)
		}
	}
	for _, bad := range []string{"", "a/b", "+", "#", "a#", "\x01", "\u0085", "\xff"} {
		if _, _, ok := bind("a/${device.zone}", func(string) (string, string) { return bad, "" }); ok {
			t.Errorf("the value %q binds", bad)
		}
	}
	dollar := func(string) (string, string) { return "$x", "" }
	if _, _, ok := bind("${device.zone}/a", dollar); ok {
		t.Error("a value with $ binds at the beginning")
	}
	if _, _, ok := bind("a/${device.zone}", dollar); !ok {
		t.Error("a value with $ does not bind in the second level")
	}
}

// checkPatterns compares patterns with what they are once the ids are known.
func checkPatterns(t interface{ Fatalf(string, ...any) }, send, receive, third, sender, receiver, topic string) {
	for _, p := range []string{send, receive, third} {
		if mqtt.ValidFilter(strings.NewReplacer("${device.id}", "x", "${device.zone}", "x").Replace(p)) != nil || strings.Count(p, "${") != strings.Count(p, "${device.id}")+strings.Count(p, "${device.zone}") {
			return
		}
	}
	if !usable(sender) || !usable(receiver) || topic == "" || strings.ContainsAny(topic, "+#\x00") {
		return
	}
	concrete := func(pattern, id string) string {
		if strings.HasPrefix(pattern, "${device.id}") && id[0] == '$' {
			return "" // matches nothing
		}
		return strings.NewReplacer("${device.id}", id, "${device.zone}", "north").Replace(pattern)
	}
	if !mqtt.Match(concrete(send, sender), topic) || !mqtt.Match(concrete(receive, receiver), topic) {
		return
	}
	s, _, _ := bind(send, device)
	r, _, _ := bind(receive, device)
	f, _, _ := bind(third, device)
	if !overlap(&s, &r) || !overlap(&r, &s) {
		t.Fatalf("%q of %q and %q of %q share %q, and do not overlap", send, sender, receive, receiver, topic)
	}
	both := shared(&s, &r)
	if n := both.needs(); n.never || n.sender != "" && n.sender != sender || n.receiver != "" && n.receiver != receiver || n.itself && sender != receiver {
		t.Fatalf("%q of %q and %q of %q share %q, and need %+v", send, sender, receive, receiver, topic, n)
	}
	if both.within(&f, false) && !mqtt.Match(concrete(third, sender), topic) || both.within(&f, true) && !mqtt.Match(concrete(third, receiver), topic) {
		t.Fatalf("%q of %q and %q of %q share %q, which is not within %q", send, sender, receive, receiver, topic, third)
	}
}

func TestPatternsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := func(name string) string {
			levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "", "$s", "+", "x-a", "north", "${device.id}", "x-${device.id}", "${device.id}-a", "${device.zone}"}), 1, 3).Draw(t, name)
			if rapid.IntRange(0, 3).Draw(t, "open") == 0 {
				levels = append(levels, "#")
			}
			return strings.Join(levels, "/")
		}
		level := rapid.SampledFrom([]string{"a", "", "$s", "x-a", "x-a-a", "a-a", "north", "q"})
		id := rapid.SampledFrom([]string{"a", "x-a", "x", "$s", "q", "north"})
		send, receive, third := pattern("send"), pattern("receive"), pattern("third")
		sender, receiver := id.Draw(t, "sender"), id.Draw(t, "receiver")
		for range 40 {
			checkPatterns(t, send, receive, third, sender, receiver, strings.Join(rapid.SliceOfN(level, 1, 4).Draw(t, "topic"), "/"))
		}
	})
}

func FuzzPatterns(f *testing.F) {
	f.Add("a/${device.id}/#", "a/+/b", "a/#", "x", "y", "a/x/b")
	f.Add("${device.id}/x-${device.id}", "+/+", "${device.id}/#", "p", "q", "p/x-p")
	f.Add("#", "a/${device.zone}${device.id}-b", "a/+", "p", "q", "a/northq-b")
	f.Add("$s/${device.id}", "$s/#", "#", "$x", "q", "$s/$x")
	f.Fuzz(func(t *testing.T, send, receive, third, sender, receiver, topic string) {
		checkPatterns(t, send, receive, third, sender, receiver, topic)
	})
}
