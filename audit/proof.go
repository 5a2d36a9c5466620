package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ProofFormat is the format named in a portable proof.
const ProofFormat = "holdfast-proof/1"

// MaxProof bounds a portable proof, in bytes.
const MaxProof = 64 << 10

// Proof shows that one event is in the log, to somebody with nothing but the log's public key.
type Proof struct {
	Index      int64
	Leaf       []byte // as [Encode] wrote it
	Path       []Hash // inclusion path from the leaf to the checkpoint's root
	Checkpoint []byte // signed note
}

// proofJSON is the file's form, in this order of fields.
type proofJSON struct {
	Format     string          `json:"format"`
	Index      int64           `json:"index"`
	Leaf       json.RawMessage `json:"leaf"`
	Path       []string        `json:"path"`
	Checkpoint string          `json:"checkpoint"`
}

// Encode returns the proof as one line of JSON with the leaf unchanged inside.
func (p Proof) Encode() ([]byte, error) {
	if _, err := Decode(p.Leaf); err != nil {
		return nil, fmt.Errorf("encoding a proof: %w", err)
	}
	note, err := json.Marshal(string(p.Checkpoint))
	if err != nil {
		return nil, fmt.Errorf("encoding a proof: %w", err)
	}
	b := strconv.AppendInt([]byte(`{"format":"`+ProofFormat+`","index":`), p.Index, 10)
	b = append(append(append(b, `,"leaf":`...), p.Leaf...), `,"path":[`...)
	for i, h := range p.Path {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), h[:]), '"')
	}
	b = append(append(append(b, `],"checkpoint":`...), note...), "}\n"...)
	if len(b) > MaxProof {
		return nil, fmt.Errorf("encoding a proof: it takes %d bytes, more than %d", len(b), MaxProof)
	}
	return b, nil
}

// ParseProof reads what [Proof.Encode] writes. It verifies nothing.
func ParseProof(data []byte) (Proof, error) {
	if len(data) > MaxProof {
		return Proof{}, fmt.Errorf("parsing a proof: it has %d bytes, more than %d", len(data), MaxProof)
	}
	var j proofJSON
	if err := strictJSON(data, &j); err != nil {
		return Proof{}, fmt.Errorf("parsing a proof: %v", err)
	}
	if j.Format != ProofFormat || j.Index < 0 || j.Index >= MaxSize || len(j.Path) > maxPath {
		return Proof{}, errors.New("parsing a proof: it is not of the format " + ProofFormat + ", or its index or path is out of range")
	}
	p := Proof{Index: j.Index, Leaf: j.Leaf, Checkpoint: []byte(j.Checkpoint)}
	for i, text := range j.Path {
		h, ok := parseHash(text)
		if !ok {
			return Proof{}, fmt.Errorf("parsing a proof: hash %d of the path is not %d bytes in base64", i, HashSize)
		}
		p.Path = append(p.Path, h)
	}
	return p, nil
}

// VerifyProof checks that the log with that key signed a tree that holds the event, and returns both. The error wraps
// [ErrEvent], [ErrNote], [ErrOrigin], [ErrSignature], [ErrSize] or [ErrProof].
func VerifyProof(p Proof, key PublicKey) (Event, Checkpoint, error) {
	c, err := Open(p.Checkpoint, key)
	if err != nil {
		return Event{}, Checkpoint{}, fmt.Errorf("verifying a proof: %w", err)
	}
	if err := CheckInclusion(LeafHash(p.Leaf), p.Index, c.Size, p.Path, c.Root); err != nil {
		return Event{}, Checkpoint{}, fmt.Errorf("verifying a proof: %w", err)
	}
	e, err := Decode(p.Leaf)
	if err != nil {
		return Event{}, Checkpoint{}, fmt.Errorf("verifying a proof: %w", err)
	}
	return e, c, nil
}
