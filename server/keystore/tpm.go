package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-tpm/tpm2"
)

// TPMStore keeps keys that only one TPM 2.0 can use. A key is made by the TPM
// under its storage root key and is kept, wrapped by it, in a file; the private
// part exists in the clear only inside the TPM.
type TPMStore struct {
	folder folder
	device string

	mu     sync.Mutex // one command sequence at a time
	conn   *tpmConn   // guarded by mu; nil when not connected
	closed bool       // guarded by mu
}

// TPM opens a store of keys in the TPM 2.0 behind device: a character device
// (/dev/tpmrm0, whose kernel resource manager shares it with other programs), or
// the unix socket of a software TPM, of which this store believes that nobody
// else uses it at the same time. Key files live in the folder dir, made (0700) if it is missing.
//
// The storage root key is the ECC P-256 one of the TCG's provisioning guidance,
// made anew from the owner hierarchy's seed on each start; the hierarchy must
// have an empty password. Clearing the TPM destroys all keys. P-256 and P-384
// only. A TPM that restarts, or a resource manager that forgets, is connected to
// again by the next operation.
func TPM(device, dir string) (*TPMStore, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	s := &TPMStore{folder: f, device: device}
	if err := s.do(func(*tpmConn) error { return nil }); err != nil {
		return nil, fmt.Errorf("opening the TPM key store: %w", err)
	}
	return s, nil
}

// Close frees what the store holds in the TPM. Keys stop working.
func (s *TPMStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.disconnect()
}

func (s *TPMStore) disconnect() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.close()
	s.conn = nil
	return err
}

// errOtherTPM is not cured by connecting again.
var errOtherTPM = errors.New("the key was made by another TPM, or this TPM has been cleared since: the key cannot be recovered, make a new one")

// do runs f on a connected TPM. Whatever goes wrong, it tries once more with
// new handles and sessions: a TPM that was reset has lost the old ones, and
// answers with codes that vary between makes. f must bear to run twice.
func (s *TPMStore) do(f func(*tpmConn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for range 2 {
		if s.closed {
			return errors.New("the TPM key store is closed")
		}
		if s.conn == nil {
			if s.conn, err = connectTPM(s.device); err != nil {
				return err
			}
		}
		if err = f(s.conn); err == nil || errors.Is(err, errOtherTPM) {
			return err
		}
		s.conn.makeRoom(err)
		_ = s.disconnect() // what it could not free is lost with the old TPM state
	}
	return err
}

// Create makes a key inside the TPM.
func (s *TPMStore) Create(ctx context.Context, name string, alg Alg) (Key, error) {
	key, err := s.create(ctx, name, alg)
	if err != nil {
		return nil, fmt.Errorf("creating the key %.64q in the TPM: %w", name, err)
	}
	return key, nil
}

func (s *TPMStore) create(ctx context.Context, name string, alg Alg) (Key, error) {
	if err := errors.Join(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	if alg.curve() == nil {
		return nil, fmt.Errorf("%w: a TPM makes P-256 and P-384 keys, not %.32q", ErrUnsupported, alg)
	}
	if err := s.folder.taken(name); err != nil {
		return nil, err
	}
	blob := tpmBlob{Version: tpmBlobVersion, Name: name, Alg: alg}
	if err := s.do(func(c *tpmConn) error { return c.create(&blob) }); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(blob, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the key file: %w", err)
	}
	key, err := s.key(name, data) // the same checks as after a restart, before it is too late
	if err != nil {
		return nil, err
	}
	// The TPM itself keeps nothing: a crash before this line has made nothing;
	// after it, a whole key.
	if err := s.folder.write(name, append(data, '\n')); err != nil {
		return nil, err
	}
	return key, nil
}

// Open reads a key's file and has the TPM load it once, so that a key of
// another TPM is found out now and not when it is to sign.
func (s *TPMStore) Open(ctx context.Context, name string) (Key, error) {
	key, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening the key %.64q in the TPM: %w", name, err)
	}
	return key, nil
}

func (s *TPMStore) open(ctx context.Context, name string) (Key, error) {
	if err := errors.Join(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	data, err := s.folder.read(name)
	if err != nil {
		return nil, err
	}
	key, err := s.key(name, data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.folder.path(name), err)
	}
	if err := s.do(func(c *tpmConn) error { return c.use(key.tpmKeyBlob) }); err != nil {
		return nil, err
	}
	return key, nil
}

// Delete removes the key's file, without which the TPM cannot use the key.
func (s *TPMStore) Delete(ctx context.Context, name string) error {
	err := errors.Join(ctx.Err(), checkName(name))
	if err == nil {
		err = s.folder.remove(name)
	}
	if err != nil {
		return fmt.Errorf("deleting the key %.64q in the TPM: %w", name, err)
	}
	return nil
}

type tpmKey struct {
	*tpmKeyBlob
	store *TPMStore
	about string
}

func (s *TPMStore) key(name string, data []byte) (*tpmKey, error) {
	blob, err := parseTPMBlob(name, data)
	if err != nil {
		return nil, err
	}
	return &tpmKey{blob, s, fmt.Sprintf("%s key %s in the TPM %s", blob.alg, name, s.device)}, nil
}

func (k *tpmKey) Public() crypto.PublicKey { return k.point }
func (k *tpmKey) Describe() string         { return k.about }

func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(k.alg, digest, opts); err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k.about, err)
	}
	var signature []byte
	err := k.store.do(func(c *tpmConn) (err error) {
		signature, err = c.sign(k.tpmKeyBlob, digest, opts.HashFunc())
		return err
	})
	if err == nil {
		err = checkSignature(k.point, digest, signature)
	}
	if err != nil {
		return nil, fmt.Errorf("signing with the %s: %w", k.about, err)
	}
	return signature, nil
}

