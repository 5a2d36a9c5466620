package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// VerifyOptions is what a verifier brings from elsewhere than the export.
type VerifyOptions struct {
	Key       PublicKey   // of the log: the only thing that is trusted
	Witnesses []PublicKey // who may have cosigned the last checkpoint
	Quorum    int         // how many of them must have
	Earlier   [][]byte    // signed checkpoints of the log seen before: against a log that was rolled back or rewritten
}

// Report is what a verified export holds.
type Report struct {
	Checkpoint   Checkpoint    // the last one; its Size is the number of entries
	Checkpoints  int           // verified in the file, the last one included
	Earlier      int           // of the options, found to be of the same history
	Cosignatures []Cosignature // on the last checkpoint
	First, Last  time.Time     // of the first and the last event; zero when there is none
}

// VerifyKind is what is wrong with an export.
type VerifyKind string

// The kinds. Where entries are numbered anew to hide the deed, or the signed checkpoints leave it open, Changed covers
// everything that makes the root differ.
const (
	Malformed    VerifyKind = "malformed"     // not an export, or not of this format
	Changed      VerifyKind = "changed"       // an entry is not what was logged
	Removed      VerifyKind = "removed"       // entries are missing
	Reordered    VerifyKind = "reordered"     // entries are all there, in another order
	Inserted     VerifyKind = "inserted"      // entries were added or repeated
	Truncated    VerifyKind = "truncated"     // the file ends before its end
	WrongLog     VerifyKind = "wrong log"     // the export or a checkpoint is of another log than the key
	BadSignature VerifyKind = "bad signature" // a checkpoint is not signed by the key
	RolledBack   VerifyKind = "rolled back"   // the log signed a history that does not continue an earlier one it signed
	Unwitnessed  VerifyKind = "unwitnessed"   // too few witnesses cosigned the last checkpoint
)

// VerifyError is what [Verify] found.
type VerifyError struct {
	Kind   VerifyKind
	Line   int   // of the file, from 1; 0 when no line is to blame
	Index  int64 // the entry, or the first that may be meant; -1 when no entry is to blame
	Until  int64 // one after the last entry that may be meant; Index+1 when it is known exactly
	Detail string
}

func (e *VerifyError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("verifying the export: %s: line %d: %s", e.Kind, e.Line, e.Detail)
	}
	return fmt.Sprintf("verifying the export: %s: %s", e.Kind, e.Detail)
}

// known is a checkpoint given in the options.
type known struct {
	Checkpoint
	at int // its place in the options
}

type verification struct {
	in      *bufio.Reader
	opts    VerifyOptions
	header  ExportHeader
	line    int
	tree    running
	report  Report
	earlier []known
	passed  int   // how many of earlier have been compared
	good    int64 // size of the newest checkpoint that the entries agree with
	differs *VerifyError
	signed  []byte // the newest checkpoint of the file, nil when an entry follows it
}

// Verify checks a whole export against the log's public key, reading it once in memory logarithmic in its length. It
// recomputes the root from entry 0 and compares it with every signed checkpoint. The error is a [VerifyError] that
// names the kind and the place of the first fault, or the reader's error. An export that was cut back to one of its own
// earlier checkpoints is a true export of an earlier time: only a checkpoint in opts.Earlier, a witness's answer or the
// count in the first line tells it from the newest.
func Verify(r io.Reader, opts VerifyOptions) (Report, error) {
	v := &verification{in: bufio.NewReaderSize(r, MaxLine), opts: opts}
	if err := v.start(); err != nil {
		return Report{}, err
	}
	for {
		line, err := v.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Report{}, err
		}
		if bytes.HasPrefix(line, []byte(checkpointPrefix)) {
			err = v.checkpoint(line)
		} else {
			err = v.entry(line)
		}
		if err != nil {
			return Report{}, err
		}
	}
	if err := v.finish(); err != nil {
		return Report{}, err
	}
	return v.report, nil
}

func (v *verification) fault(kind VerifyKind, index, until int64, format string, args ...any) *VerifyError {
	return &VerifyError{kind, v.line, index, until, fmt.Sprintf(format, args...)}
}

// next returns the next line without its newline; io.EOF stands only after a whole line.
func (v *verification) next() ([]byte, error) {
	line, err := v.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return nil, io.EOF
	}
	v.line++
	switch {
	case errors.Is(err, io.EOF):
		return nil, v.fault(Truncated, v.tree.size, v.tree.size+1, "the file ends within a line")
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, v.fault(Malformed, -1, -1, "the line is longer than %d bytes", MaxLine)
	case err != nil:
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	return line[:len(line)-1], nil
}

func (v *verification) start() error {
	for i, signed := range v.opts.Earlier {
		c, err := Open(signed, v.opts.Key)
		if err != nil {
			return v.fault(kindOf(err), -1, -1, "earlier checkpoint %d: %v", i+1, err)
		}
		v.earlier = append(v.earlier, known{c, i + 1})
	}
	slices.SortStableFunc(v.earlier, func(a, b known) int { return cmp.Compare(a.Size, b.Size) })
	line, err := v.next()
	if errors.Is(err, io.EOF) {
		return v.fault(Truncated, -1, -1, "the file is empty")
	} else if err != nil {
		return err
	}
	if err := strictJSON(line, &v.header); err != nil || v.header.Format != ExportFormat {
		return v.fault(Malformed, -1, -1, "it is not the first line of an export of the format %s", ExportFormat)
	}
	if v.header.First != 0 || v.header.Count < 0 || v.header.Count > MaxSize {
		return v.fault(Malformed, -1, -1, "the export does not begin at entry 0, and only a whole one can be verified")
	}
	if v.header.Origin != v.opts.Key.Name() {
		return v.fault(WrongLog, -1, -1, "the export is of the log %q and the key is of %q", v.header.Origin, v.opts.Key.Name())
	}
	v.compareEarlier()
	return nil
}

