package password

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

const (
	// MaxListEntries bounds the lines of an operator's list. Each password takes 8
	// bytes of memory, so at most 80 MB, and a little more than twice that while
	// the list is read.
	MaxListEntries = 10_000_000

	maxLine      = 1024 // bytes of a line of a list
	minListed    = 8    // characters: nothing shorter can be a password, or the core of one
	maxTrimmed   = 6    // characters around a core
	compactBits  = 38   // of each hash in the compact form
	compactMagic = "holdfast passwords 1\n"
)

// Filter holds passwords that are known to attackers, as the first bits of their
// SHA-1: the hash that lists of breached passwords are published in. It hides
// nothing and needs no strength; a chance hit only refuses a password that was
// not listed, less than once in 30,000 for the embedded list, and never in practice
// for an operator's. The zero Filter holds nothing. A Filter may be used
// from several goroutines.
type Filter struct{ sets []set }

// set is the first 64-drop bits of hashes, sorted, each once.
type set struct {
	keys []uint64
	drop uint
}

// Len counts the entries.
func (f Filter) Len() int {
	n := 0
	for _, s := range f.sets {
		n += len(s.keys)
	}
	return n
}

// Filters joins filters.
func Filters(fs ...Filter) Filter {
	var all Filter
	for _, f := range fs {
		all.sets = append(all.sets, f.sets...)
	}
	return all
}

func hash64(text []byte) uint64 {
	sum := sha1.Sum(text)
	return binary.BigEndian.Uint64(sum[:8])
}

// holds tells whether a normalized password, or what attackers would make it
// from, is listed.
func (f Filter) holds(text []byte) bool {
	if len(f.sets) == 0 {
		return false
	}
	for _, v := range variants(text) {
		h := hash64(v)
		clear(v)
		for _, s := range f.sets {
			if _, found := slices.BinarySearch(s.keys, h>>s.drop); found {
				return true
			}
		}
	}
	return false
}

// variants are the texts under which a password is looked for: itself; in small
// letters; that without separators ("correct horse" is "correcthorse"); each of
// those with 1 to 6 digits and symbols fewer at its end ("trustno1" is in
// "trustno1!!"); and its core, with none at either end, if that takes 6 at most.
// Nothing of fewer than 8 characters is looked for. More than 6 are no mere
// decoration: what they are worth is for the strength rule to say.
func variants(text []byte) [][]byte {
	lower := bytes.ToLower(text)
	joined := bytes.Map(func(c rune) rune {
		if strings.ContainsRune(" -_.,", c) {
			return -1
		}
		return c
	}, lower)
	list := [][]byte{bytes.Clone(text)}
	add := func(v []byte) {
		if utf8.RuneCount(v) >= minListed && !slices.ContainsFunc(list, func(w []byte) bool { return bytes.Equal(v, w) }) {
			list = append(list, bytes.Clone(v))
		}
	}
	for _, v := range [][]byte{lower, joined} {
		add(v)
		trimmed := 0
		for ; trimmed < maxTrimmed; trimmed++ {
			c, size := utf8.DecodeLastRune(v)
			if size == 0 || isLetter(c) {
				break
			}
			v = v[:len(v)-size]
			add(v)
		}
		core := bytes.TrimLeftFunc(v, func(c rune) bool { return !isLetter(c) })
		if trimmed+utf8.RuneCount(v)-utf8.RuneCount(core) <= maxTrimmed {
			add(core)
		}
	}
	clear(lower)
	clear(joined)
	return list
}

func isLetter(c rune) bool { return unicode.IsLetter(c) || unicode.IsMark(c) }

