package password

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

func hashed(t testing.TB, text string, c Cost) string {
	t.Helper()
	h, err := Hash(rand.Reader, New(text), c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCheck(t *testing.T) {
	with := func(change func(*Rules)) Rules {
		r := DefaultRules()
		change(&r)
		return r
	}
	list, err := ReadList(strings.NewReader("zanzibar-lighthouse\nCorrectHorseBattery\n"))
	if err != nil {
		t.Fatal(err)
	}
	about := []string{"Ada Lovelace", "ada.lovelace@waterworks.example", "Northern Waterworks Ltd"}
	old := []string{hashed(t, "velvet orbit mango trench", weak), "", "damaged", hashed(t, "gravel tulip piston ferry", weak)}
	complex := with(func(r *Rules) { r.MinUpper, r.MinLower, r.MinDigits, r.MinSymbols = 1, 1, 2, 1 })
	for _, c := range []struct {
		name, text string
		rules      Rules
		code       string
		says       []string
	}{
		{"a passphrase", "velvet orbit mango bridge", DefaultRules(), "", nil},
		{"a manager's password", "k7#Vq2!mZx9@Lp", DefaultRules(), "", nil},
		{"another alphabet", "вишнёвый трактор поёт", DefaultRules(), "", nil},
		{"the longest", strings.Repeat("q8-Kz", 25) + "abc", DefaultRules(), "", nil},
		{"empty", "", DefaultRules(), CodeTooShort, []string{"empty"}},
		{"short", "k7#Vq2!mZx9", DefaultRules(), CodeTooShort, []string{"12 characters", "four or more unrelated words"}},
		{"short in characters, not in bytes", "пароль-даёт", DefaultRules(), CodeTooShort, nil},
		{"long", strings.Repeat("q8-Kz", 25) + "abcd", DefaultRules(), CodeTooLong, []string{"at most 128"}},
		{"very long", strings.Repeat("q8-Kz", 100_000), DefaultRules(), CodeTooLong, nil},
		{"a control character", "velvet orbit\tmango", DefaultRules(), CodeCharacters, nil},
		{"breached, embedded", "qwertyuiop123456789", DefaultRules(), CodeBreached, []string{"stolen elsewhere"}},
		{"breached core", "Chocolate2024!", DefaultRules(), CodeBreached, nil},
		{"breached with spaces", "correct horse - battery!", DefaultRules(), CodeBreached, nil},
		{"on the operator's list", "Zanzibar-Lighthouse", DefaultRules(), CodeBreached, nil},
		{"nearly on the operator's list", "!!zanzibar-lighthouse99", DefaultRules(), CodeBreached, nil},
		{"guessable: the product", "Holdfast-Holdfast-1", DefaultRules(), CodeGuessable, []string{"names of yourself", "four or more", "too easy to guess, in "}},
		{"guessable: the person", "lovelaceada!!", DefaultRules(), CodeGuessable, []string{"names of yourself"}},
		{"guessable: the company", "Waterw0rks2026", DefaultRules(), CodeGuessable, nil},
		{"guessable: repeats", "aaaaaaaaaaaaaaaa?bbbbbb", DefaultRules(), CodeGuessable, []string{"repetition"}},
		{"guessable: one word twice", "жаба-жаба-жаба", DefaultRules(), CodeGuessable, []string{"repetition"}},
		{"guessable: backwards", "drowssapnogardyeknom", DefaultRules(), CodeGuessable, []string{"common password"}},
		{"guessable, but strength is off", "aaaaaaaaaaaaaaaa?bbbbbb", with(func(r *Rules) { r.MinStrength = 0 }), "", nil},
		{"a person's name that is not theirs", "velvet charles mango bridge", DefaultRules(), "", nil},
		{"reused", "velvet orbit mango trench", DefaultRules(), CodeReused, []string{"last 10"}},
		{"reused, the last", "gravel tulip piston ferry", DefaultRules(), CodeReused, nil},
		{"reused, but older than the history", "gravel tulip piston ferry", with(func(r *Rules) { r.History = 3 }), "", nil},
		{"reused, and no history", "velvet orbit mango trench", with(func(r *Rules) { r.History = 0 }), "", nil},
		{"complex", "Velvet orbit 42 mango", complex, "", nil},
		{"not complex", "velvetorbitmango", complex, CodeComplexity, []string{"1 capital letter, 2 digits, 1 symbol"}},
		{"one missing", "VELVET ORBIT MANGO 42", complex, CodeComplexity, []string{"1 small letter in"}},
		{"longer rules", "velvet orbit mango", with(func(r *Rules) { r.MinLength = 20 }), CodeTooShort, []string{"20 characters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check(c.rules, New(c.text), about, Filters(Embedded(), list), old)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			r := refusal.As(err)
			if r == nil || r.Code != c.code || r.Kind != refusal.Invalid {
				t.Fatalf("Check = %v, want %s", err, c.code)
			}
			if r.Fix == "" || len(c.text) > 3 && strings.Contains(err.Error(), c.text) {
				t.Errorf("not a helpful sentence: %q", err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
	if err := Check(DefaultRules(), New("Chocolate2024! is what we drink"), nil, Filter{}, nil); err != nil {
		t.Errorf("without filter: %v", err)
	}
	if err := Check(Rules{}, New("velvet orbit mango bridge"), nil, Filter{}, nil); err == nil || refusal.As(err) != nil {
		t.Errorf("with the zero rules: %v", err)
	}
}

func TestRulesValidate(t *testing.T) {
	if err := DefaultRules().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Rules){
		"least length below":    func(r *Rules) { r.MinLength = 7 },
		"least length above":    func(r *Rules) { r.MinLength = 65 },
		"greatest length below": func(r *Rules) { r.MaxLength = 63 },
		"greatest length above": func(r *Rules) { r.MaxLength = 257 },
		"strength":              func(r *Rules) { r.MinStrength = 5 },
		"negative strength":     func(r *Rules) { r.MinStrength = -1 },
		"history":               func(r *Rules) { r.History = 25 },
		"negative history":      func(r *Rules) { r.History = -1 },
		"age below a day":       func(r *Rules) { r.MaxAge = time.Hour },
		"negative age":          func(r *Rules) { r.MaxAge = -1 },
		"age above":             func(r *Rules) { r.MaxAge = maxAge + 1 },
		"capitals":              func(r *Rules) { r.MinUpper = 9 },
		"digits":                func(r *Rules) { r.MinDigits = -1 },
		"sum":                   func(r *Rules) { r.MinLower, r.MinSymbols = 7, 6 },
	} {
		r := DefaultRules()
		change(&r)
		if r.Validate() == nil {
			t.Errorf("%s: %+v is allowed", name, r)
		}
	}
}

func TestExpired(t *testing.T) {
	set := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	r := DefaultRules()
	if r.Expired(set, set.AddDate(10, 0, 0)) {
		t.Error("a password expires without a rule")
	}
	r.MaxAge = 90 * 24 * time.Hour
	if r.Expired(set, set.Add(r.MaxAge-1)) || !r.Expired(set, set.Add(r.MaxAge)) {
		t.Error("the age is measured wrongly")
	}
}

func TestStrength(t *testing.T) {
	for _, c := range []struct {
		text  string
		score int
		hint  string
	}{
		{"", 0, "type a longer one"},
		{"\a", 0, "type a longer one"},
		{"password", 0, "common password"},
		{"P@ssw0rd!!", 0, "common password"},
		{"holdfast", 0, "names of yourself"},
		{"qwertyuiop[]", 0, "neighbouring keys"},
		{"aaaaaaaaaaaa", 0, "repetition"},
		{"abcdefghijkl", 0, "sequences"},
		{"k7#Vq2!mZx9@Lp", 4, ""},
		{"velvet orbit mango bridge", 4, ""},
		{"вишнёвый трактор поёт", 4, ""},
	} {
		score, time, hint := Strength(New(c.text), nil)
		if score != c.score || !strings.Contains(hint, c.hint) || (hint == "") != (c.hint == "") || time == "" {
			t.Errorf("Strength(%q) = %d, %q, %q; want %d and %q", c.text, score, time, hint, c.score, c.hint)
		}
	}
	weaker, _, _ := Strength(New("waterworks pump 7"), []string{"Northern Waterworks", "pump-7@example.com"})
	stronger, _, _ := Strength(New("waterworks pump 7"), nil)
	if weaker >= stronger {
		t.Errorf("what others know of a person does not count: %d, %d without it", weaker, stronger)
	}
}

// TestStrengthBounded: only the start of a password is estimated, and only so
// many words about the person are looked at.
func TestStrengthBounded(t *testing.T) {
	long := strings.Repeat("4@8({[<369&#!1/|0$5+7%2", 12)[:maxCharacters]
	if e, whole := estimate([]byte(long[:maxEstimated]), nil), estimate([]byte(long), nil); e.bits != whole.bits || whole.score != 4 {
		t.Errorf("%d characters have %v bits, %d have %v", maxEstimated, e.bits, len(long), whole.bits)
	}
	about := make([]string, 1000)
	for i := range about {
		about[i] = strings.Repeat("x", i) + " y-z.w" + strings.Repeat("v", i)
	}
	if n := len(aboutWords(about)); n != maxAbout {
		t.Errorf("%d words about a person", n)
	}
}

func TestWordsFor(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "less than a second", 0.9: "less than a second", 1: "1 second", 59: "59 seconds", 60: "1 minute", 3599: "59 minutes",
		3600: "1 hour", 86400: "1 day", 86400 * 30: "30 days", 86400 * 31: "1 month", 86400 * 200: "6 months", 86400 * 365: "1 year",
		86400 * 365 * 99: "99 years", 86400 * 365 * 100: "centuries", 1e300: "centuries",
	} {
		if got := wordsFor(seconds); got != want {
			t.Errorf("%g seconds are %q, want %q", seconds, got, want)
		}
	}
}

// FuzzStrength hands zxcvbn what strangers may type.
func FuzzStrength(f *testing.F) {
	for _, s := range []string{"password", "Pa\u0308ssw0rd1984", "4@8({[<369&#!1/|0$5+7%2", "qwertzuiop", "13.5.1991", "abcabcabc", "вишня", "\U0001f40e\U0001f40e\U0001f40e", "İİİ ſſſ", "aaaaaaaaaaK"} {
		f.Add(s, "Ada Lovelace <ada@example.com>")
	}
	f.Fuzz(func(t *testing.T, text, about string) {
		score, time, hint := Strength(New(text), []string{about})
		if score < 0 || score > 4 || time == "" || score < 3 && hint == "" {
			t.Fatalf("Strength(%q) = %d, %q, %q", text, score, time, hint)
		}
	})
}

func BenchmarkStrength(b *testing.B) {
	for name, text := range map[string]string{
		"passphrase": "velvet orbit mango bridge",
		"hostile":    strings.Repeat("4@8({[<369&#!1/|0$5+7%2", 12)[:maxCharacters],
		"words":      strings.Repeat("correcthorse", 22)[:maxCharacters],
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Strength(New(text), []string{"Ada Lovelace", "ada.lovelace@waterworks.example"})
			}
		})
	}
}
