package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Files of the first start, in the data folder.
const (
	adminTokenFile   = "admin-token"
	rootKeyFile      = "root-key.age"
	rootRecoveryFile = "root-recovery-key.txt"
)

// CAInfo tells operators what InitCA made.
type CAInfo struct {
	RootSHA256, IssuingSHA256 string // of the certificates, hex
}

// ErrHasCA means that the installation has its hierarchy already.
var ErrHasCA = errors.New("this installation has a CA already")

// firstStart makes what is missing: the hierarchy and the admin token. Servers
// that start together on one database take turns.
func (s *Server) firstStart(ctx context.Context) error {
	release, err := s.takeTurn(ctx, "first-start")
	if err != nil {
		return err
	}
	defer release()
	domain, err := s.store.SetMetaOnce(ctx, "trust_domain", s.cfg.TrustDomain)
	if err != nil {
		return err
	}
	if domain != s.cfg.TrustDomain {
		return fmt.Errorf("starting: this installation's trust domain is %q and the configuration says %q: certificates carry it, so set trust_domain back", domain, s.cfg.TrustDomain)
	}
	cas, err := s.store.CAs(ctx)
	if err != nil {
		return err
	}
	if len(cas) == 0 {
		if err := s.quickCA(ctx); err != nil {
			return fmt.Errorf("making the CA: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.cfg.Data, rootRecoveryFile)); err == nil {
		s.warnings = append(s.warnings, "the root key lies on this machine: move "+rootKeyFile+" and "+rootRecoveryFile+" in the data folder to a safe place offline")
	}
	return s.firstToken(ctx)
}

// takeTurn holds a lease of the database until release is called.
func (s *Server) takeTurn(ctx context.Context, name string) (release func(), err error) {
	const length = time.Minute
	ctx, cancel := context.WithTimeout(ctx, 2*length)
	defer cancel()
	for {
		now := s.now()
		got, err := s.store.AcquireLease(ctx, name, s.holder, now, now.Add(length))
		if err != nil {
			return nil, err
		}
		if got {
			return func() { s.store.ReleaseLease(context.WithoutCancel(ctx), name, s.holder) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another server to finish its first start: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// quickCA makes a hierarchy whose root key is sealed to a recovery key beside it.
func (s *Server) quickCA(ctx context.Context) error {
	recovery, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text := "# Opens " + rootKeyFile + ". Keep both offline, apart from each other.\n" + recovery.String() + "\n"
	if err := durable.WriteFile(filepath.Join(s.cfg.Data, rootRecoveryFile), []byte(text), 0o600); err != nil {
		return err
	}
	_, err = makeCA(ctx, s.cfg, s.store, s.keys, s.now, func(pkcs8 []byte) error {
		return SealRootKey(filepath.Join(s.cfg.Data, rootKeyFile), pkcs8, recovery.Recipient())
	})
	return err
}

// SealRootKey writes a root key, armored, to a new file that only recipients open.
func SealRootKey(path string, pkcs8 []byte, recipients ...age.Recipient) error {
	var out sealedBuffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, recipients...)
	if err != nil {
		return fmt.Errorf("sealing the root key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	defer clear(block)
	if _, err := w.Write(block); err != nil {
		return fmt.Errorf("sealing the root key: %w", err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return fmt.Errorf("sealing the root key: %w", err)
	}
	return durable.Create(path, out, 0o600)
}

type sealedBuffer []byte

func (b *sealedBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// InitCA makes the hierarchy of an installation that has none, without starting
// it. seal is given the root key and must have stored it when it returns; the key
// is nowhere else and is not needed again until the issuing CA is rotated.
func InitCA(ctx context.Context, cfg config.Config, seal func(pkcs8 []byte) error) (CAInfo, error) {
	unlock, err := lock(cfg.Data)
	if err != nil {
		return CAInfo{}, err
	}
	defer unlock()
	store, err := openStore(ctx, cfg, sqlstore.Faults{})
	if err != nil {
		return CAInfo{}, err
	}
	defer store.Close()
	keys, _, _, _, err := openKeys(cfg)
	if err != nil {
		return CAInfo{}, err
	}
	if closer, ok := keys.(interface{ Close() error }); ok {
		defer closer.Close()
	}
	if cas, err := store.CAs(ctx); err != nil {
		return CAInfo{}, err
	} else if len(cas) > 0 {
		return CAInfo{}, ErrHasCA
	}
	if _, err := store.SetMetaOnce(ctx, "trust_domain", cfg.TrustDomain); err != nil {
		return CAInfo{}, err
	}
	return makeCA(ctx, cfg, store, keys, time.Now, seal)
}

// makeCA makes root and issuing CA. Order of durable writes: the sealed root key,
// the issuing key, then both certificates in one transaction. A crash before the
// last leaves keys that nothing refers to, and the next start makes new ones.
func makeCA(ctx context.Context, cfg config.Config, store *sqlstore.Store, keys keystore.Store, now func() time.Time, seal func([]byte) error) (info CAInfo, err error) {
	alg, err := pki.ParseKeyAlg(cfg.CA.Algorithm)
	if err != nil {
		return info, err
	}
	rootKey, err := alg.GenerateKey(rand.Reader)
	if err != nil {
		return info, err
	}
	root, err := pki.NewRoot(rand.Reader, rootKey, cfg.CA.Name+" Root", now(), cfg.CA.RootValidity)
	if err != nil {
		return info, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(rootKey)
	if err != nil {
		return info, err
	}
	defer clear(pkcs8)
	if err := seal(pkcs8); err != nil {
		return info, err
	}
	name, key, err := newIssuingKey(ctx, keys, cfg.CA.Algorithm, now())
	if err != nil {
		return info, err
	}
	request, err := pki.NewIssuingRequest(rand.Reader, key, issuingName(cfg, now()))
	if err != nil {
		return info, err
	}
	csr, err := pki.ParseCSR(request)
	if err != nil {
		return info, err
	}
	rootCert, err := x509.ParseCertificate(root)
	if err != nil {
		return info, err
	}
	issuing, err := pki.SignIssuing(rand.Reader, rootCert, rootKey, csr, now(), cfg.CA.IssuingValidity, pki.URLs{})
	if err != nil {
		return info, err
	}
	info = CAInfo{RootSHA256: caID(root), IssuingSHA256: caID(issuing)}
	s := &Server{cfg: cfg, now: now} // for its events only
	_, err = store.InsertCAs(ctx, []sqlstore.CA{
		{ID: info.RootSHA256, Role: "root", DER: root, Status: "active", CreatedAt: now(), NotAfter: rootCert.NotAfter},
		{ID: info.IssuingSHA256, Role: "issuing", DER: issuing, KeyName: name, Status: "active", CreatedAt: now(), NotAfter: now().Add(cfg.CA.IssuingValidity)},
	}, now(), s.event(access.Component("first-start"), "ca.created", "ca", info.RootSHA256, "issuing", info.IssuingSHA256))
	return info, err
}

// newIssuingKey makes a key named after the day and a random part.
func newIssuingKey(ctx context.Context, keys keystore.Store, alg string, now time.Time) (string, keystore.Key, error) {
	name := "issuing-" + now.UTC().Format("20060102") + "-" + newID()[28:]
	key, err := keys.Create(ctx, name, keystore.Alg(alg))
	return name, key, err
}

// issuingName distinguishes issuing CAs of one root by the time of their making.
func issuingName(cfg config.Config, now time.Time) string {
	return cfg.CA.Name + " Issuing " + now.UTC().Format("2006-01-02 150405")
}

// firstToken makes the admin token when the installation has none, and a new one
// in its place when an operator took the file away: on an embedded database the
// folder is the whole installation, so who may write it decides. The file comes
// first: a crash between the two leaves a token that opens nothing, to be taken
// away again.
func (s *Server) firstToken(ctx context.Context) error {
	n, err := s.store.CountAPITokens(ctx)
	path := filepath.Join(s.cfg.Data, adminTokenFile)
	if err != nil || n > 0 && (fileExists(path) || !s.cfg.Database.Empty()) {
		return err
	}
	id, secret := rand.Text()[:10], rand.Text()
	hash := sha256.Sum256([]byte(secret))
	if err := durable.WriteFile(path, []byte(apiTokenPrefix+"_"+id+"_"+secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the admin token: %w", err)
	}
	return s.store.ReplaceAPITokens(ctx, sqlstore.APIToken{ID: id, Hash: hash[:], Name: "admin", CreatedAt: s.now()},
		s.event(access.Component("first-start"), "api_token.created", "api_token", id, "name", "admin"))
}
