package msglog

import (
	"fmt"
	"strings"
)

// The first token of the subjects: the log, what is live, retained messages and
// session rows.
const (
	inPrefix       = "in."
	outPrefix      = "out."
	retainedPrefix = "ret."
	sessionPrefix  = "ses."
)

// MaxSubject is the most bytes that a topic may have as a NATS subject. A NATS
// server refuses a protocol line above 4096 bytes (its max_control_line) by
// closing the connection; the rest of the line is the reply subject and sizes.
// Letters, digits, / and most signs count one byte, an escaped one (space, dot,
// %, *, >, control bytes, DEL) three.
const MaxSubject = 3800

const hexDigits = "0123456789ABCDEF"

// appendByte appends one byte of a topic level to a NATS token.
func appendByte(dst []byte, c byte) []byte {
	switch {
	case c <= ' ', c == 0x7f, c == '.', c == '*', c == '>', c == '%':
		return append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, c)
}

// appendTopic appends the tokens of a topic name: levels become tokens, an empty
// level a lone %, and what NATS does not take (or gives a meaning) %XX. Distinct
// topics have distinct subjects.
func appendTopic(dst []byte, topic string) []byte {
	start := len(dst)
	for i := range len(topic) {
		if topic[i] != '/' {
			dst = appendByte(dst, topic[i])
			continue
		}
		if len(dst) == start {
			dst = append(dst, '%')
		}
		dst = append(dst, '.')
		start = len(dst)
	}
	if len(dst) == start {
		dst = append(dst, '%')
	}
	return dst
}

// parseTopic is the reverse of appendTopic, for subjects without their prefix.
func parseTopic(subject string) (string, error) {
	plain := true
	for i := 0; i < len(subject); i++ {
		switch c := subject[i]; {
		case c == '%', c == '.':
			plain = false
		case c <= ' ', c == 0x7f, c == '*', c == '>', c == '/':
			return "", fmt.Errorf("reading the subject of a message: byte %#02x cannot be in one", c)
		}
	}
	if subject == "" || len(subject) > MaxSubject {
		return "", fmt.Errorf("reading the subject of a message: it has %d bytes, not 1 to %d", len(subject), MaxSubject)
	}
	if plain {
		return subject, nil
	}
	out := make([]byte, 0, len(subject))
	for i, token := 0, 0; i <= len(subject); i++ {
		switch {
		case i == len(subject) || subject[i] == '.':
			if i == token {
				return "", fmt.Errorf("reading the subject of a message: it has an empty token")
			}
			if i < len(subject) {
				out = append(out, '/')
			}
			token = i + 1
		case subject[i] != '%':
			out = append(out, subject[i])
		case i == token && (i+1 == len(subject) || subject[i+1] == '.'): // an empty level
		default:
			c, ok := unescape(subject[i:])
			if !ok {
				return "", fmt.Errorf("reading the subject of a message: it has a wrong escape")
			}
			out = append(out, c)
			i += 2
		}
	}
	return string(out), nil
}

// unescape reads %XX, and only in the one form that appendByte writes.
func unescape(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, lo := strings.IndexByte(hexDigits, s[1]), strings.IndexByte(hexDigits, s[2])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	c := byte(hi<<4 | lo)
	return c, len(appendByte(nil, c)) == 3
}

// topicSubject returns the subject of a topic.
func topicSubject(prefix, topic string) (string, error) {
	b := appendTopic(append(make([]byte, 0, len(prefix)+len(topic)+16), prefix...), topic)
	if len(b)-len(prefix) > MaxSubject {
		return "", fmt.Errorf("mapping a topic of %d bytes to a subject: %w", len(topic), ErrTopicTooLong)
	}
	return string(b), nil
}

// filterSubjects returns the subjects that together match what a topic filter
// matches: one, or two for a filter such as a/# that also matches a. Topics that
// begin with $ are matched by a first + or # too; sort them out by [mqtt.Match].
func filterSubjects(prefix, filter string) []string {
	if filter == "#" {
		return []string{prefix + ">"}
	}
	parent, multi := strings.CutSuffix(filter, "/#")
	b := []byte(prefix)
	for i, level := range strings.Split(parent, "/") {
		if i > 0 {
			b = append(b, '.')
		}
		if level == "+" {
			b = append(b, '*')
		} else {
			b = appendTopic(b, level)
		}
	}
	if multi {
		return []string{string(b), string(b) + ".>"}
	}
	return []string{string(b)}
}

// interestLevels is how many levels of a filter a subscription between nodes
// names at most: few subscriptions, a little more traffic.
const interestLevels = 3

// interestSubjects returns the subjects to subscribe to for a filter.
func interestSubjects(filter string) []string {
	levels := strings.Split(filter, "/")
	n := 0
	for n < len(levels) && n < interestLevels && levels[n] != "+" && levels[n] != "#" {
		n++
	}
	if n == 0 {
		return []string{outPrefix + ">"}
	}
	b := appendTopic([]byte(outPrefix), strings.Join(levels[:n], "/"))
	switch {
	case len(b) > MaxSubject:
		return []string{outPrefix + ">"}
	case n == len(levels):
		return []string{string(b)}
	case n == len(levels)-1 && levels[n] == "#":
		return []string{string(b), string(b) + ".>"}
	}
	return []string{string(b) + ".>"}
}
