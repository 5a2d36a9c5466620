package password

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-iot/holdfast/refusal"
)

// weak is the cheapest cost that Validate allows.
var weak = Cost{Passes: 5, MemoryKiB: minMemoryKiB, Threads: 1}

// vectors were printed by the reference implementation's program:
// argon2 SALT -id -t … -m … -p … -l … -e
var vectors = []struct{ text, stored string }{
	{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$2mzTAI85jwP6+k/mHDeH3OgNt7E86G5W"},
	{"correct horse battery staple", "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$77UfmnZYT23WpPeUKhovauWm5OxRQv9nTf1dJ+tF5EY"},
	{"differentpassword", "$argon2id$v=19$m=256,t=1,p=1$c2FsdHNhbHRzYWx0$c5ni3Fxt98xBztcgUFPGH3OQwPVxx6jerDpaBJxYwbo"},
	{"pässwörd mit ümlaut", "$argon2id$v=19$m=8192,t=2,p=2$c29tZXNhbHQ$FNyaIzK5YRcf7oXF7Z0zTA"},
}

// foreign were printed by the same program for other variants and versions.
var foreign = []string{
	"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$lPDHmOTbbL/DCPkEffSNrhTyRIaXZdjg",
	"$argon2d$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$ReEHuG4L9Ou+SwRceEgNBmGI1j2cFDTc",
	"$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$RlX/Z4gx1KSwAvitiMPjLMj+LYNW8rX0",
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		p, err := parsePHC(v.stored)
		if err != nil {
			t.Fatalf("%s: %v", v.stored, err)
		}
		if ok, outdated := Verify(v.stored, New(v.text)); !ok || outdated != (p.cost != DefaultCost || len(p.salt) != saltLen || len(p.key) != keyLen) {
			t.Errorf("Verify(%s) = %v, %v", v.stored, ok, outdated)
		}
		if ok, outdated := Verify(v.stored, New(v.text+"x")); ok || outdated {
			t.Errorf("Verify(%s) of another password = %v, %v", v.stored, ok, outdated)
		}
	}
}

func TestHash(t *testing.T) {
	first, err := Hash(rand.Reader, New("correct horse battery staple"), weak)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Hash(rand.Reader, New("correct horse battery staple"), weak)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("two hashes of a password are the same")
	}
	if ok, outdated := weak.Verify(first, New("correct horse battery staple")); !ok || outdated {
		t.Errorf("weak.Verify = %v, %v", ok, outdated)
	}
	if ok, outdated := Verify(first, New("correct horse battery staple")); !ok || !outdated {
		t.Errorf("Verify of a form of another cost = %v, %v; want true, true", ok, outdated)
	}
	if ok, outdated := Verify(first, New("Correct horse battery staple")); ok || outdated {
		t.Errorf("Verify of another password = %v, %v", ok, outdated)
	}
	if _, err := Hash(iotest.ErrReader(errors.New("no entropy")), New("correct horse"), weak); err == nil {
		t.Error("Hash went on without random bytes")
	}
	if _, err := Hash(rand.Reader, New("bell\a"), weak); !refusal.Is(err, CodeCharacters) {
		t.Errorf("Hash of a control character: %v", err)
	}
	if DefaultCost.Memory() != 64<<20 || DefaultCost.Memory() > MaxMemory {
		t.Errorf("DefaultCost takes %d bytes", DefaultCost.Memory())
	}
}

func TestCostValidate(t *testing.T) {
	for _, c := range []Cost{DefaultCost, weak, {1, 47104, 1}, {2, 19456, 1}, {10, maxMemoryKiB, 16}} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []Cost{{}, {0, 65536, 1}, {11, 65536, 1}, {3, 65536, 0}, {3, 65536, 17}, {3, 4096, 1}, {3, maxMemoryKiB + 1, 1}, {1, 19456, 1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is allowed", c)
		}
		if _, err := Hash(rand.Reader, New("correct horse"), c); err == nil {
			t.Errorf("Hash takes %+v", c)
		}
	}
	Cost{}.Dummy(New("any")) // must not panic
}

