package audit

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Witness is the name and key a witness signs with.
type Witness struct {
	Name   string
	Signer crypto.Signer // Ed25519, used for nothing else
}

// Format prints the name only: a signer may be a bare private key.
func (w Witness) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "witness "+w.Name) }

// MarshalText gives the name only, to JSON too.
func (w Witness) MarshalText() ([]byte, error) { return []byte(w.Name), nil }

// WitnessState is what a witness remembers of one log: the newest tree it has cosigned, the zero value if none.
type WitnessState struct {
	Size int64
	Root Hash
}

// AddCheckpoint is a request to a witness (C2SP tlog-witness, add-checkpoint).
type AddCheckpoint struct {
	Old        int64  // size the log believes the witness cosigned last
	Proof      []Hash // consistency proof from Old to the checkpoint, up to 63 hashes
	Checkpoint []byte // signed note
}

const (
	maxProofLines = 63
	// MaxAddCheckpoint bounds the body of an add-checkpoint request, in bytes.
	MaxAddCheckpoint = MaxNote + maxProofLines*45 + 32
)

// Body encodes the request.
func (a AddCheckpoint) Body() []byte {
	b := strconv.AppendInt([]byte("old "), a.Old, 10)
	b = append(b, '\n')
	for _, h := range a.Proof {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), a.Checkpoint...)
}

// Origin returns the origin that the request's checkpoint claims, unverified: for finding which log's key and state
// to decide with.
func (a AddCheckpoint) Origin() string {
	origin, _, _ := bytes.Cut(a.Checkpoint, []byte("\n"))
	return string(origin)
}

// ParseAddCheckpoint reads a request body. The checkpoint in it is well-formed but not verified. The error is a
// [WitnessError] of kind [WitnessMalformed].
func ParseAddCheckpoint(body []byte) (AddCheckpoint, error) {
	if len(body) > MaxAddCheckpoint {
		return AddCheckpoint{}, malformed("the request has %d bytes, more than %d", len(body), MaxAddCheckpoint)
	}
	head, note, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return AddCheckpoint{}, malformed("no empty line is between the proof and the checkpoint")
	}
	first, rest, more := strings.Cut(string(head), "\n")
	text, ok := strings.CutPrefix(first, "old ")
	old, ok2 := parseSize(text)
	if !ok || !ok2 {
		return AddCheckpoint{}, malformed("the first line is not the word old and a size")
	}
	a := AddCheckpoint{Old: old, Checkpoint: bytes.Clone(note)}
	for more {
		var line string
		line, rest, more = strings.Cut(rest, "\n")
		h, ok := parseHash(line)
		if !ok || len(a.Proof) == maxProofLines {
			return AddCheckpoint{}, malformed("proof line %d is not a hash in base64 or is beyond the %d allowed", len(a.Proof)+1, maxProofLines)
		}
		a.Proof = append(a.Proof, h)
	}
	noteText, _, err := parseNote(note)
	if err == nil {
		_, err = parseCheckpoint(noteText)
	}
	if err != nil {
		return AddCheckpoint{}, malformed("the checkpoint does not parse: %v", err)
	}
	return a, nil
}

// WitnessKind is why a witness refuses.
type WitnessKind int

// The refusals of C2SP tlog-witness.
const (
	WitnessMalformed    WitnessKind = iota + 1 // the request is not well-formed, or its old size is above the new one
	WitnessUnknown                             // the origin is of no log the witness knows
	WitnessNotSigned                           // the log's key did not sign the checkpoint
	WitnessConflict                            // the old size is not what was cosigned last, or the same size has another root
	WitnessInconsistent                        // the proof does not verify: evidence of a rewritten log, worth keeping
)

// WitnessError is a refusal, with what the other side needs to know.
type WitnessError struct {
	Kind   WitnessKind
	Size   int64 // with WitnessConflict: the size cosigned last
	Detail string
}

func (e *WitnessError) Error() string { return "deciding on a checkpoint: " + e.Detail }

// Status returns the HTTP status code that C2SP tlog-witness gives the refusal.
func (e *WitnessError) Status() int {
	switch e.Kind {
	case WitnessUnknown:
		return 404
	case WitnessNotSigned:
		return 403
	case WitnessConflict:
		return 409
	case WitnessInconsistent:
		return 422
	default:
		return 400
	}
}

// Body returns the answer's content type and body: with a conflict the size cosigned last, else the sentence.
func (e *WitnessError) Body() (contentType string, body []byte) {
	if e.Kind == WitnessConflict {
		return "text/x.tlog.size", []byte(strconv.FormatInt(e.Size, 10) + "\n")
	}
	return "text/plain; charset=utf-8", []byte(e.Detail + "\n")
}

func malformed(format string, args ...any) *WitnessError {
	return &WitnessError{Kind: WitnessMalformed, Detail: fmt.Sprintf(format, args...)}
}

// DecideWitness decides one request. The log is the key known for the request's origin, the zero value if there is
// none, and state is what was stored for it. The answer is the cosignature line to send and the state to store.
//
// The caller stores next only if the stored state still equals state, atomically and durably, and sends the line only
// after that: a line sent before would let a crash or a second request make the witness sign two histories. The error
// is a [WitnessError] for every refusal; another error is the signer's.
func DecideWitness(state WitnessState, req AddCheckpoint, log PublicKey, witness Witness, now time.Time) (line []byte, next WitnessState, err error) {
	c, text, _, err := open(req.Checkpoint, log)
	switch {
	case errors.Is(err, ErrNote):
		return nil, state, malformed("the checkpoint does not parse: %v", err)
	case errors.Is(err, ErrOrigin):
		return nil, state, &WitnessError{Kind: WitnessUnknown, Detail: "the origin is of no log known here"}
	case err != nil:
		return nil, state, &WitnessError{Kind: WitnessNotSigned, Detail: "no signature of the log's key is on the checkpoint"}
	case req.Old > c.Size || req.Old < 0:
		return nil, state, malformed("the old size %d is above the checkpoint's %d", req.Old, c.Size)
	case req.Old != state.Size:
		return nil, state, &WitnessError{WitnessConflict, state.Size, fmt.Sprintf("the size cosigned last is %d", state.Size)}
	case req.Old == c.Size && c.Size > 0 && c.Root != state.Root:
		return nil, state, &WitnessError{WitnessConflict, state.Size, "another root was cosigned for the same size"}
	}
	oldRoot := state.Root
	if state.Size == 0 {
		oldRoot = EmptyRoot()
	}
	if err := CheckConsistency(req.Old, c.Size, oldRoot, c.Root, req.Proof); err != nil {
		return nil, state, &WitnessError{Kind: WitnessInconsistent, Detail: "the consistency proof does not verify"}
	}
	line, err = cosign(text, witness, now)
	if err != nil {
		return nil, state, err
	}
	return line, WitnessState{c.Size, c.Root}, nil
}
