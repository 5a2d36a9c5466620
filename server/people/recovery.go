package people

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Recovery codes: ten of 60 bits.
const (
	recoveryCodes = 10
	recoveryBytes = 10 // drawn for a code; 12 letters and digits of them are used
	recoveryChars = 12
	recoveryLow   = 2
)

// recoveryHash is how a code is stored: with the person, so that equal codes of
// two people do not look equal.
func recoveryHash(id access.PersonID, code string) [32]byte {
	return sha256.Sum256([]byte("recovery:" + string(id) + ":" + code))
}

// plainCode is a recovery code as it was typed, without what makes it readable.
func plainCode(code string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, code[:min(len(code), 64)])
}

// MakeRecoveryCodes replaces all recovery codes by ten new ones, which are never
// shown again. It takes a fresh factor.
func (p *People) MakeRecoveryCodes(ctx context.Context, in SignIn, at Where) ([]string, error) {
	if in.Stage != StageFull {
		return nil, wrongStage(in.Stage)
	}
	if err := p.fresh(in); err != nil {
		return nil, err
	}
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return nil, err
	}
	if second, err := p.hasSecond(ctx, person.ID, proofs); err != nil || !second {
		if err == nil {
			err = noFactor()
		}
		return nil, err
	}
	var codes []string
	var hashes [][32]byte
	for range recoveryCodes {
		text, err := p.random(recoveryBytes)
		if err != nil {
			return nil, err
		}
		text = text[:recoveryChars]
		hashes = append(hashes, recoveryHash(person.ID, text))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:])
	}
	if err := p.change(ctx, person, person, []sqlstore.PersonStep{sqlstore.SetRecoveryCodes(hashes)},
		p.event(self(person.ID, at), "person.recovery_codes_made", person.ID, "sign_in", in.ID)); err != nil {
		return nil, err
	}
	p.alarm(ctx, NoticeFactorAdded, person, at, "recovery codes")
	return codes, nil
}

// RecoveryCode spends a recovery code in place of the second factor.
func (p *People) RecoveryCode(ctx context.Context, in SignIn, code string, at Where) (Secret, SignIn, error) {
	if in.Stage != StageFactor {
		return Secret{}, SignIn{}, wrongStage(in.Stage)
	}
	left, _, err := p.cfg.Store.RecoveryCodes(ctx, in.Person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	hash := recoveryHash(in.Person.ID, plainCode(code))
	known, err := p.cfg.Store.HasRecoveryCode(ctx, in.Person.ID, hash)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	cookie, out, err := p.prove(ctx, in, ByRecovery, at, func(access.Person, sqlstore.Proofs) ([]sqlstore.PersonStep, error) {
		if !known {
			return nil, wrongCode()
		}
		return []sqlstore.PersonStep{sqlstore.UseRecoveryCode(hash, p.now())}, nil
	})
	if err == nil {
		left--
		p.alarm(ctx, NoticeRecoveryUsed, out.Person, at, fmt.Sprint(left))
		if left <= recoveryLow {
			p.alarm(ctx, NoticeRecoveryLow, out.Person, at, fmt.Sprint(left))
		}
	}
	return cookie, out, err
}
