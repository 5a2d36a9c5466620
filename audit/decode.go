package audit

import (
	"bytes"
	"fmt"
	"time"
)

// Decode reads a leaf. It accepts exactly what [Encode] writes: any other spelling of the same JSON, an unknown,
// missing or repeated field, or a byte too many is an error that wraps [ErrEvent]. So Encode(Decode(b)) equals b, and
// what a person reads is what the tree's hash covers.
func Decode(leaf []byte) (Event, error) {
	if len(leaf) > MaxLeaf {
		return Event{}, fmt.Errorf("decoding an event: %w", badEvent("it takes %d bytes, more than %d", len(leaf), MaxLeaf))
	}
	s := scanner{rest: leaf}
	var e Event
	e.ID = s.field(`{"id":`)
	stamp := s.field(`,"time":`)
	e.Node = s.field(`,"node":`)
	e.Actor.Kind = s.field(`,"actor":{"kind":`)
	e.Actor.ID = s.field(`,"id":`)
	e.Actor.Source = s.field(`,"source":`)
	e.Action = s.field(`},"action":`)
	e.Subject.Kind = s.field(`,"subject":{"kind":`)
	e.Subject.ID = s.field(`,"id":`)
	e.Outcome = Outcome(s.field(`},"outcome":`))
	e.Reason = s.field(`,"reason":`)
	e.Request = s.field(`,"request":`)
	e.Details = s.details()
	if s.err == nil && len(s.rest) > 0 {
		s.err = badEvent("bytes follow its end")
	}
	if s.err == nil {
		e.Time, s.err = parseTime(stamp)
	}
	if s.err == nil {
		s.err = check(&e)
	}
	if s.err != nil {
		return Event{}, fmt.Errorf("decoding an event: %w", s.err)
	}
	return e, nil
}

// scanner reads the fixed sequence of an event's fields; after the first error it reads nothing more.
type scanner struct {
	rest []byte
	err  error
}

func (s *scanner) literal(text string) {
	if s.err != nil {
		return
	}
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		s.err = badEvent("%s is not where it belongs", text)
		return
	}
	s.rest = s.rest[len(text):]
}

func (s *scanner) field(name string) string {
	s.literal(name)
	return s.text()
}

// text reads a quoted string in which only " and \ are escaped.
func (s *scanner) text() string {
	s.literal(`"`)
	if s.err != nil {
		return ""
	}
	end := bytes.IndexByte(s.rest, '"')
	if end >= 0 && bytes.IndexByte(s.rest[:end], '\\') < 0 {
		v := string(s.rest[:end])
		s.rest = s.rest[end+1:]
		return v
	}
	var v []byte
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.rest = s.rest[i+1:]
			return string(v)
		case '\\':
			i++
			if i == len(s.rest) || s.rest[i] != '"' && s.rest[i] != '\\' {
				s.err = badEvent(`an escape is neither \" nor \\`)
				return ""
			}
			v = append(v, s.rest[i])
		default:
			v = append(v, c)
		}
	}
	s.err = badEvent("a string has no end")
	return ""
}

func (s *scanner) details() map[string]string {
	s.literal(`,"details":{`)
	var details map[string]string
	last := ""
	for s.err == nil && len(s.rest) > 0 && s.rest[0] != '}' {
		if details == nil {
			details = make(map[string]string, 4)
		} else {
			s.literal(",")
		}
		k := s.text()
		v := s.field(":")
		if s.err == nil && (k <= last || len(details) == MaxDetails) {
			s.err = badEvent("the details are unsorted, repeated or more than %d", MaxDetails)
		}
		if s.err == nil {
			details[k], last = v, k
		}
	}
	s.literal("}}")
	return details
}

const timeForm = "2006-01-02T15:04:05.000000Z"

// parseTime reads what appendTime writes and nothing else: time.Parse alone would take a comma for the point.
func parseTime(stamp string) (time.Time, error) {
	if len(stamp) != len(timeForm) {
		return time.Time{}, badEvent("the time is not of the form %s", timeForm)
	}
	t, err := time.ParseInLocation(timeForm, stamp, time.UTC)
	if err != nil || t.Format(timeForm) != stamp {
		return time.Time{}, badEvent("the time is not of the form %s", timeForm)
	}
	return t, nil
}
