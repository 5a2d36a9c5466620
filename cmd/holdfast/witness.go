package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/internal/durable"
)

func auditWitness(a *app) *cobra.Command {
	var listen, stateFile, keyFile, name string
	var logKeys []string
	cmd := &cobra.Command{Use: "witness", Short: "Be a witness: cosign the checkpoints of logs that only grow", Args: cobra.NoArgs,
		Long: `Be a witness (C2SP tlog-witness) for the logs whose keys are given. A witness
cosigns a checkpoint only if it continues the last one that it cosigned, so that a
log cannot show different people different histories. Run it on a machine that the
log's operators cannot change. It speaks plain HTTP: what it gets and gives is signed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := openWitness(stateFile, keyFile, name, logKeys)
			if err != nil {
				return err
			}
			return a.serveWitness(cmd.Context(), w, listen)
		}}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8446", "HOST:PORT, port 0 for any")
	f.StringVar(&stateFile, "state", "", "file that remembers what was cosigned; losing it is losing the promise")
	f.StringVar(&keyFile, "key", "", "Ed25519 key of the witness (PEM, mode 0600); made when missing")
	f.StringVar(&name, "name", "", "name of the witness, such as witness.example.com (default: the host name)")
	f.StringArrayVar(&logKeys, "log-key", nil, "public key of a log, or a file that holds it, may be repeated")
	for _, required := range []string{"state", "key", "log-key"} {
		_ = cmd.MarkFlagRequired(required)
	}
	return cmd
}

// witness holds what it cosigned last, for each log.
type witness struct {
	self      audit.Witness
	public    audit.PublicKey
	logs      map[string]audit.PublicKey // by origin
	stateFile string
	now       func() time.Time

	mu     sync.Mutex
	states map[string]audit.WitnessState // by origin; guarded by mu, and never ahead of stateFile
}

func openWitness(stateFile, keyFile, name string, logKeys []string) (*witness, error) {
	if name == "" {
		name, _ = os.Hostname()
	}
	signer, err := witnessKey(keyFile)
	if err != nil {
		return nil, err
	}
	public, err := audit.NewWitnessKey(name, signer.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fixing("choose another --name", fmt.Errorf("naming the witness: %w", err))
	}
	w := &witness{self: audit.Witness{Name: name, Signer: signer}, public: public, logs: map[string]audit.PublicKey{}, stateFile: stateFile, now: time.Now}
	for _, text := range logKeys {
		key, err := publicKey(text)
		if err != nil {
			return nil, err
		}
		w.logs[key.Name()] = key
	}
	w.states, err = readStates(stateFile)
	return w, err
}

// witnessKey reads the key, or makes it.
func witnessKey(path string) (crypto.Signer, error) {
	key, err := newKeyFile(path, "Ed25519")
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the witness's key: %w", err)
	}
	if key, err = readKeyFile(path); err != nil {
		return nil, err
	}
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("reading the witness's key: %s holds another kind of key than Ed25519", path)
	}
	return key, nil
}

// storedState is a log's line in the state file.
type storedState struct {
	Size int64  `json:"size"`
	Root string `json:"root"`
}

func readStates(path string) (map[string]audit.WitnessState, error) {
	states := map[string]audit.WitnessState{}
	text, err := readSmall(path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return states, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the witness's state: %w", err)
	}
	var stored map[string]storedState
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("reading the witness's state: %w", err)
	}
	for origin, s := range stored {
		root, err := hex.DecodeString(s.Root)
		if err != nil || len(root) != audit.HashSize || s.Size < 0 {
			return nil, fmt.Errorf("reading the witness's state: the entry of %q is damaged", origin)
		}
		states[origin] = audit.WitnessState{Size: s.Size, Root: audit.Hash(root)}
	}
	return states, nil
}

// store writes all states; an error leaves the old or the new content.
func (w *witness) store() error {
	stored := map[string]storedState{}
	for origin, s := range w.states {
		stored[origin] = storedState{s.Size, hex.EncodeToString(s.Root[:])}
	}
	text, err := json.MarshalIndent(stored, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the witness's state: %w", err)
	}
	return durable.WriteFile(w.stateFile, text, 0o600)
}

// cosign decides one request. The order matters: the new state is durable
// before the cosignature leaves. A crash between the two leaves a state that is
// ahead of what the log knows; the log then gets a conflict with the size, and
// continues from there.
func (w *witness) cosign(body []byte) ([]byte, error) {
	req, err := audit.ParseAddCheckpoint(body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	origin := req.Origin()
	before := w.states[origin]
	line, next, err := audit.DecideWitness(before, req, w.logs[origin], w.self, w.now())
	if err != nil {
		return nil, err
	}
	if next != before {
		w.states[origin] = next
		if err := w.store(); err != nil {
			// The file holds the old state or the new one. No cosignature has left,
			// so the old one is the truth here, and the new one is safe after a restart.
			w.states[origin] = before
			return nil, err
		}
	}
	return line, nil
}

// maxAddCheckpoint bounds a request's body, in bytes.
const maxAddCheckpoint = 64 << 10

func (w *witness) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(res, req.Body, maxAddCheckpoint))
	if err != nil {
		http.Error(res, "the request is too long or broke off", http.StatusBadRequest)
		return
	}
	line, err := w.cosign(body)
	if refused, ok := errors.AsType[*audit.WitnessError](err); ok {
		contentType, text := refused.Body()
		res.Header().Set("Content-Type", contentType)
		res.WriteHeader(refused.Status())
		_, _ = res.Write(text)
		return
	}
	if err != nil {
		http.Error(res, "the witness cannot store its state", http.StatusInternalServerError)
		return
	}
	res.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = res.Write(line)
}

// serveWitness answers until the context ends.
func (a *app) serveWitness(ctx context.Context, w *witness, listen string) error {
	unlock, err := lockFile(w.stateFile + ".lock")
	if err != nil {
		return fixing("stop the other witness, or give this one its own --state", err)
	}
	defer unlock()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /add-checkpoint", w)
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	if err := a.say("key", w.public.String(), "witness %s at http://%s\nits key, for audit.witnesses and `holdfast audit verify --witness`:\n  %s\nstate in %s; stop with ctrl-C",
		w.self.Name, l.Addr(), w.public.String(), filepath.Clean(w.stateFile)); err != nil {
		return errors.Join(err, l.Close())
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return srv.Shutdown(drain)
	}
}
