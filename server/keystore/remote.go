package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// remoteTimeout bounds each request to the signer, which may wait for slow
// hardware.
const remoteTimeout = 30 * time.Second

// RemoteStore reaches keys that a signer program holds.
type RemoteStore struct {
	client *http.Client
	socket string
}

// Remote uses the keys of the signer program that listens on a unix socket. It
// does not connect yet, so that server and signer may start in any order. The
// signer decides which algorithms there are; Ed25519 is not among them.
func Remote(socket string) (*RemoteStore, error) {
	if !filepath.IsAbs(socket) || len(socket) > 107 {
		return nil, fmt.Errorf("opening a signer key store: the socket %.120q must be an absolute path of at most 107 bytes", socket)
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &RemoteStore{socket: socket, client: &http.Client{
		Timeout:       remoteTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
			MaxConnsPerHost:        32,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 8 << 10,
			DisableCompression:     true,
		},
	}}, nil
}

// Close drops idle connections. Keys go on working.
func (s *RemoteStore) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Create has the signer make a key on its token.
func (s *RemoteStore) Create(ctx context.Context, name string, alg Alg) (Key, error) {
	key, err := s.get(ctx, http.MethodPost, http.StatusCreated, name, createRequest{alg})
	if err != nil {
		return nil, fmt.Errorf("creating the key %.64q at the signer: %w", name, err)
	}
	if key.alg != alg {
		return nil, fmt.Errorf("creating the key %.64q at the signer: it made a %s key", name, key.alg)
	}
	return key, nil
}

// Open asks the signer for a key's public part.
func (s *RemoteStore) Open(ctx context.Context, name string) (Key, error) {
	key, err := s.get(ctx, http.MethodGet, http.StatusOK, name, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the key %.64q at the signer: %w", name, err)
	}
	return key, nil
}

// Delete has the signer destroy a key, or returns ErrRefused if it may not.
func (s *RemoteStore) Delete(ctx context.Context, name string) error {
	err := checkName(name)
	if err == nil {
		_, err = s.do(ctx, http.MethodDelete, "/v1/keys/"+name, http.StatusNoContent, nil)
	}
	if err != nil {
		return fmt.Errorf("deleting the key %.64q at the signer: %w", name, err)
	}
	return nil
}

func (s *RemoteStore) get(ctx context.Context, method string, want int, name string, request any) (*remoteKey, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	data, err := s.do(ctx, method, "/v1/keys/"+name, want, request)
	if err != nil {
		return nil, err
	}
	key, err := parseKeyReply(name, data)
	if err != nil {
		return nil, fmt.Errorf("reading the signer's reply: %w", err)
	}
	key.store = s
	return key, nil
}

// parseKeyReply takes only a key that belongs to the name and is what it says.
func parseKeyReply(name string, data []byte) (*remoteKey, error) {
	var r keyReply
	if err := decodeStrict(data, &r); err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(r.Public)
	if err != nil {
		return nil, fmt.Errorf("parsing the public key: %w", err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the public key is a %T", ErrUnsupported, parsed)
	}
	alg, err := algOf(public)
	if err != nil {
		return nil, err
	}
	if r.Name != name || r.Alg != alg {
		return nil, fmt.Errorf("it is about a %.32q key %.64q, and the public key is %s", r.Alg, r.Name, alg)
	}
	return &remoteKey{name: name, alg: alg, public: public}, nil
}

// do sends a request and returns the reply's body if it has the wanted status.
func (s *RemoteStore) do(ctx context.Context, method, path string, want int, request any) ([]byte, error) {
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://signer"+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if request != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	reply, err := s.client.Do(r)
	if err != nil {
		return nil, &unreachable{s.socket, err}
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(io.LimitReader(reply.Body, maxBody+1))
	if err != nil {
		return nil, &unreachable{s.socket, err}
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("the signer's reply is longer than %d bytes", maxBody)
	}
	if reply.StatusCode != want {
		return nil, problem(reply.StatusCode, data)
	}
	return data, nil
}

// unreachable means that no reply came: the request may have been carried out.
type unreachable struct {
	socket string
	err    error
}

func (e *unreachable) Error() string {
	return fmt.Sprintf("talking to the signer on %s (does holdfast-signer run, and does it allow this user?): %v", e.socket, e.err)
}
func (e *unreachable) Unwrap() error { return e.err }

type remoteKey struct {
	store  *RemoteStore
	name   string
	alg    Alg
	public *ecdsa.PublicKey
}

func (k *remoteKey) Public() crypto.PublicKey { return k.public }
func (k *remoteKey) Describe() string {
	return fmt.Sprintf("%s key %s at the signer %s", k.alg, k.name, k.store.socket)
}

// Sign asks twice when no reply comes, because a signer that was restarted
// leaves dead connections behind; signing twice does no harm.
func (k *remoteKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := k.sign(digest, opts)
	if lost := (*unreachable)(nil); errors.As(err, &lost) && !errors.Is(err, context.DeadlineExceeded) {
		k.store.client.CloseIdleConnections()
		signature, err = k.sign(digest, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k.Describe(), err)
	}
	return signature, nil
}

func (k *remoteKey) sign(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(k.alg, digest, opts); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), remoteTimeout)
	defer cancel()
	data, err := k.store.do(ctx, http.MethodPost, "/v1/keys/"+k.name+"/sign", http.StatusOK, signRequest{opts.HashFunc().String(), digest})
	if err != nil {
		return nil, err
	}
	var r signReply
	if err := decodeStrict(data, &r); err != nil {
		return nil, fmt.Errorf("reading the signer's reply: %w", err)
	}
	return r.Signature, checkSignature(k.public, digest, r.Signature)
}