// tpmBlob is the content of a TPM key's file, in JSON.
type tpmBlob struct {
	Version int    `json:"holdfast_tpm_key"`
	Name    string `json:"name"`
	Alg     Alg    `json:"alg"`
	Root    []byte `json:"root"`    // TPM name of the storage root key
	Public  []byte `json:"public"`  // TPMT_PUBLIC
	Private []byte `json:"private"` // TPM2B_PRIVATE's buffer, wrapped by the root
}

const tpmBlobVersion = 1

// tpmKeyBlob is a tpmBlob that has been checked.
type tpmKeyBlob struct {
	alg     Alg
	root    []byte
	public  tpm2.TPMTPublic
	private tpm2.TPM2BPrivate
	point   *ecdsa.PublicKey
}

// parseTPMBlob refuses a public area that is not exactly what this store makes,
// such as one of a key that could leave the TPM.
func parseTPMBlob(name string, data []byte) (*tpmKeyBlob, error) {
	var b tpmBlob
	if err := decodeStrict(data, &b); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if b.Version != tpmBlobVersion || b.Name != name || b.Alg.curve() == nil {
		return nil, fmt.Errorf("%w: it is version %d, for a key named %.64q with algorithm %.32q", ErrDamaged, b.Version, b.Name, b.Alg)
	}
	if len(b.Public) > 1024 || len(b.Private) > 1024 || len(b.Private) == 0 || len(b.Root) != 34 {
		return nil, fmt.Errorf("%w: one of its parts has an impossible length", ErrDamaged)
	}
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](b.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: decoding its public area: %v", ErrDamaged, err)
	}
	ecc, err := public.Unique.ECC()
	if err != nil || public.Type != tpm2.TPMAlgECC {
		return nil, fmt.Errorf("%w: its public area is not of an elliptic curve key", ErrDamaged)
	}
	want := signTemplate(b.Alg)
	want.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, ecc)
	if !bytes.Equal(tpm2.Marshal(want), b.Public) {
		return nil, fmt.Errorf("%w: its public area has other attributes than a signing key that stays in the TPM", ErrDamaged)
	}
	point, err := eccPoint(b.Alg, ecc)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return &tpmKeyBlob{b.Alg, b.Root, *public, tpm2.TPM2BPrivate{Buffer: b.Private}, point}, nil
}
