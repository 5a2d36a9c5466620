package policy

import "github.com/holdfast-iot/holdfast/policy/manifest"

// Operator is the audience that is there without a document and sees everything as it is.
const Operator = "operator"

// FieldRule says what happens to one marked field of a message for an audience.
type FieldRule struct {
	Path      string  // JSON pointer; * stands for every element or member
	Transform string  // whole, mask, hash, generalize or drop
	Keep      int     // mask: characters kept at the end
	Step      float64 // generalize: numbers become multiples of it
	Unit      string  // generalize: times are cut to year, month, day or hour
}

// Marked tells whether messages of a device type have fields that need protection.
func (s *Set) Marked(deviceType string) bool {
	d := s.types[deviceType]
	return d != nil && len(d.marks) > 0
}

// View says what an audience sees of messages from a device type; whole means
// everything, without rules. An audience that nobody declared sees no marked field.
func (s *Set) View(deviceType, audience string) (rules []FieldRule, whole bool) {
	if !s.Marked(deviceType) {
		return nil, true
	}
	views, known := s.audiences[audience]
	if !known && audience == Operator {
		return nil, true
	}
	for _, m := range s.types[deviceType].marks {
		v, ok := views[m.As]
		if !ok {
			v = manifest.View{Do: manifest.Dropped}
		}
		if v.Do != manifest.Whole {
			rules = append(rules, FieldRule{Path: m.Path, Transform: string(v.Do), Keep: v.Keep, Step: v.Step, Unit: v.Unit})
		}
	}
	return rules, len(rules) == 0
}
