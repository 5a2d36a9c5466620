package audit

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/sentences"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// The store selects by actor, action, subject and time. Text, outcome and kinds of
// actors are looked for here, in this many entries for one page at most.
const (
	chunk     = 1000
	maxChunks = 10
)

// row is an entry in words.
type row struct {
	adminapi.Entry
	says sentences.Sentence
}

// query is a search as the address asks for it.
type query struct {
	filter  adminapi.AuditFilter
	text    string
	outcome string
	kind    string // of actors
	wrong   []string
	limit   int
}

// ranges are the lengths of time that can be chosen.
var ranges = []struct {
	key, label string
	length     time.Duration
}{
	{"15m", "Last 15 minutes", 15 * time.Minute},
	{"1h", "Last hour", time.Hour},
	{"24h", "Last 24 hours", 24 * time.Hour},
	{"7d", "Last 7 days", 7 * 24 * time.Hour},
	{"30d", "Last 30 days", 30 * 24 * time.Hour},
	{"90d", "Last 90 days", 90 * 24 * time.Hour},
}

var outcomes = []string{"success", "refused", "failed"}

// parse reads the filters of an address. What it cannot read is not applied, and
// said.
func parse(s ui.TableState, me access.PersonID, now time.Time) query {
	q := query{text: strings.ToLower(s.Filter("q")), limit: s.Limit}
	q.filter.Action = s.Filter("action")
	if a := strings.TrimSuffix(q.filter.Action, ".*"); strings.Trim(a, "abcdefghijklmnopqrstuvwxyz_.") != "" {
		q.wrong = append(q.wrong, "The action “"+q.filter.Action+"” is not one of the log.")
		q.filter.Action = ""
	}
	if o := s.Filter("outcome"); slices.Contains(outcomes, o) {
		q.outcome = o
	}
	switch who := s.Filter("who"); {
	case who == "me":
		q.filter.Actor = "person:" + string(me)
	case strings.HasPrefix(who, "any:"):
		q.kind = strings.TrimPrefix(who, "any:")
	default:
		q.filter.Actor = who
	}
	if q.filter.Subject = s.Filter("subject"); q.filter.Subject != "" && !strings.Contains(q.filter.Subject, ":") {
		q.filter.Subject = "device:" + q.filter.Subject
	}
	q.times(s, now)
	if n, err := strconv.ParseInt(s.After, 10, 64); err == nil && n > 0 {
		q.filter.Before = n
	}
	return q
}

func (q *query) times(s ui.TableState, now time.Time) {
	for _, r := range ranges {
		if r.key == s.Filter("range") {
			q.filter.Since = now.Add(-r.length)
		}
	}
	if text := s.Filter("from"); text != "" {
		at, day, ok := instant(text)
		if _ = day; ok {
			q.filter.Since = at
		} else {
			q.wrong = append(q.wrong, "The time “"+text+"” is not one: write such as 2030-01-31 or 2030-01-31T12:00:00Z.")
		}
	}
	if text := s.Filter("to"); text != "" {
		at, day, ok := instant(text)
		switch {
		case ok && day:
			q.filter.Until = at.AddDate(0, 0, 1)
		case ok:
			q.filter.Until = at
		default:
			q.wrong = append(q.wrong, "The time “"+text+"” is not one: write such as 2030-01-31 or 2030-01-31T12:00:00Z.")
		}
	}
}

// instant reads a day or a time, in UTC where it does not say otherwise.
func instant(text string) (at time.Time, day, ok bool) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, true, inYears(at)
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04"} {
		if at, err := time.Parse(form, text); err == nil {
			return at.UTC(), false, inYears(at)
		}
	}
	return time.Time{}, false, false
}

func inYears(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }

// local tells whether the store alone cannot answer.
func (q query) local() bool { return q.text != "" || q.outcome != "" || q.kind != "" }

func (q query) matches(r row) bool {
	e := r.Event
	if q.outcome != "" && e.Outcome != q.outcome || q.kind != "" && e.Actor.Kind != q.kind {
		return false
	}
	if q.text == "" || strings.Contains(strings.ToLower(r.says.Text()), q.text) {
		return true
	}
	fields := []string{e.Action, e.Actor.ID, e.Actor.Source, e.Subject.ID, e.Reason, e.Request, e.ID, e.Node}
	for k, v := range e.Details {
		fields = append(fields, k, v)
	}
	return ui.Matches(q.text, fields...)
}

// found is a page of a search.
type found struct {
	rows   []row
	next   string    // where to go on
	looked int       // entries that were read for it, when not all were shown
	until  time.Time // the oldest of them
}

// run searches. Where the store cannot select, at most chunks times 1,000 entries
// are read; next then leads on from there.
func (q query) run(r *ui.Request, n *sentences.Names, chunks int) (found, error) {
	var f found
	filter := q.filter
	filter.Limit = q.limit
	if q.local() {
		filter.Limit = chunk
	} else {
		chunks = 1
	}
	for range chunks {
		page, err := r.API.AuditEntries(r.Context(), filter)
		if err != nil {
			return f, err
		}
		for _, e := range page.Items {
			f.looked++
			f.until = e.Event.Time
			if one := (row{e, n.Of(e.Event)}); !q.local() || q.matches(one) {
				f.rows = append(f.rows, one)
			}
			if q.local() && len(f.rows) == q.limit {
				if e.Index > 0 {
					f.next = strconv.FormatInt(e.Index, 10)
				}
				return f, nil
			}
		}
		if page.Next == 0 {
			f.next = ""
			return f, nil
		}
		filter.Before = page.Next
		f.next = strconv.FormatInt(page.Next, 10)
	}
	return f, nil
}
