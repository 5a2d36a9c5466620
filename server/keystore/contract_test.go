package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"log/slog"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// The stores that pass the contract. open opens the same store again.
func TestFileStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	contract(t, func(t *testing.T) Store {
		s, err := Open("file:"+dir, testKEK(t))
		return must(t, s, err)
	}, P256, P384, Ed25519)
}

func TestTPMStore(t *testing.T) {
	tpm := startTPM(t)
	dir := filepath.Join(t.TempDir(), "keys")
	contract(t, func(t *testing.T) Store {
		s, err := Open("tpm:"+tpm.socket+"?keys="+dir, nil)
		return closing(t, must(t, s, err))
	}, P256, P384)
}

func TestRemoteStoreOverFiles(t *testing.T) {
	files, err := File(t.TempDir()+"/keys", testKEK(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := serveSigner(t, SignerHandler(SignerConfig{Store: files, Log: slog.New(slog.DiscardHandler), AllowDelete: true}))
	contract(t, func(t *testing.T) Store {
		s, err := Open("signer:"+socket, nil)
		return closing(t, must(t, s, err))
	}, P256, P384)
}

func TestRemoteStoreOverSoftHSM(t *testing.T) {
	hsm := startSigner(t, "--allow-delete")
	contract(t, func(t *testing.T) Store {
		s, err := Open("signer:"+hsm.socket, nil)
		return closing(t, must(t, s, err))
	}, P256, P384)
}

// contract is what every store promises.
func contract(t *testing.T, open func(t *testing.T) Store, algs ...Alg) {
	ctx := t.Context()
	for _, alg := range algs {
		name := "key-" + strings.ToLower(string(alg))
		t.Run("makes and finds again "+string(alg), func(t *testing.T) {
			made, err := open(t).Create(ctx, name, alg)
			if err != nil {
				t.Fatal(err)
			}
			found, err := open(t).Open(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if !made.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(found.Public()) {
				t.Error("the key has changed")
			}
			if got, err := algOf(found.Public()); got != alg || err != nil {
				t.Errorf("made a %s key, %v", got, err)
			}
			for _, key := range []Key{made, found} {
				signAll(t, key, alg)
				if !strings.Contains(key.Describe(), name) || !strings.Contains(key.Describe(), string(alg)) {
					t.Errorf("description = %q", key.Describe())
				}
			}
			if _, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, found); err != nil {
				t.Errorf("signing a CSR: %v", err)
			}
		})
		t.Run("refuses wrong digests "+string(alg), func(t *testing.T) { refusesDigests(t, must(t, open(t), nil), name, alg) })
	}
	t.Run("refuses an existing name", func(t *testing.T) {
		s := open(t)
		before, err := s.Create(ctx, "twice", P256)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []Store{s, open(t)} {
			if _, err := s.Create(ctx, "twice", P256); !errors.Is(err, ErrExists) {
				t.Errorf("error = %v", err)
			}
		}
		after, err := s.Open(ctx, "twice")
		if err != nil || !after.Public().(*ecdsa.PublicKey).Equal(before.Public()) {
			t.Errorf("the key has changed (%v)", err)
		}
	})
	t.Run("one of several creators wins", func(t *testing.T) { oneWins(t, open) })
	t.Run("refuses wrong names", func(t *testing.T) { refusesNames(t, open(t)) })
	t.Run("refuses other algorithms", func(t *testing.T) { refusesAlgorithms(t, open, algs) })
	t.Run("deletes", func(t *testing.T) { deletes(t, open) })
	t.Run("signs concurrently", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for i := range 4 {
			key, err := s.Create(ctx, fmt.Sprintf("busy-%d", i), P256)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				wg.Go(func() {
					for range 5 {
						sign(t, key, P256, crypto.SHA256)
					}
				})
			}
		}
		wg.Wait()
	})
	t.Run("obeys its context", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, createErr := s.Create(ctx, "late", P256)
		_, openErr := s.Open(ctx, "late")
		for _, err := range []error{createErr, openErr, s.Delete(ctx, "late")} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v", err)
			}
		}
	})
}

