package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/internal/durable"
)

// verification is what the flags of audit verify say.
type verification struct {
	key, state         string
	earlier, witnesses []string
	quorum             int
}

func auditVerify(a *app) *cobra.Command {
	var v verification
	cmd := &cobra.Command{Use: "verify FILE", Short: "Verify an export or a proof, offline, with the log's public key", Args: cobra.ExactArgs(1),
		Long: `Verify an export (audit export) or the proof of one event (audit prove), offline.
Only the key that you give is trusted. A log that was cut back to an earlier, true
state shows only against something newer that you kept: checkpoints given with
--earlier, or --state FILE, which remembers the last one verified.`,
		RunE: func(_ *cobra.Command, args []string) error { return a.verify(args[0], v) }}
	f := cmd.Flags()
	f.StringVar(&v.key, "key", "", "the log's public key (NAME+HASH+KEY), or a file that holds it")
	f.StringArrayVar(&v.earlier, "earlier", nil, "file with a signed checkpoint seen before, may be repeated")
	f.StringArrayVar(&v.witnesses, "witness", nil, "public key of a witness, or a file that holds it, may be repeated")
	f.IntVar(&v.quorum, "quorum", -1, "how many witnesses must have cosigned (default: all given)")
	f.StringVar(&v.state, "state", "", "file that remembers the last checkpoint verified; made when missing")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

func (a *app) verify(path string, v verification) error {
	opts, err := v.options()
	if err != nil {
		return err
	}
	var r io.Reader = a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("opening the export: %w", err)
		}
		defer f.Close()
		r = f
	}
	start := make([]byte, 64)
	n, err := io.ReadFull(r, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the export: %w", err)
	}
	whole := io.MultiReader(bytes.NewReader(start[:n]), r)
	if bytes.Contains(start[:n], []byte(audit.ExportFormat)) || n == 0 {
		return a.verifyExport(whole, opts, v)
	}
	return a.verifyProof(whole, opts, v)
}

// options reads keys and checkpoints.
func (v verification) options() (opts audit.VerifyOptions, err error) {
	if opts.Key, err = publicKey(v.key); err != nil {
		return opts, err
	}
	for _, w := range v.witnesses {
		key, err := publicKey(w)
		if err != nil {
			return opts, err
		}
		opts.Witnesses = append(opts.Witnesses, key)
	}
	if opts.Quorum = v.quorum; opts.Quorum < 0 {
		opts.Quorum = len(opts.Witnesses)
	}
	if opts.Quorum > len(opts.Witnesses) {
		return opts, &usageError{"--quorum is larger than the number of witnesses", "give more with --witness"}
	}
	for _, path := range v.earlier {
		signed, err := readSmall(path, audit.MaxLine)
		if err != nil {
			return opts, fmt.Errorf("reading an earlier checkpoint: %w", err)
		}
		opts.Earlier = append(opts.Earlier, signed)
	}
	if v.state != "" {
		signed, err := readSmall(v.state, audit.MaxLine)
		if err == nil {
			opts.Earlier = append(opts.Earlier, signed)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return opts, fmt.Errorf("reading the state: %w", err)
		}
	}
	return opts, nil
}

// publicKey takes a key, or a file that holds one.
func publicKey(text string) (audit.PublicKey, error) {
	key, err := audit.ParsePublicKey(text)
	if err == nil {
		return key, nil
	}
	data, fileErr := readSmall(text, 4096)
	if fileErr != nil {
		return key, &usageError{fmt.Sprintf("%q is neither a public key nor a file that can be read", text), "a key has the form NAME+HASH+KEY, as `holdfast audit checkpoint --key` prints it"}
	}
	key, err = audit.ParsePublicKey(strings.TrimSpace(string(data)))
	if err != nil {
		return key, fixing("a key has the form NAME+HASH+KEY, as `holdfast audit checkpoint --key` prints it", fmt.Errorf("reading the key in %s: %w", text, err))
	}
	return key, nil
}

// proven is what a verified export shows, for people and programs.
type proven struct {
	Log         string    `json:"log"`
	Entries     int64     `json:"entries"`
	Root        string    `json:"root"`
	First       time.Time `json:"first,omitzero"`
	Last        time.Time `json:"last,omitzero"`
	Checkpoints int       `json:"checkpoints"`
	Earlier     int       `json:"earlier"`
	Witnesses   []string  `json:"witnesses"`
}