func kindOf(err error) VerifyKind {
	switch {
	case errors.Is(err, ErrOrigin):
		return WrongLog
	case errors.Is(err, ErrSignature):
		return BadSignature
	case errors.Is(err, ErrWitnesses):
		return Unwitnessed
	default:
		return Malformed
	}
}

func (v *verification) entry(line []byte) error {
	index, leaf, ok := parseEntry(line)
	if !ok {
		return v.fault(Malformed, -1, -1, "it is neither an entry nor a checkpoint")
	}
	if index != v.tree.size {
		return v.disorder(index)
	}
	e, err := Decode(leaf)
	if err != nil {
		return v.fault(Changed, index, index+1, "entry %d is not what the log writes: %v", index, err)
	}
	if index == 0 {
		v.report.First = e.Time
	}
	v.report.Last = e.Time
	v.tree.add(leaf)
	v.signed = nil
	v.compareEarlier()
	return nil
}

// disorder names what made the index differ from the one expected, reading on as far as it takes and hashing nothing.
func (v *verification) disorder(got int64) error {
	want := v.tree.size
	if got < want {
		return v.fault(Inserted, got, got+1, "entry %d stands a second time", got)
	}
	at := v.fault(Removed, want, got, "entry %d stands where entry %d belongs", got, want)
	found, again := false, got >= v.header.Count
	for !found || !again {
		line, err := v.next()
		if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, new(*VerifyError)) {
			return err // nothing was read, so nothing can be said about what is missing
		}
		if err != nil {
			break // whatever is wrong further on, the first fault is here
		}
		index, _, ok := parseEntry(line)
		found = found || ok && index == want
		again = again || ok && index == got
	}
	switch {
	case found && again:
		at.Kind, at.Index, at.Until = Inserted, got, got+1
		at.Detail = fmt.Sprintf("an entry numbered %d was put before entry %d", got, want)
	case found:
		at.Kind, at.Until = Reordered, got+1
	case got == want+1:
		at.Detail = fmt.Sprintf("entry %d is missing", want)
	default:
		at.Detail = fmt.Sprintf("entries %d to %d are missing", want, got-1)
	}
	return at
}

func (v *verification) checkpoint(line []byte) error {
	var l checkpointLine
	if err := strictJSON(line, &l); err != nil {
		return v.fault(Malformed, -1, -1, "the checkpoint's line is not of the form {\"checkpoint\":\"…\"}")
	}
	signed := []byte(l.Checkpoint)
	c, err := Open(signed, v.opts.Key)
	if err != nil {
		return v.fault(kindOf(err), -1, -1, "%v", err)
	}
	if n := c.Size - v.tree.size; n != 0 {
		from, until := v.good, max(c.Size, v.tree.size)
		if v.differs != nil {
			until = v.differs.Until
		}
		if n > 0 {
			return v.fault(Removed, from, until, "the log signed %d entries and %d stand here: %d are missing, the first between %d and %d", c.Size, v.tree.size, n, from, until-1)
		}
		return v.fault(Inserted, from, until, "the log signed %d entries and %d stand here: %d were added, the first between %d and %d", c.Size, v.tree.size, -n, from, until-1)
	}
	v.compare(c, fmt.Sprintf("the checkpoint in line %d", v.line))
	v.signed, v.report.Checkpoint = signed, c
	v.report.Checkpoints++
	return nil
}

// compareEarlier compares the checkpoints of the options that are of the present size.
func (v *verification) compareEarlier() {
	for ; v.passed < len(v.earlier) && v.earlier[v.passed].Size == v.tree.size; v.passed++ {
		e := v.earlier[v.passed]
		v.compare(e.Checkpoint, fmt.Sprintf("earlier checkpoint %d", e.at))
	}
}

// compare notes whether the entries so far have the root of a checkpoint of their number. What a difference means is
// seen at the end: if the last checkpoint covers the entries, it is the log that changed, else the file.
func (v *verification) compare(c Checkpoint, name string) {
	switch {
	case v.differs != nil:
	case c.Root == v.tree.root():
		v.good = c.Size
	default:
		v.differs = v.fault(Changed, v.good, c.Size, "%s, of %d entries, is not of the entries %d to %d that stand here", name, c.Size, v.good, c.Size-1)
	}
}

func (v *verification) finish() error {
	size := v.tree.size
	if v.signed == nil {
		return v.fault(Truncated, size, size, "the file ends after %d entries without the checkpoint over them", size)
	}
	c := v.report.Checkpoint
	if c.Root != v.tree.root() {
		return v.differs
	}
	if v.differs != nil {
		v.differs.Kind = RolledBack
		v.differs.Detail = "the log signed two histories: " + v.differs.Detail
		return v.differs
	}
	if v.passed < len(v.earlier) {
		e := v.earlier[len(v.earlier)-1]
		return v.fault(RolledBack, size, e.Size, "the log had %d entries when it signed earlier checkpoint %d, and the export ends at %d", e.Size, e.at, size)
	}
	if v.header.Count > size {
		return v.fault(Truncated, size, v.header.Count, "the first line announces %d entries and the file ends after %d", v.header.Count, size)
	}
	if v.header.Count < size {
		return v.fault(Malformed, -1, -1, "the first line announces %d entries and the log signed %d", v.header.Count, size)
	}
	v.report.Earlier = len(v.earlier)
	_, cosignatures, err := VerifyWitnessed(v.signed, v.opts.Key, v.opts.Witnesses, v.opts.Quorum)
	if err != nil {
		return v.fault(kindOf(err), -1, -1, "%v", err)
	}
	v.report.Cosignatures = cosignatures
	return nil
}
