package audit

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/sentences"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// step is one hash on the way from an event up to the root.
type step struct {
	left     bool  // the subtree beside it is to the left
	from, to int64 // entries under that subtree, to excluded
	beside   audit.Hash
	hash     audit.Hash // of both together
}

// proofView is a proof that the server checked before it showed it.
type proofView struct {
	leaf       []byte
	leafHash   audit.Hash
	steps      []step // from the leaf up
	checkpoint audit.Checkpoint
	note       string
	signatures []noteSignature
	key        string
	witnesses  []string // their keys
}

// noteSignature is a line below a checkpoint.
type noteSignature struct {
	name string
	at   time.Time // of a witness
	log  bool
	text string
}

// proofOf fetches a proof and checks it with the log's key.
func proofOf(ctx context.Context, api *adminapi.Client, index int64) (*proofView, error) {
	raw, err := api.AuditProof(ctx, index)
	if err != nil {
		return nil, err
	}
	state, err := api.AuditState(ctx)
	if err != nil {
		return nil, err
	}
	key, err := audit.ParsePublicKey(state.VerifierKey)
	if err != nil {
		return nil, err
	}
	p, err := audit.ParseProof(raw)
	if err != nil {
		return nil, err
	}
	_, c, err := audit.VerifyProof(p, key)
	if err != nil {
		return nil, err
	}
	v := &proofView{leaf: p.Leaf, leafHash: audit.LeafHash(p.Leaf), checkpoint: c, note: string(p.Checkpoint), key: state.VerifierKey}
	for _, w := range state.Witnesses {
		v.witnesses = append(v.witnesses, w.Key)
	}
	v.steps = climb(v.leafHash, index, c.Size, p.Path)
	v.signatures = signaturesOf(v.note, c.Origin)
	return v, nil
}

// climb names the subtrees beside the way up (RFC 6962 section 2.1.1). The path
// has been checked: it has the right length.
func climb(leaf audit.Hash, index, size int64, path []audit.Hash) (steps []step) {
	for from, to := int64(0), size; to-from > 1; {
		k := int64(1)
		for k*2 < to-from {
			k *= 2
		}
		if index < from+k {
			steps = append(steps, step{from: from + k, to: to})
			to = from + k
		} else {
			steps = append(steps, step{left: true, from: from, to: from + k})
			from += k
		}
	}
	slices.Reverse(steps)
	hash := leaf
	for i := range steps {
		s := &steps[i]
		s.beside = path[i]
		if s.left {
			hash = nodeHash(s.beside, hash)
		} else {
			hash = nodeHash(hash, s.beside)
		}
		s.hash = hash
	}
	return steps
}

