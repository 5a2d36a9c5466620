package keystore

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
)

// SignerConfig says what a signer program lets its clients do.
type SignerConfig struct {
	// Store holds the keys. Required.
	Store Store
	// Log gets one line per signature, creation and deletion. Required.
	Log *slog.Logger
	// LogEvery logs only each n-th signature of a key. Default 1: every one.
	LogEvery int
	// AllowDelete lets clients destroy keys. Leave it off where a stolen server
	// must not be able to.
	AllowDelete bool
}

// SignerHandler serves the protocol that Remote speaks. It does not know who
// calls: the program must let only the right clients reach it.
func SignerHandler(c SignerConfig) http.Handler {
	s := &signer{SignerConfig: c, counts: make(map[string]int)}
	s.LogEvery = max(s.LogEvery, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/keys/{name}", s.get)
	mux.HandleFunc("POST /v1/keys/{name}", s.create)
	mux.HandleFunc("DELETE /v1/keys/{name}", s.remove)
	mux.HandleFunc("POST /v1/keys/{name}/sign", s.sign)
	return mux
}

type signer struct {
	SignerConfig
	mu     sync.Mutex
	counts map[string]int // signatures since the start, by existing key; guarded by mu
}

func (s *signer) get(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	key, err := s.Store.Open(r.Context(), name)
	s.replyKey(w, http.StatusOK, name, key, err)
}

func (s *signer) create(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, ok := s.body(w, r)
	if !ok {
		return
	}
	alg, err := parseCreateRequest(data)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	key, err := s.Store.Create(r.Context(), name, alg)
	if err == nil {
		s.Log.Info("key created", "name", name, "alg", string(alg))
	}
	s.replyKey(w, http.StatusCreated, name, key, err)
}

func (s *signer) remove(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	err := fmt.Errorf("%w: deleting keys is off; delete the key on the token with its own tools, or start the signer with --allow-delete", ErrRefused)
	if s.AllowDelete {
		err = s.Store.Delete(r.Context(), name)
	}
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.Log.Info("key deleted", "name", name)
	w.WriteHeader(http.StatusNoContent)
}

func (s *signer) sign(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, ok := s.body(w, r)
	if !ok {
		return
	}
	digest, hash, err := parseSignRequest(data)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	key, err := s.Store.Open(r.Context(), name)
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	signature, err := key.Sign(nil, digest, hash)
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	if n := s.count(name); n%s.LogEvery == 0 {
		s.Log.Info("signed", "name", name, "hash", hash.String(), "count", n)
	}
	s.reply(w, http.StatusOK, signReply{signature})
}

func (s *signer) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[name]++
	return s.counts[name]
}

func (s *signer) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("reading the request: %w", err))
	}
	return data, err == nil
}

func (s *signer) replyKey(w http.ResponseWriter, status int, name string, key Key, err error) {
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	alg, err := algOf(key.Public())
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.reply(w, status, keyReply{name, alg, public, key.Describe()})
}

// refuse answers with the map's status for the kinds of error it knows, and
// with the given one otherwise. What is inside an internal error goes to this
// program's log alone.
func (s *signer) refuse(w http.ResponseWriter, status int, err error) {
	reply := problemReply{"bad_request", err.Error()}
	known := false
	for _, p := range problems {
		if errors.Is(err, p.err) {
			reply.Code, status, known = p.code, p.status, true
			break
		}
	}
	if !known && status == http.StatusInternalServerError {
		s.Log.Error("request failed", "error", err)
		reply = problemReply{"internal", "the signer could not use its token; its log says why"}
	}
	s.reply(w, status, reply)
}

func (s *signer) reply(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		s.Log.Error("encoding a reply", "error", err)
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(data); err != nil {
		s.Log.Warn("client left before its reply", "error", err)
	}
}