// ReadList reads an operator's list of breached passwords, one on a line, in one
// of two forms that the first line decides: passwords as text, or their SHA-1 in
// hexadecimal with an optional ":count", as Have I Been Pwned publishes them. Of
// text, lines of fewer than 8 characters, lines that cannot be anybody's password
// here (not UTF-8, control characters) and lines that start with "#!comment:" are
// passed over; letter case is not kept. Errors name the line and do not repeat it.
func ReadList(r io.Reader) (Filter, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine+2), maxLine+2)
	var keys []uint64
	hashes, n := false, 0
	for lines.Scan() {
		line := bytes.TrimSuffix(lines.Bytes(), []byte{'\r'})
		if n++; n > MaxListEntries {
			return Filter{}, fmt.Errorf("reading the list of breached passwords: line %d: it has more lines than the %d that are allowed", n, MaxListEntries)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
			if isHash(line, 32) {
				return Filter{}, errors.New("reading the list of breached passwords: line 1: this looks like NTLM hashes; use the list of SHA-1 hashes")
			}
			hashes = isHash(line, 2*sha1.Size)
		}
		switch {
		case hashes && len(line) == 0:
		case hashes:
			if !isHash(line, 2*sha1.Size) {
				return Filter{}, fmt.Errorf("reading the list of breached passwords: line %d: it is not a SHA-1 hash with an optional :count, as line 1 is", n)
			}
			var sum [8]byte
			_, _ = hex.Decode(sum[:], line[:16]) // isHash looked at the digits
			keys = append(keys, binary.BigEndian.Uint64(sum[:]))
		default:
			if key, ok := listed(line); ok {
				keys = append(keys, key)
			}
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Filter{}, fmt.Errorf("reading the list of breached passwords: line %d: it has more than %d bytes", n+1, maxLine)
	case err != nil:
		return Filter{}, fmt.Errorf("reading the list of breached passwords: after line %d: %w", n, err)
	}
	return newFilter(keys, 0), nil
}

// isHash tells whether line is so many hexadecimal digits, then nothing or a
// colon and decimal digits.
func isHash(line []byte, digits int) bool {
	if len(line) < digits {
		return false
	}
	for _, c := range line[:digits] {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	rest := line[digits:]
	if len(rest) == 0 {
		// Thirty-two digits alone may be anything; forty are a hash.
		return digits == 2*sha1.Size
	}
	count, found := bytes.CutPrefix(rest, []byte{':'})
	return found && len(count) > 0 && len(bytes.Trim(count, "0123456789")) == 0
}

// listed is the key of a line of text.
func listed(line []byte) (uint64, bool) {
	if !utf8.Valid(line) || bytes.HasPrefix(line, []byte("#!comment:")) {
		return 0, false
	}
	text, err := precis.OpaqueString.Bytes(line)
	if err != nil || utf8.RuneCount(text) < minListed {
		return 0, false
	}
	return hash64(bytes.ToLower(text)), true
}

func newFilter(keys []uint64, drop uint) Filter {
	if len(keys) == 0 {
		return Filter{}
	}
	slices.Sort(keys)
	return Filter{sets: []set{{keys: slices.Clip(slices.Compact(keys)), drop: drop}}}
}

// WriteCompact writes a filter in the form in which a list is built into the
// program: a line that names the form, then the first 38 bits of each hash in
// rising order, as unsigned varints of the differences. The same entries give the
// same bytes. A filter that was already shortened is refused.
func (f Filter) WriteCompact(w io.Writer) error {
	var keys []uint64
	for _, s := range f.sets {
		if s.drop != 0 {
			return errors.New("writing a list of passwords: it was shortened before")
		}
		for _, k := range s.keys {
			keys = append(keys, k>>(64-compactBits))
		}
	}
	slices.Sort(keys)
	out := []byte(compactMagic)
	last := uint64(0)
	for i, k := range slices.Compact(keys) {
		if i > 0 || k > 0 {
			out = binary.AppendUvarint(out, k-last)
		}
		last = k
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("writing a list of passwords: %w", err)
	}
	return nil
}

// readCompact reads what WriteCompact wrote. A hash of nothing but zeros is left
// out by both: the difference zero stands for no entry.
func readCompact(data []byte) (Filter, error) {
	data, found := bytes.CutPrefix(data, []byte(compactMagic))
	if !found {
		return Filter{}, errors.New("reading a compact list of passwords: it does not start as one")
	}
	keys := make([]uint64, 0, len(data)/3)
	for last := uint64(0); len(data) > 0; {
		step, n := binary.Uvarint(data)
		if n <= 0 || step == 0 || step >= 1<<compactBits || last+step >= 1<<compactBits {
			return Filter{}, fmt.Errorf("reading a compact list of passwords: entry %d is damaged", len(keys)+1)
		}
		last += step
		keys = append(keys, last)
		data = data[n:]
	}
	return newFilter(keys, 64-compactBits), nil
}

//go:generate go run gen.go -o common.bin 10_million_password_list_top_1M.txt

//go:embed common.bin
var common []byte

var embedded = sync.OnceValue(func() Filter {
	f, err := readCompact(common)
	if err != nil {
		panic("password: the list that is built in: " + err.Error())
	}
	return f
})

// Embedded is the list that is built into the program: the passwords of 8
// characters and more among the million most common ones (README.md in this
// folder has source and licence). It takes 4 MB of memory from its first use.
func Embedded() Filter { return embedded() }