func deletes(t *testing.T, open func(t *testing.T) Store) {
	ctx := t.Context()
	s := open(t)
	if err := s.Delete(ctx, "gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting nothing: %v", err)
	}
	first, err := s.Create(ctx, "gone", P256)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Store{s, open(t)} {
		if key, err := s.Open(ctx, "gone"); !errors.Is(err, ErrNotFound) || key != nil {
			t.Errorf("after deleting: %v, %v", key, err)
		}
	}
	second, err := s.Create(ctx, "gone", P256)
	if err != nil {
		t.Fatal(err)
	}
	if second.Public().(*ecdsa.PublicKey).Equal(first.Public()) {
		t.Error("the deleted key is back")
	}
}

func refusesAlgorithms(t *testing.T, open func(t *testing.T) Store, algs []Alg) {
	ctx := t.Context()
	s := open(t)
	for _, alg := range []Alg{Ed25519, "RSA", ""} {
		if slices.Contains(algs, alg) {
			continue
		}
		key, err := s.Create(ctx, "other", alg)
		if err == nil || key != nil {
			t.Errorf("%q: %v, %v", alg, key, err)
		}
		if alg == Ed25519 && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v", alg, err)
		}
		if _, err := s.Open(ctx, "other"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q left something: %v", alg, err)
		}
	}
}

func oneWins(t *testing.T, open func(t *testing.T) Store) {
	stores := []Store{open(t), open(t)}
	var wg sync.WaitGroup
	won := make(chan Key, 8)
	for i := range 8 {
		wg.Go(func() {
			switch key, err := stores[i%2].Create(t.Context(), "contended", P256); {
			case err == nil:
				won <- key
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d callers made the same key", len(won))
	}
	found, err := stores[0].Open(t.Context(), "contended")
	if err != nil || !found.Public().(*ecdsa.PublicKey).Equal((<-won).Public()) {
		t.Errorf("the key is not the winner's (%v)", err)
	}
}

func refusesNames(t *testing.T, s Store) {
	for _, name := range []string{"", "-a", "A", "a.b", "a/b", "../a", "a b", "a\x00", "é", strings.Repeat("a", 65)} {
		_, createErr := s.Create(t.Context(), name, P256)
		_, openErr := s.Open(t.Context(), name)
		for _, err := range []error{createErr, openErr, s.Delete(t.Context(), name)} {
			if !errors.Is(err, ErrName) {
				t.Errorf("name %q: %v", name, err)
			}
		}
	}
	longest := strings.Repeat("a", 64)
	if _, err := s.Create(t.Context(), longest, P256); err != nil {
		t.Errorf("the longest name: %v", err)
	}
	if _, err := s.Open(t.Context(), longest); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}

func refusesDigests(t *testing.T, s Store, name string, alg Alg) {
	key, err := s.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hash crypto.SignerOpts
		n    int
	}{{crypto.SHA256, 31}, {crypto.SHA256, 33}, {crypto.SHA384, 32}, {crypto.SHA1, 20}, {crypto.SHA3_256, 32}, {crypto.Hash(0), 32}, {nil, 32}} {
		if alg == Ed25519 && (c.hash == nil || c.hash == crypto.Hash(0)) {
			continue
		}
		if sig, err := key.Sign(rand.Reader, make([]byte, c.n), c.hash); err == nil || sig != nil {
			t.Errorf("signed %d bytes as %v", c.n, c.hash)
		}
	}
}

func signAll(t *testing.T, key Key, alg Alg) {
	t.Helper()
	if alg == Ed25519 {
		sign(t, key, alg, crypto.Hash(0))
		return
	}
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		sign(t, key, alg, hash)
	}
}

func sign(t *testing.T, key Key, alg Alg, hash crypto.Hash) {
	t.Helper()
	digest := []byte("a whole message")
	if alg != Ed25519 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	sig, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Error(err)
		return
	}
	ok := false
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, digest, sig)
	}
	if !ok {
		t.Errorf("the %v signature does not verify", hash)
	}
}

func must(t *testing.T, s Store, err error) Store {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closing(t *testing.T, s Store) Store {
	t.Cleanup(func() {
		if err := s.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// testKEK is the same in every test.
func testKEK(t testing.TB) *KEK {
	t.Helper()
	kek, err := ParseKEK([]byte("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

// shortFolder is a temporary folder whose path leaves room for a socket's name.
func shortFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serveSigner serves a handler on a unix socket until the test ends.
func serveSigner(t testing.TB, h http.Handler) string {
	t.Helper()
	socket := filepath.Join(shortFolder(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return socket
}

func sha(text string) []byte { d := sha256.Sum256([]byte(text)); return d[:] }