func (a *app) verifyExport(r io.Reader, opts audit.VerifyOptions, v verification) error {
	tail := &lastLine{r: r}
	report, err := audit.Verify(tail, opts)
	if bad, ok := errors.AsType[*audit.VerifyError](err); ok {
		return notProven(bad)
	}
	if err != nil {
		return fmt.Errorf("verifying the export: %w", err)
	}
	if v.state != "" {
		if err := remember(v.state, tail, opts.Key, report.Checkpoint); err != nil {
			return err
		}
	}
	p := proven{Log: report.Checkpoint.Origin, Entries: report.Checkpoint.Size, Root: fmt.Sprintf("%x", report.Checkpoint.Root),
		First: report.First, Last: report.Last, Checkpoints: report.Checkpoints, Earlier: report.Earlier, Witnesses: []string{}}
	for _, c := range report.Cosignatures {
		p.Witnesses = append(p.Witnesses, c.Witness.Name()+" at "+when(c.Time))
	}
	if a.output != "table" {
		return a.encode(p)
	}
	fmt.Fprintf(a.out, "verified: %d entries of the log %s are complete, unchanged and in order\n", p.Entries, plain(p.Log))
	if !p.First.IsZero() {
		fmt.Fprintf(a.out, "  from %s to %s\n", when(p.First), when(p.Last))
	}
	fmt.Fprintf(a.out, "  the log's key signed this history, in %d checkpoints; the root is %s\n", p.Checkpoints, p.Root)
	for _, w := range p.Witnesses {
		fmt.Fprintf(a.out, "  cosigned by the witness %s\n", plain(w))
	}
	switch {
	case p.Earlier > 0:
		fmt.Fprintf(a.out, "  it continues %d checkpoints seen before\n", p.Earlier)
	case v.state != "":
		fmt.Fprintf(a.out, "  not checked against anything seen before: %s remembers it from now on\n", v.state)
	default:
		fmt.Fprintln(a.out, "  not checked against anything seen before: use --state FILE or --earlier to notice a rolled-back log")
	}
	return nil
}

// notProven says what to do about each kind of fault.
func notProven(e *audit.VerifyError) error {
	fix := "keep this file as evidence, and compare it with an export made earlier or by another server"
	switch e.Kind {
	case audit.WrongLog:
		fix = "use the public key of the log that this export is of"
	case audit.Truncated, audit.Malformed:
		fix = "make the export again; if that has the same fault, keep it as evidence"
	case audit.Unwitnessed:
		fix = "make the export again when the witnesses have cosigned, or lower --quorum"
	}
	return fixing(fix, fmt.Errorf("NOT verified, %s: %w", e.Kind, error(e)))
}

// remember keeps the last checkpoint of the export, for the next time. An error
// leaves the old state, which only makes the next check weaker, never wrong.
func remember(path string, tail *lastLine, key audit.PublicKey, want audit.Checkpoint) error {
	var line struct {
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(tail.line(), &line); err != nil {
		return fmt.Errorf("remembering the checkpoint: %w", err)
	}
	cp, err := audit.Open([]byte(line.Checkpoint), key)
	if err != nil || cp.Size != want.Size || cp.Root != want.Root {
		return errors.New("remembering the checkpoint: the last line is not the checkpoint that was verified")
	}
	return durable.WriteFile(path, []byte(line.Checkpoint), 0o600)
}

// lastLine passes a reader on and keeps the end of what went through.
type lastLine struct {
	r    io.Reader
	kept []byte // at most two lines' worth
}

func (l *lastLine) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.kept = append(l.kept, p[:n]...)
	if len(l.kept) > 4*audit.MaxLine {
		l.kept = append([]byte(nil), l.kept[len(l.kept)-2*audit.MaxLine:]...)
	}
	return n, err
}

func (l *lastLine) line() []byte {
	text := bytes.TrimRight(l.kept, "\n")
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

// verifyProof checks the proof of a single event.
func (a *app) verifyProof(r io.Reader, opts audit.VerifyOptions, v verification) error {
	if len(opts.Earlier) > 0 {
		return &usageError{"a proof of one event cannot be compared with earlier checkpoints", "leave out --state and --earlier, or verify an export"}
	}
	data, err := readBounded(r, "the proof", 1<<20)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	proof, err := audit.ParseProof(bytes.TrimSpace(data))
	if err != nil {
		return fixing("give a file that `holdfast audit export` or `holdfast audit prove` wrote", fmt.Errorf("NOT verified: %w", err))
	}
	event, cp, err := audit.VerifyProof(proof, opts.Key)
	if err == nil && len(opts.Witnesses) > 0 {
		_, _, err = audit.VerifyWitnessed(proof.Checkpoint, opts.Key, opts.Witnesses, opts.Quorum)
	}
	if err != nil {
		return fixing("check that the key is that of the log; if it is, keep the proof as evidence", fmt.Errorf("NOT verified: %w", err))
	}
	if a.output != "table" {
		return a.encode(struct {
			Log   string          `json:"log"`
			Index int64           `json:"index"`
			Size  int64           `json:"size"`
			Event json.RawMessage `json:"event"`
		}{cp.Origin, proof.Index, cp.Size, proof.Leaf})
	}
	_, err = fmt.Fprintf(a.out, "verified: the log %s, at %d entries, holds as entry %d:\n  %s %s:%s %s %s:%s, %s\n", plain(cp.Origin), cp.Size, proof.Index,
		when(event.Time), plain(event.Actor.Kind), plain(event.Actor.ID), plain(event.Action), plain(event.Subject.Kind), plain(event.Subject.ID), event.Outcome)
	return err
}
