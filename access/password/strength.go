package password

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go/match"
	"github.com/ccojocar/zxcvbn-go/matching"
	"github.com/ccojocar/zxcvbn-go/scoring"
	"golang.org/x/text/unicode/norm"
)

const (
	// guessesPerSecond is the attacker that strength is measured against: somebody
	// who stole the stored forms and tries passwords against them on many cores at
	// once. It is the figure that zxcvbn uses for hashes that are slow on purpose.
	guessesPerSecond = 1e4

	// maxEstimated bounds what is handed to zxcvbn, in bytes, because its work grows
	// faster than the length. What follows can only make a password stronger.
	maxEstimated = 64

	maxAbout, maxAboutLen = 64, 64 // words about the person, and characters of each
)

// product is what every person here has in common.
const product = "holdfast"

// Strength is a meter for the page on which a password is chosen: a score from 0
// (anyone guesses it) to 4, how long guessing it would take in words, and what
// would make it stronger, one sentence without a full stop, or "" from score 3
// on. About is as for Check. It knows nothing of breaches and takes some
// milliseconds, so limit how often strangers may ask.
func Strength(s Secret, about []string) (score int, crackTime, hint string) {
	text, err := s.normal()
	if err != nil {
		return 0, wordsFor(0), "type a longer one, of letters, digits, punctuation and spaces"
	}
	defer clear(text)
	e := estimate(text, about)
	if e.score < 3 {
		hint = e.hint()
	}
	return e.score, e.time(), hint
}

// strength is how hard a password is to guess, and by what it would be guessed.
type strength struct {
	bits    float64 // of entropy
	score   int
	matches []match.Match
}

// estimate runs zxcvbn. It knows words and names in English only: words of other
// languages count as random letters, unless they are on a list of passwords, so
// the estimate for them is too high. Its own search for letters written as digits
// takes time that doubles with each such character, seconds for a hostile
// password, so two fixed readings of them stand in for it. Words written backwards
// and what stands twice are added to what it finds.
func estimate(text []byte, about []string) strength {
	plain := plainASCII(string(text))
	plain = plain[:min(len(plain), maxEstimated)]
	known := aboutWords(about)
	matches := matching.Omnimatch(plain, known, matching.FilterL33tMatcher)
	for _, reader := range []*strings.Replacer{leetI, leetL} {
		read := reader.Replace(plain)
		for _, m := range words(read, known) {
			if m.Token != plain[m.I:m.J+1] {
				m.Entropy++ // the choice to write it so
				matches = append(matches, m)
			}
		}
	}
	for _, m := range words(reversed(plain), known) {
		m.I, m.J = len(plain)-1-m.J, len(plain)-1-m.I
		m.Token = plain[m.I : m.J+1]
		m.Entropy++
		matches = append(matches, m)
	}
	matches = append(matches, repeats(plain)...)
	best := scoring.MinimumEntropyMatchSequence(plain, matches)
	e := strength{bits: best.Entropy, matches: best.MatchSequence}
	for _, limit := range []float64{1e2, 1e4, 1e6, 1e8} {
		if e.seconds() >= limit {
			e.score++
		}
	}
	return e
}

// The readings of digits and symbols as letters: each one byte for one byte, so
// that places in the reading are places in the password.
var (
	leetI = leet("i")
	leetL = leet("l")
)

