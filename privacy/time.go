package privacy

import "time"

// maxTime bounds the text of a time; one with nanoseconds and an offset has 35 bytes.
const maxTime = 64

// appendCut appends an RFC 3339 time as a JSON string, cut to the unit in UTC: an offset would tell about the place. It
// reports false when text is no such time or there is no unit.
func (u unit) appendCut(dst, text []byte) ([]byte, bool) {
	if u == noUnit || len(text) > maxTime {
		return dst, false
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return dst, false
	}
	t = t.UTC()
	y, m, d, h := t.Year(), t.Month(), t.Day(), t.Hour()
	switch u {
	case year:
		m, d, h = 1, 1, 0
	case month:
		d, h = 1, 0
	case day:
		h = 0
	}
	if y < 0 || y > 9999 {
		return dst, false
	}
	dst = append(dst, '"')
	dst = time.Date(y, m, d, h, 0, 0, 0, time.UTC).AppendFormat(dst, time.RFC3339)
	return append(dst, '"'), true
}
