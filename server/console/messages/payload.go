package messages

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// Bounds on what is shown of one payload.
const (
	maxJSON  = 16 << 10 // bytes that are laid out
	maxLines = 400
	maxDeep  = 24
	maxText  = 4 << 10
	maxHex   = 512
	maxLine  = 120 // characters of the line that a closed message shows
)

// shown is a message as it is shown.
type shown struct {
	*adminapi.TapMessage
	id    string
	form  string // JSON, text, binary, empty or hidden
	line  string // of it, for the closed message
	lines []jsonLine
	text  string // of what is no JSON
	more  int    // bytes that are not shown
}

// jsonLine is a line of a payload. Mark says what happened to the value on it.
type jsonLine struct {
	indent int
	text   string
	mark   string
}

// doings says what a view did to a field.
var doings = map[string]string{"mask": "masked", "hash": "replaced by a hash", "generalize": "rounded or left out", "drop": "left out"}

func doing(do string) string {
	if w := doings[do]; w != "" {
		return w
	}
	return do
}

// show works out how a message is shown; n tells messages of one page apart.
func show(m *adminapi.TapMessage, n int64) shown {
	s := shown{TapMessage: m, id: "tapped-" + strconv.FormatInt(n, 10)}
	switch p := m.Payload; {
	case m.Hidden != "":
		s.form, s.line = "hidden", "not shown"
	case len(p) == 0:
		s.form, s.line = "empty", "no payload"
	case len(p) <= maxJSON && (p[0] == '{' || p[0] == '[') && s.layOut():
		s.form, s.line = "JSON", clip(oneLine(string(p)), maxLine)
	case isText(p):
		s.form = "text"
		s.text = clip(string(p), maxText)
		s.more, s.line = len(p)-min(len(p), maxText), clip(oneLine(s.text), maxLine)
	default:
		s.form = "binary"
		s.text = strings.TrimRight(hex.Dump(p[:min(len(p), maxHex)]), "\n")
		s.more, s.line = len(p)-min(len(p), maxHex), clip(hex.EncodeToString(p[:min(len(p), maxLine/2)]), maxLine)
	}
	return s
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// isText tells whether people can read a payload.
func isText(p []byte) bool {
	return utf8.Valid(p) && !bytes.ContainsFunc(p, func(c rune) bool {
		return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' || c == utf8.RuneError
	})
}

// layOut writes JSON with one member on each line, and beside what a view rewrote
// what happened to it. It gives up on what is not JSON, too long or too deep.
func (s *shown) layOut() bool {
	l := layout{dec: json.NewDecoder(bytes.NewReader(s.Payload)), marks: map[string]string{}}
	l.dec.UseNumber()
	for _, m := range s.Marks {
		l.marks[m.Path] = m.Do
	}
	if l.value("", 0, "", true) != nil || l.dec.More() {
		return false
	}
	s.lines = l.lines
	return true
}

type layout struct {
	dec   *json.Decoder
	marks map[string]string
	lines []jsonLine
}

var errTooMuch = errors.New("laying out a payload: it is too long or too deep")

func (l *layout) put(indent int, text, mark string) error {
	if len(l.lines) == maxLines || indent > maxDeep {
		return errTooMuch
	}
	l.lines = append(l.lines, jsonLine{indent, text, mark})
	return nil
}

// value writes the next value, after its name. sure tells that path is the one it
// had when it was sent: what follows an element that was left out has moved.
func (l *layout) value(path string, indent int, name string, sure bool) error {
	t, err := l.dec.Token()
	if err != nil {
		return err
	}
	mark := ""
	if do, ok := l.marks[path]; ok && sure {
		mark = doing(do)
	}
	open, ok := t.(json.Delim)
	if !ok {
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		return l.put(indent, name+readable(text), mark)
	}
	end := map[json.Delim]string{'{': "}", '[': "]"}[open]
	if !l.dec.More() && len(l.gone(path, nil)) == 0 {
		l.dec.Token()
		return l.put(indent, name+open.String()+end, mark)
	}
	if err := l.put(indent, name+open.String(), mark); err != nil {
		return err
	}
	if err := l.members(open, path, indent+1, sure); err != nil {
		return err
	}
	if _, err := l.dec.Token(); err != nil {
		return err
	}
	return l.put(indent, end, "")
}

func (l *layout) members(open json.Delim, path string, indent int, sure bool) error {
	var there []string
	gone := l.gone(path, nil)
	if open == '[' {
		sure = sure && len(gone) == 0
	}
	for i := 0; l.dec.More(); i++ {
		name, label := strconv.Itoa(i), ""
		if open == '{' {
			t, err := l.dec.Token()
			if err != nil {
				return err
			}
			name, _ = t.(string)
			text, err := json.Marshal(name)
			if err != nil {
				return err
			}
			label = readable(text) + ": "
			there = append(there, name)
		}
		if err := l.value(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), indent, label, sure); err != nil {
			return err
		}
		if l.dec.More() {
			l.lines[len(l.lines)-1].text += ","
		}
	}
	if open == '[' {
		for _, at := range gone {
			if err := l.put(indent, "element "+at, doings["drop"]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range l.gone(path, there) {
		if !sure {
			break
		}
		text, _ := json.Marshal(name)
		if err := l.put(indent, readable(text), doings["drop"]); err != nil {
			return err
		}
	}
	return nil
}

// gone are the members of a path that were left out: those marked so, that are not
// there.
func (l *layout) gone(path string, there []string) (names []string) {
	for at, do := range l.marks {
		parent, name, ok := cutLast(at)
		if ok && parent == path && do == "drop" && !slices.Contains(there, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cutLast parts a JSON pointer into its parent and the name of the last member.
func cutLast(pointer string) (parent, name string, ok bool) {
	i := strings.LastIndexByte(pointer, '/')
	if i < 0 {
		return "", "", false
	}
	return pointer[:i], strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[i+1:]), true
}

// readable undoes what Go's encoder escapes for HTML: templates escape again.
func readable(text []byte) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}