func nodeHash(left, right audit.Hash) audit.Hash {
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// signaturesOf lists the lines below a checkpoint that was opened before.
func signaturesOf(note, origin string) (list []noteSignature) {
	_, below, _ := strings.Cut(note, "\n\n")
	for line := range strings.Lines(below) {
		name, text, ok := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		raw, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(list) == audit.MaxSignatures {
			continue
		}
		s := noteSignature{name: name, log: name == origin, text: text}
		if !s.log && len(raw) == 4+8+64 {
			if seconds := binary.BigEndian.Uint64(raw[4:]); seconds < 1<<40 {
				s.at = time.Unix(int64(seconds), 0).UTC()
			}
		}
		list = append(list, s)
	}
	return list
}

func base64Of(h audit.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }

// brief is enough of a hash to compare it by eye.
func brief(h audit.Hash) string { return base64Of(h)[:10] + "…" }

// span names the entries under a subtree.
func (s step) span() string {
	if s.to-s.from == 1 {
		return "entry " + ui.Number(s.from)
	}
	return "entries " + ui.Number(s.from) + " – " + ui.Number(s.to-1)
}

func proofFile(r *ui.Request) error {
	index, err := indexOf(r)
	if err != nil {
		return err
	}
	return r.Download("holdfast-proof-"+r.Value("index")+".json", "application/json", func(w io.Writer) error {
		raw, err := r.API.AuditProof(r.Context(), index)
		if err == nil {
			_, err = w.Write(raw)
		}
		return err
	})
}

// verifyCommand checks the files of a bundle, in the folder that it was unpacked
// into.
const verifyCommand = "holdfast audit verify --key log-key.txt proof.json"

// bundleFile is what an auditor needs: the proof, the key and how to use them.
func bundleFile(r *ui.Request) error {
	index, err := indexOf(r)
	if err != nil {
		return err
	}
	raw, err := r.API.AuditProof(r.Context(), index)
	if err != nil {
		return err
	}
	c, err := r.API.AuditCheckpoint(r.Context())
	if err != nil {
		return err
	}
	e, err := r.API.AuditEntry(r.Context(), index)
	if err != nil {
		return err
	}
	files := [][2]string{{"proof.json", string(raw)}, {"log-key.txt", c.VerifierKey + "\n"}, {"README.txt", bundleText(index, sentences.For(r).Of(e.Event), c.VerifierKey, r.Now)}}
	return r.Download("holdfast-audit-"+r.Value("index")+".zip", "application/zip", func(w io.Writer) error { return writeZip(w, files, r.Now) })
}

func writeZip(w io.Writer, files [][2]string, now time.Time) error {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		to, err := z.CreateHeader(&zip.FileHeader{Name: f[0], Method: zip.Deflate, Modified: now.UTC()})
		if err == nil {
			_, err = io.WriteString(to, f[1])
		}
		if err != nil {
			return fmt.Errorf("packing the proof: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("packing the proof: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func bundleText(index int64, says sentences.Sentence, key string, now time.Time) string {
	return "Proof of entry " + strconv.FormatInt(index, 10) + " of a Holdfast audit log\n\n" +
		says.Text() + ".\n\n" +
		"What this proves: the holder of the log's key signed a state of the log that has this event,\n" +
		"unchanged, as entry " + strconv.FormatInt(index, 10) + ". Nobody can take it out again or change it without being found out\n" +
		"by whoever kept a later checkpoint.\n\n" +
		"How to check it, without any server:\n\n    " + verifyCommand + "\n\n" +
		"log-key.txt came in the same package as the proof: that is good for comparing, not for trusting.\n" +
		"Compare it with the log's public key that you were given another way:\n\n    " + key + "\n\n" +
		"The format of proof.json is holdfast-proof/1; hashes are those of RFC 6962, the checkpoint is a\n" +
		"signed note (C2SP signed-note, tlog-checkpoint). Any program that knows these can check it.\n\n" +
		"Made on " + now.UTC().Format("2006-01-02 15:04:05 UTC") + ".\n"
}

// tiles reads tiles through the API, as anybody else would.
type tiles struct {
	ctx  context.Context
	api  *adminapi.Client
	size int64
}

// Tile implements audit.TileReader.
func (t tiles) Tile(level int, n int64) ([]byte, error) {
	width := min(t.size>>(8*level)-n*audit.TileWidth, audit.TileWidth)
	return t.api.AuditFile(t.ctx, audit.Path{Resource: audit.ResourceTile, Level: level, N: n, Width: int(width)}.String())
}

// consistency answers how the log of size entries continues that of old entries.
// The browser checks it: it does not matter who made it.
func consistency(r *ui.Request) error {
	old, err1 := strconv.ParseInt(r.Query("old"), 10, 64)
	size, err2 := strconv.ParseInt(r.Query("size"), 10, 64)
	if err1 != nil || err2 != nil || old < 1 || old > size || size > audit.MaxSize {
		return refusal.New(refusal.Invalid, "bad-size", "give two sizes of the log, the smaller first", "these are no sizes of a log")
	}
	proof, err := audit.ProveConsistency(tiles{r.Context(), r.API, size}, old, size)
	if err != nil {
		return err
	}
	hashes := make([]string, len(proof))
	for i, h := range proof {
		hashes[i] = base64Of(h)
	}
	r.W.Header().Set("Content-Type", "application/json")
	r.W.WriteHeader(http.StatusOK)
	return json.NewEncoder(r.W).Encode(map[string][]string{"proof": hashes})
}
