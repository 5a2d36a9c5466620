package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Cosignature is a witness's word that, at a time, the checkpoint was the newest it knew of a log that had only grown.
type Cosignature struct {
	Witness PublicKey
	Time    time.Time // to the second, by the witness's clock
}

// ErrWitnesses says that too few of the witnesses asked for have cosigned.
var ErrWitnesses = errors.New("too few witnesses have cosigned the checkpoint")

const cosignatureBytes = 8 + ed25519.SignatureSize

// cosigned is the message of a cosignature (C2SP tlog-cosignature, "Ed25519 signed message").
func cosigned(text []byte, seconds uint64) []byte {
	b := strconv.AppendUint([]byte("cosignature/v1\ntime "), seconds, 10)
	return append(append(b, '\n'), text...)
}

// cosign returns a cosignature line for a note's text. Only [DecideWitness] calls it: a cosignature without its checks
// would be a lie.
func cosign(text []byte, witness Witness, now time.Time) ([]byte, error) {
	pub, err := publicOf(witness.Signer)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	key, err := NewWitnessKey(witness.Name, pub)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	if now.Unix() < 0 {
		return nil, errors.New("cosigning: the time is before 1970")
	}
	seconds := uint64(now.Unix())
	sig, err := sign(witness.Signer, cosigned(text, seconds))
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	return signatureLine(key, append(binary.BigEndian.AppendUint64(nil, seconds), sig...)), nil
}

// verifyCosignature reports whether a signature is the witness's on the text, and when it was made.
func verifyCosignature(text []byte, s signature, witness PublicKey) (time.Time, bool) {
	if !witness.Witness() || !witness.signed(s) || len(s.data) != cosignatureBytes {
		return time.Time{}, false
	}
	seconds := binary.BigEndian.Uint64(s.data)
	if seconds > 1<<62 || !ed25519.Verify(witness.key[:], cosigned(text, seconds), s.data[8:]) {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// VerifyWitnessed opens a checkpoint signed by the log and requires valid cosignatures of at least quorum different
// witnesses of the list. A wrong signature counts as none, so that whoever carries the checkpoint cannot spoil it by
// adding a line. The list must hold witness keys, each bare key once and not the log's. The cosignatures come back in
// the list's order with their times: how old a word may be is the caller's rule. The error wraps [ErrNote],
// [ErrOrigin], [ErrSignature] or [ErrWitnesses].
func VerifyWitnessed(signed []byte, log PublicKey, witnesses []PublicKey, quorum int) (Checkpoint, []Cosignature, error) {
	c, text, sigs, err := open(signed, log)
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("verifying a witnessed checkpoint: %w", err)
	}
	if quorum < 0 || quorum > len(witnesses) {
		return Checkpoint{}, nil, fmt.Errorf("verifying a witnessed checkpoint: a quorum of %d is not possible with %d witnesses: %w", quorum, len(witnesses), ErrWitnesses)
	}
	seen := map[[ed25519.PublicKeySize]byte]bool{log.key: true}
	var got []Cosignature
	for _, w := range witnesses {
		if seen[w.key] || !w.Witness() {
			return Checkpoint{}, nil, fmt.Errorf("verifying a witnessed checkpoint: the key of %q is not a witness's, is listed twice or is the log's: %w", w.name, ErrWitnesses)
		}
		seen[w.key] = true
		for _, s := range sigs {
			if t, ok := verifyCosignature(text, s, w); ok {
				got = append(got, Cosignature{w, t})
				break
			}
		}
	}
	if len(got) < quorum {
		return Checkpoint{}, nil, fmt.Errorf("verifying a witnessed checkpoint: %d of %d required: %w", len(got), quorum, ErrWitnesses)
	}
	return c, got, nil
}

// AddCosignatures adds the lines of a witness's answer that one of the keys verifies to a signed checkpoint. Lines of
// other keys, wrong ones and ones of witnesses already present are left out; an answer that adds nothing is an error
// that wraps [ErrWitnesses]. The answer may be as long as a note.
func AddCosignatures(signed, answer []byte, witnesses []PublicKey) ([]byte, error) {
	text, have, err := parseNote(signed)
	if err != nil {
		return nil, fmt.Errorf("adding cosignatures: %w", err)
	}
	if len(answer) > MaxNote {
		return nil, fmt.Errorf("adding cosignatures: the answer has %d bytes, more than %d: %w", len(answer), MaxNote, ErrNote)
	}
	lines, err := parseSignatures(answer)
	if err != nil {
		return nil, fmt.Errorf("adding cosignatures: %w", err)
	}
	out := bytes.Clone(signed)
	for _, w := range witnesses {
		present := false
		for _, s := range have {
			if _, ok := verifyCosignature(text, s, w); ok {
				present = true
			}
		}
		for _, s := range lines {
			if _, ok := verifyCosignature(text, s, w); ok && !present {
				out = append(out, s.line...)
				present = true
			}
		}
	}
	if len(out) == len(signed) {
		return nil, fmt.Errorf("adding cosignatures: %w", ErrWitnesses)
	}
	if _, _, err := parseNote(out); err != nil {
		return nil, fmt.Errorf("adding cosignatures: %w", err)
	}
	return out, nil
}
