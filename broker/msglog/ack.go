package msglog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// JetStream's error codes that matter here.
const (
	codeWrongLast         = 10071 // the expected sequence number is another
	codeWrongLastConstant = 10164
	codeDuplicateConflict = 10158 // the first with this id is under way
)

// ack is the answer to a publish.
type ack struct {
	seq   uint64
	dup   bool
	err   error // for good
	again bool  // for the moment
}

var (
	ackStart = []byte(`{"stream":"`)
	ackSeq   = []byte(`"seq":`)
	ackEnd   = []byte("}")
	ackDup   = []byte(`,"duplicate": true}`)
)

// parseAck reads a PubAck. The usual form, without an error, is read without
// allocating; all others as JSON.
func parseAck(msg *nats.Msg) ack {
	data := msg.Data
	if len(data) == 0 && msg.Header != nil { // 503: nobody leads the stream now
		return ack{again: true, err: fmt.Errorf("storing a message: the stream has no leader (status %s)", msg.Header.Get("Status"))}
	}
	if rest, ok := bytes.CutPrefix(data, ackStart); ok {
		if i := bytes.IndexByte(rest, '"'); i > 0 {
			rest = rest[i+1:]
			if i := bytes.Index(rest, ackSeq); i >= 0 && i < 128 {
				if seq, end, ok := digits(rest[i+len(ackSeq):]); ok && seq > 0 {
					switch {
					case bytes.Equal(end, ackEnd):
						return ack{seq: seq}
					case bytes.Equal(end, ackDup):
						return ack{seq: seq, dup: true}
					}
				}
			}
		}
	}
	return parseAckJSON(data)
}

func digits(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 19 && '0' <= b[i] && b[i] <= '9'; i++ {
		n = n*10 + uint64(b[i]-'0')
	}
	return n, b[i:], i > 0
}

func parseAckJSON(data []byte) ack {
	var a struct {
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
		Error     *apiError `json:"error"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return ack{err: errors.New("storing a message: the bus's answer cannot be read")}
	}
	switch {
	case a.Error == nil && a.Seq == 0:
		return ack{err: errors.New("storing a message: the bus's answer has no sequence number")}
	case a.Error == nil:
		return ack{seq: a.Seq, dup: a.Duplicate}
	case a.Error.ErrCode == codeWrongLast || a.Error.ErrCode == codeWrongLastConstant:
		return ack{err: ErrConflict}
	}
	again := a.Error.Code >= 500 || a.Error.ErrCode == codeDuplicateConflict
	return ack{err: fmt.Errorf("storing a message: %w", a.Error), again: again}
}

// apiError is JetStream's own.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// parseAckText returns the description of the error in a PubAck.
func parseAckText(data []byte) string {
	var a struct {
		Error apiError `json:"error"`
	}
	if json.Unmarshal(data, &a) != nil {
		return ""
	}
	return a.Error.Description
}
