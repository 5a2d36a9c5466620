package device

import "github.com/holdfast-iot/holdfast/refusal"

// Filter selects devices; empty fields select all. Fields are joined by AND.
type Filter struct {
	Type     TypeName
	Zone     ZoneName
	State    State
	Owner    string
	Serial   string
	IDPrefix string            // case-sensitive start of the id
	Labels   map[string]string // every pair must be present, at most 4
}

// Page bounds a listing: devices are listed by id, ascending.
type Page struct {
	After ID  // exclusive; empty starts at the beginning
	Limit int // 1 to MaxPage
}

// MaxPage is the longest page of a listing.
const MaxPage = 1000

// Validate checks the filter's values.
func (f *Filter) Validate() error {
	if f.State != "" {
		if _, err := ParseState(string(f.State)); err != nil {
			return err
		}
	}
	if f.IDPrefix != "" {
		if err := checkName("id prefix", f.IDPrefix, 64); err != nil && f.IDPrefix != "." && f.IDPrefix != ".." {
			return err
		}
	}
	if len(f.Labels) > 4 {
		return refusal.New(refusal.Invalid, "too-many-labels", "filter by at most 4 labels", "the filter names %d labels", len(f.Labels))
	}
	return ValidateLabels(f.Labels)
}