func leet(one string) *strings.Replacer {
	return strings.NewReplacer("4", "a", "@", "a", "8", "b", "(", "c", "3", "e", "6", "g", "9", "g", "1", one, "!", one, "|", one,
		"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "%", "x", "2", "z")
}

// words finds dictionary words and nothing else.
func words(plain string, known []string) []match.Match {
	none := func(m match.Matcher) bool { return !slices.Contains(dictionaries, m.ID) }
	return matching.Omnimatch(plain, known, none)
}

var dictionaries = []string{"Passwords", "English", "MaleNames", "FemaleNames", "Surname"}

// repeats finds what was there before: zxcvbn sees "aaa" and not "abcabc". Who
// guesses the first needs only guess where the second comes from and ends.
func repeats(plain string) []match.Match {
	const least = 3
	var found []match.Match
	for j := 1; j+least <= len(plain); j++ {
		longest := 0
		for i := range j {
			n := 0
			for j+n < len(plain) && plain[i+n] == plain[j+n] {
				n++
			}
			longest = max(longest, n)
		}
		for n := least; n <= longest; n++ {
			found = append(found, match.Match{Pattern: "repeat", I: j, J: j + n - 1, Token: plain[j : j+n], Entropy: math.Log2(float64(j)) + math.Log2(float64(n))})
		}
	}
	return found
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// plainASCII makes one byte of every character, because zxcvbn mixes counts of
// bytes and of characters: accents fall away, and other characters become small
// letters in the order of their code points, so that repeats and sequences stay
// what they are.
func plainASCII(s string) string {
	var b strings.Builder
	for _, c := range norm.NFD.String(s) {
		switch {
		case c < utf8.RuneSelf:
			b.WriteByte(byte(c))
		case !unicode.Is(unicode.Mn, c):
			b.WriteByte(byte('a' + c%26))
		}
	}
	return b.String()
}

// aboutWords takes names and addresses apart: "Ada.Lovelace@example.com" gives
// itself, "ada", "lovelace", "adalovelaceexamplecom", "example". "com" would be
// as cheap to guess as any three letters, but three letters are kept: initials.
func aboutWords(about []string) []string {
	list := []string{product}
	add := func(w string) {
		if len(w) >= 3 && len(list) < maxAbout && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	for _, a := range about {
		if runes := []rune(a); len(runes) > maxAboutLen {
			a = string(runes[:maxAboutLen])
		}
		parts := strings.FieldsFunc(strings.ToLower(a), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) })
		for i := range parts {
			parts[i] = plainASCII(parts[i])
			add(parts[i])
		}
		add(strings.Join(parts, ""))
		add(plainASCII(strings.ToLower(a)))
	}
	return list
}

// seconds is the time after which half of the guesses that would be tried first
// have been made.
func (e strength) seconds() float64 { return math.Exp2(e.bits-1) / guessesPerSecond }

func (e strength) time() string { return wordsFor(e.seconds()) }

// wordsFor says a time as people say it.
func wordsFor(seconds float64) string {
	const minute, hour, day = 60.0, 3600.0, 86400.0
	switch {
	case seconds < 1:
		return "less than a second"
	case seconds >= 100*365*day:
		return "centuries"
	}
	for _, u := range []struct {
		name       string
		size, upTo float64
	}{
		{"second", 1, minute}, {"minute", minute, hour}, {"hour", hour, day}, {"day", day, 31 * day},
		{"month", 30.44 * day, 365 * day}, {"year", 365 * day, math.Inf(1)},
	} {
		if seconds < u.upTo {
			if n := int(seconds / u.size); n > 1 {
				return fmt.Sprintf("%d %ss", n, u.name)
			}
			return "1 " + u.name
		}
	}
	return "centuries"
}

// hint says what the cheapest way to guess the password is, and what to do.
func (e strength) hint() string {
	const instead = "use four or more unrelated words, or let a password manager make one"
	longest, why := 0, ""
	for _, m := range e.matches {
		n := m.J - m.I + 1
		if m.DictionaryName == userInputs {
			n = maxEstimated // tell this first
		}
		if n > longest {
			if w := reason(m); w != "" {
				longest, why = n, w
			}
		}
	}
	if why == "" {
		return "add one or two unrelated words to it, or let a password manager make one"
	}
	return why + "; " + instead
}

const userInputs = "user_inputs" // zxcvbn's name for the words about the person

// reason says in words what zxcvbn saw; "" for what it could only search through.
func reason(m match.Match) string {
	switch m.Pattern {
	case "dictionary":
		switch m.DictionaryName {
		case userInputs:
			return "names of yourself, your company or this product are the first thing that is tried"
		case "Passwords":
			return "it is built on a common password, and attackers try swapped letters and added digits too"
		case "English":
			return "common words are tried early"
		default:
			return "names are tried early"
		}
	case "spatial":
		return "rows of neighbouring keys are tried early"
	case "repeat":
		return "repetition adds little"
	case "sequence":
		return "sequences such as abcd or 4321 are tried early"
	case "date":
		return "dates are tried early"
	}
	return ""
}
