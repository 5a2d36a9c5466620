package password

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost is what one Argon2id hash costs (RFC 9106 section 3.1).
type Cost struct {
	Passes    uint32 // over the memory: 1 to 10
	MemoryKiB uint32 // 7168 to 131072
	Threads   uint8  // 1 to 16
}

// DefaultCost is the second recommended option of RFC 9106 section 4.
var DefaultCost = Cost{Passes: 3, MemoryKiB: 64 << 10, Threads: 4}

// MaxMemory is the most memory, in bytes, that Hash or Verify takes for its
// blocks, whatever cost a stored form asks for.
const MaxMemory = maxMemoryKiB << 10

const (
	maxPasses    = 10
	maxThreads   = 16
	minMemoryKiB = 7 << 10
	maxMemoryKiB = 128 << 10
	// minWork is the least MemoryKiB × Passes: the weakest of the settings that
	// OWASP's Password Storage Cheat Sheet holds to be equal in strength.
	minWork = 35 << 10

	saltLen, keyLen       = 16, 32
	minSaltLen, minKeyLen = 8, 16
	maxSaltLen, maxKeyLen = 64, 64
	maxPHC                = 256 // bytes of a stored form
)

// Memory is what one Hash or Verify at this cost takes for its blocks, in bytes.
// A caller that runs at most n at once needs n times this.
func (c Cost) Memory() int64 { return int64(c.MemoryKiB) << 10 }

// Validate tells whether new passwords may be hashed at this cost.
func (c Cost) Validate() error {
	switch {
	case c.Passes < 1 || c.Passes > maxPasses:
		return fmt.Errorf("checking the cost of a password: passes must be 1 to %d", maxPasses)
	case c.Threads < 1 || c.Threads > maxThreads:
		return fmt.Errorf("checking the cost of a password: threads must be 1 to %d", maxThreads)
	case c.MemoryKiB < minMemoryKiB || c.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("checking the cost of a password: memory must be %d to %d KiB", minMemoryKiB, maxMemoryKiB)
	case c.MemoryKiB*c.Passes < minWork:
		return fmt.Errorf("checking the cost of a password: memory in KiB times passes must be %d or more", minWork)
	}
	return nil
}

func (c Cost) key(text, salt []byte, length uint32) []byte {
	return argon2.IDKey(text, salt, c.Passes, c.MemoryKiB, c.Threads, length)
}

// Hash returns the stored form of a password: an Argon2id PHC string with 16
// random bytes of salt. It does not apply Rules: call Check first. A password
// that cannot be normalized is refused as Check would.
func Hash(random io.Reader, s Secret, cost Cost) (string, error) {
	if err := cost.Validate(); err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	text, err := s.normal()
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	defer clear(text)
	p := phc{cost: cost, salt: make([]byte, saltLen)}
	if _, err := io.ReadFull(random, p.salt); err != nil {
		return "", fmt.Errorf("hashing a password: reading random bytes for its salt: %w", err)
	}
	p.key = cost.key(text, p.salt, keyLen)
	return p.String(), nil
}

// Verify is DefaultCost.Verify.
func Verify(stored string, s Secret) (ok, outdated bool) { return DefaultCost.Verify(stored, s) }

// Verify tells whether s is the password that was stored, and, if it is, whether
// its form is not what Hash makes at cost c now, so that the caller stores a new
// one. A form that is empty or damaged answers no after as long as one at cost c
// would take, so that a stranger cannot tell who has no password.
func (c Cost) Verify(stored string, s Secret) (ok, outdated bool) {
	p, err := parsePHC(stored)
	if err != nil {
		c.Dummy(s)
		return false, false
	}
	text, err := s.normal()
	if err != nil {
		return false, false
	}
	defer clear(text)
	key := p.cost.key(text, p.salt, uint32(len(p.key)))
	if subtle.ConstantTimeCompare(key, p.key) != 1 {
		return false, false
	}
	return true, p.cost != c || len(p.salt) != saltLen || len(p.key) != keyLen
}

// Dummy takes as long as Verify of a form at cost c and answers nothing: call it
// for a person who does not exist.
func (c Cost) Dummy(s Secret) {
	if c.Validate() != nil {
		c = DefaultCost
	}
	text, err := s.normal()
	if err != nil {
		return // as Verify does, for a reason that lies in the password alone
	}
	defer clear(text)
	var salt [saltLen]byte
	clear(c.key(text, salt[:], keyLen))
}

// phc is a stored form, taken apart.
type phc struct {
	cost      Cost
	salt, key []byte
}

// String is the form of the PHC string format that the reference implementation
// of Argon2 prints: $argon2id$v=19$m=KiB,t=passes,p=threads$salt$key, the last two
// in base64 without padding.
func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.MemoryKiB, p.cost.Passes, p.cost.Threads, b64(p.salt), b64(p.key))
}

// parsePHC reads what String writes and nothing else: one text for one value. The
// cost may be lower than Validate allows, because forms from elsewhere and from
// earlier are verified before they are replaced, but never higher.
func parsePHC(stored string) (phc, error) {
	var p phc
	bad := func(what string) (phc, error) { return phc{}, fmt.Errorf("reading a stored password: %s", what) }
	if len(stored) > maxPHC {
		return bad("it is too long")
	}
	parts := strings.Split(stored, "$")
	if len(parts) != 6 {
		return bad("it does not have five parts")
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return bad("its cost does not have three parts")
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		v, err := strconv.ParseUint(strings.TrimPrefix(costs[i], name), 10, 32)
		if err != nil {
			return bad("its cost has a part that is not a number")
		}
		n[i] = v
	}
	m, t, threads := n[0], n[1], n[2]
	if t < 1 || t > maxPasses || threads < 1 || threads > maxThreads || m < 8*threads || m > maxMemoryKiB {
		return bad("its cost is out of range")
	}
	p.cost = Cost{Passes: uint32(t), MemoryKiB: uint32(m), Threads: uint8(threads)}
	var errSalt, errKey error
	p.salt, errSalt = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, errKey = base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errKey != nil {
		return bad("its salt or key is not base64")
	}
	if len(p.salt) < minSaltLen || len(p.salt) > maxSaltLen || len(p.key) < minKeyLen || len(p.key) > maxKeyLen {
		return bad("its salt or key has the wrong length")
	}
	if p.String() != stored {
		return bad("it is not written as Argon2id version 19 writes it")
	}
	return p, nil
}
