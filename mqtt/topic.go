package mqtt

import "strings"

// MaxLevels is the most levels a topic name or filter may have here; the standard sets no limit.
const MaxLevels = 128

// ValidTopic returns nil when name is a topic name that a message may carry (MQTT 5 section 4.7): 1 to 65535 bytes of UTF-8
// without wildcards, at most [MaxLevels] levels. Otherwise an [*Error] with code 0x90, or 0x81 when it is not a valid string.
func ValidTopic(name string) error {
	if err := checkTopic(name, "MQTT-4.7.0-1"); err != nil {
		return err
	}
	return checkText([]byte(name), true)
}

// checkTopic is ValidTopic for what is known to be UTF-8; rule is the statement that forbids wildcards here.
func checkTopic[T ~string | ~[]byte](name T, rule string) error {
	if len(name) == 0 {
		return refuse(TopicNameInvalid, "MQTT-4.7.3-1", "the topic name is empty")
	}
	if len(name) > MaxString {
		return refuse(TopicNameInvalid, "MQTT-4.7.3-3", "the topic name is longer than 65535 bytes")
	}
	levels := 1
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '/':
			levels++
		case '+', '#':
			return refuse(TopicNameInvalid, rule, "the topic name has a wildcard")
		}
	}
	if levels > MaxLevels {
		return refuse(TopicNameInvalid, "", "the topic name has more than 128 levels")
	}
	return nil
}

// Filter is a topic filter, taken apart.
type Filter struct {
	Share   string // name of the shared subscription; empty when it is not shared
	Pattern string // what topics are matched with
}

// ParseFilter takes a topic filter apart (MQTT 5 sections 4.7 and 4.8.2): $share/NAME/PATTERN is shared. Errors are an
// [*Error] with code 0x8F, or 0x81 when it is not a valid string.
func ParseFilter(filter string) (Filter, error) {
	if err := checkFilter(filter); err != nil {
		return Filter{}, err
	}
	if err := checkText([]byte(filter), true); err != nil {
		return Filter{}, err
	}
	return splitShare(filter)
}

// ValidFilter returns nil when [ParseFilter] would accept the filter, and else its error.
func ValidFilter(filter string) error {
	_, err := ParseFilter(filter)
	return err
}

// splitShare takes apart a filter that checkFilter accepted.
func splitShare(filter string) (Filter, error) {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		if filter == "$share" {
			return Filter{}, badFilter("MQTT-4.8.2-1", "a shared subscription has no name")
		}
		return Filter{Pattern: filter}, nil
	}
	name, pattern, _ := strings.Cut(rest, "/")
	switch {
	case name == "":
		return Filter{}, badFilter("MQTT-4.8.2-1", "a shared subscription has no name")
	case strings.ContainsAny(name, "+#"):
		return Filter{}, badFilter("MQTT-4.8.2-2", "the name of a shared subscription has a wildcard")
	case pattern == "":
		return Filter{}, badFilter("MQTT-4.8.2-2", "a shared subscription has no filter")
	}
	return Filter{Share: name, Pattern: pattern}, nil
}

func badFilter(rule, text string) error { return refuse(TopicFilterInvalid, rule, text) }

// checkFilter checks length, levels and where wildcards stand.
func checkFilter(filter string) error {
	if filter == "" {
		return badFilter("MQTT-4.7.3-1", "the topic filter is empty")
	}
	if len(filter) > MaxString {
		return badFilter("MQTT-4.7.3-3", "the topic filter is longer than 65535 bytes")
	}
	levels := 1
	for i := range len(filter) {
		first := i == 0 || filter[i-1] == '/'
		last := i+1 == len(filter)
		switch filter[i] {
		case '/':
			levels++
		case '#':
			if !first || !last {
				return badFilter("MQTT-4.7.1-1", "# is not the whole last level")
			}
		case '+':
			if !first || !last && filter[i+1] != '/' {
				return badFilter("MQTT-4.7.1-2", "+ is not a whole level")
			}
		}
	}
	if levels > MaxLevels {
		return badFilter("", "the topic filter has more than 128 levels")
	}
	return nil
}

// Match reports whether a valid filter, without its $share/NAME/, matches a valid topic name (MQTT 5 section 4.7). A filter
// that begins with a wildcard does not match a topic that begins with $ (MQTT-4.7.2-1). It does not allocate.
func Match[F, T ~string | ~[]byte](filter F, topic T) bool {
	if len(filter) == 0 || len(topic) == 0 || topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, t := 0, 0
	for { // both at the start of a level
		switch {
		case f < len(filter) && filter[f] == '#':
			return f+1 == len(filter)
		case f < len(filter) && filter[f] == '+':
			f++
			for t < len(topic) && topic[t] != '/' {
				t++
			}
		default:
			for ; f < len(filter) && filter[f] != '/'; f, t = f+1, t+1 {
				if t == len(topic) || topic[t] != filter[f] {
					return false
				}
			}
		}
		if t == len(topic) { // "a/#" matches "a" too
			return f == len(filter) || f+2 == len(filter) && filter[f] == '/' && filter[f+1] == '#'
		}
		if f == len(filter) || filter[f] != '/' || topic[t] != '/' {
			return false
		}
		f, t = f+1, t+1
	}
}
