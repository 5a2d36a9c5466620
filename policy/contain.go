package policy

import (
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// contain tells whether every topic name that a valid filter can match is matched
// by some pattern. It returns the first rule that matches and the least QoS that
// is allowed everywhere, or a topic that no pattern matches.
//
// It is exact, and short, because topic levels are an infinite alphabet. A level
// that no pattern names as text (a fresh one) is matched by + and # only, so a
// pattern that matches a topic with a fresh level matches it with any other text
// there too. For a filter without # it is therefore enough to look at one topic,
// with fresh levels in the places of +. With # there is one such topic for each
// number of levels; past the longest pattern only patterns with # match, and those
// match all greater numbers alike. Topics begin with $ only where the filter does.
// The empty name is no topic. Work: (levels + 2) × patterns matches.
func contain(patterns []bound, filter string) (first *rule, qos byte, witness string) {
	levels := strings.Split(filter, "/")
	open := levels[len(levels)-1] == "#"
	if open {
		levels = levels[:len(levels)-1]
	}
	longest := len(levels)
	if open {
		for _, b := range patterns {
			longest = max(longest, strings.Count(b.pattern, "/")+1)
		}
		longest = min(longest+1, mqtt.MaxLevels)
	}
	topic := make([]byte, 0, 128)
	for i := 0; i < longest; i++ {
		if i > 0 {
			topic = append(topic, '/')
		}
		if i < len(levels) && levels[i] != "+" {
			topic = append(topic, levels[i]...)
		} else {
			topic = append(topic, 0) // fresh: no valid pattern holds this byte
		}
		if i+1 < len(levels) || len(topic) == 0 {
			continue
		}
		best, ok := matching(patterns, topic)
		if !ok {
			return nil, 0, readable(patterns, string(topic))
		}
		if first == nil {
			first, qos = best.rule, best.qos
		}
		qos = min(qos, best.qos)
	}
	return first, qos, ""
}

// match is the first rule that matches a topic and the highest QoS of all that do.
type match struct {
	rule *rule
	qos  byte
}

func matching(patterns []bound, topic []byte) (m match, ok bool) {
	for i := range patterns {
		if b := &patterns[i]; mqtt.Match(b.pattern, topic) {
			if !ok {
				m, ok = match{b.rule, b.rule.qos}, true
			}
			m.qos = max(m.qos, b.rule.qos)
		}
	}
	return m, ok
}

// readable puts a name that no pattern has there in place of each fresh level.
func readable(patterns []bound, topic string) string {
	levels := strings.Split(topic, "/")
	fresh := freshLevels(patterns, len(levels))
	for i, level := range levels {
		if level == "\x00" {
			levels[i] = fresh[i]
		}
	}
	return strings.Join(levels, "/")
}

// freshLevels gives for each of n levels a text that no pattern has there. It
// looks like its neighbours, for the reader of a refusal: pump-2 beside pump-1.
func freshLevels(patterns []bound, n int) []string {
	used := make([]map[string]bool, n)
	like := make([]string, n)
	for _, b := range patterns {
		i := 0
		for level := range strings.SplitSeq(b.pattern, "/") {
			if i == n {
				break
			}
			if used[i] == nil {
				used[i] = map[string]bool{}
			}
			used[i][level] = true
			if stem := strings.TrimRight(level, "0123456789"); like[i] == "" && stem != level && stem != "" && stem[0] != '$' {
				like[i] = stem
			}
			i++
		}
	}
	fresh := make([]string, n)
	for i := range fresh {
		stem := like[i]
		if stem == "" {
			fresh[i], stem = "other", "other-"
		} else {
			fresh[i] = stem + "1"
		}
		for k := 1; used[i][fresh[i]]; k++ {
			fresh[i] = stem + strconv.Itoa(k)
		}
	}
	return fresh
}

// intersect tells whether some topic name is matched by both of two valid filters,
// and gives one.
func intersect(a, b string) (topic string, meets bool) {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	if wild(as[0]) && strings.HasPrefix(bs[0], "$") || wild(bs[0]) && strings.HasPrefix(as[0], "$") {
		return "", false // MQTT-4.7.2-1
	}
	var out []string
	for i := 0; ; i++ {
		endA, endB := i == len(as), i == len(bs)
		switch {
		case endA && endB, endA && bs[i] == "#", endB && as[i] == "#":
			if topic = strings.Join(out, "/"); topic == "" {
				return "", false // both match the empty name only, which is no topic
			}
			return topic, true
		case endA || endB:
			return "", false
		case as[i] == "#":
			return finish(out, bs[i:]), true
		case bs[i] == "#":
			return finish(out, as[i:]), true
		case as[i] == "+" && bs[i] == "+":
			out = append(out, "other")
		case as[i] == "+":
			out = append(out, bs[i])
		case bs[i] == "+" || as[i] == bs[i]:
			out = append(out, as[i])
		default:
			return "", false
		}
	}
}

// overlap is intersect without the topic; it does not allocate.
func overlap(a, b string) bool {
	al, arest, amore := strings.Cut(a, "/")
	bl, brest, bmore := strings.Cut(b, "/")
	if wild(al) && strings.HasPrefix(bl, "$") || wild(bl) && strings.HasPrefix(al, "$") {
		return false // MQTT-4.7.2-1
	}
	for empty := true; ; {
		switch {
		case al == "#" || bl == "#":
			return true
		case al != bl && al != "+" && bl != "+":
			return false
		}
		empty = empty && (al == "" || bl == "")
		switch {
		case !amore && !bmore:
			return !empty
		case !amore:
			return brest == "#" && !empty
		case !bmore:
			return arest == "#" && !empty
		}
		empty = false // two levels or more: the name holds a separator
		al, arest, amore = strings.Cut(arest, "/")
		bl, brest, bmore = strings.Cut(brest, "/")
	}
}

func wild(level string) bool { return level == "+" || level == "#" }

// finish makes a topic from its first levels and the rest of a filter.
func finish(out, rest []string) string {
	for _, level := range rest {
		if wild(level) {
			level = "other"
		}
		out = append(out, level)
	}
	return strings.Join(out, "/")
}