// TestHostileForms are what somebody who can write a row could try.
func TestHostileForms(t *testing.T) {
	good := vectors[0].stored
	for _, stored := range append([]string{
		"",
		"$",
		"plain text",
		strings.Replace(good, "m=65536", "m=4294967295", 1),
		strings.Replace(good, "m=65536", "m=131073", 1),
		strings.Replace(good, "m=65536", "m=18446744073709551616", 1),
		strings.Replace(good, "m=65536", "m=7", 1),
		strings.Replace(good, "m=65536", "m=-1", 1),
		strings.Replace(good, "m=65536", "m=065536", 1),
		strings.Replace(good, "m=65536", "m=+65536", 1),
		strings.Replace(good, "m=65536", "65536", 1),
		strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "t=2", "t=11", 1),
		strings.Replace(good, "t=2", "t=4294967295", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "p=1", "p=256", 1),
		strings.Replace(good, "p=1", "p=17", 1),
		strings.Replace(good, "m=65536,t=2", "t=2,m=65536", 1),
		strings.Replace(good, ",p=1", "", 1),
		strings.Replace(good, ",p=1", ",p=1,keyid=AA", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "$v=19", "", 1),
		strings.Replace(good, "c29tZXNhbHQ", "c29tZXNhbA", 1),            // 7 bytes of salt
		strings.Replace(good, "c29tZXNhbHQ", "c29tZXNhbHR", 1),           // bits after the last byte
		strings.Replace(good, "c29tZXNhbHQ", "c29tZXNhbHQ=", 1),          // padding
		strings.Replace(good, "c29tZXNhbHQ", "c29t\nZXNhbHQ", 1),         // a line break, which the decoder skips
		strings.Replace(good, "c29tZXNhbHQ", strings.Repeat("A", 88), 1), // 66 bytes
		good[:strings.LastIndex(good, "$")+1],
		good[:strings.LastIndex(good, "$")+1] + strings.Repeat("A", 20), // 15 bytes of key
		good + "$",
		" " + good,
		good + "\n",
		good + strings.Repeat("A", maxPHC),
	}, foreign...) {
		if _, err := parsePHC(stored); err == nil {
			t.Errorf("parsePHC takes %q", stored)
		}
	}
	if ok, outdated := weak.Verify(foreign[0], New("password")); ok || outdated {
		t.Error("Verify takes Argon2i")
	}
	if ok, _ := weak.Verify("", New("password")); ok {
		t.Error("Verify takes an empty form")
	}
}

func FuzzParsePHC(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.stored)
	}
	for _, s := range foreign {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		p, err := parsePHC(stored)
		if err != nil {
			return
		}
		if p.String() != stored {
			t.Fatalf("%q is read as %q", stored, p)
		}
		if p.cost.Memory() > MaxMemory || p.cost.Passes > maxPasses || p.cost.Threads > maxThreads {
			t.Fatalf("%q costs %+v", stored, p.cost)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		if _, err := Hash(rand.Reader, New("correct horse battery staple"), DefaultCost); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHashWeakest(b *testing.B) {
	for b.Loop() {
		if _, err := Hash(rand.Reader, New("correct horse battery staple"), weak); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistory is the most that Check costs under the default rules.
func BenchmarkHistory(b *testing.B) {
	var history []string
	for range DefaultRules().History {
		h, err := Hash(rand.Reader, New("an older password of theirs"), DefaultCost)
		if err != nil {
			b.Fatal(err)
		}
		history = append(history, h)
	}
	for b.Loop() {
		if err := Check(DefaultRules(), New("velvet orbit mango trench"), nil, Embedded(), history); err != nil {
			b.Fatal(err)
		}
	}
}
