package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// tpmConn is a connection and what it holds in the TPM: the storage root key,
// one session, and at most one signing key, because a TPM need not have room
// for more than three objects.
type tpmConn struct {
	tpm     transport.TPMCloser
	alone   bool // no resource manager: nobody cleans up after a program that was killed
	root    tpm2.NamedHandle
	session tpm2.Session // HMAC, salted with the root key, encrypts first parameters
	end     func() error

	loaded *tpmKeyBlob
	key    tpm2.NamedHandle
}

func connectTPM(device string) (*tpmConn, error) {
	tpm, socket, err := openTPM(device)
	if err != nil {
		return nil, err
	}
	c := &tpmConn{tpm: tpm, alone: socket}
	err = c.prepare()
	if c.makeRoom(err) {
		c.root = tpm2.NamedHandle{}
		err = c.prepare()
	}
	if err != nil {
		_ = c.close()
		return nil, fmt.Errorf("preparing the TPM %s: %w", device, err)
	}
	return c, nil
}

func openTPM(device string) (tpm transport.TPMCloser, socket bool, err error) {
	info, err := os.Stat(device)
	if err == nil {
		switch info.Mode().Type() &^ fs.ModeCharDevice {
		case fs.ModeSocket:
			socket = true
			tpm, err = linuxudstpm.Open(device)
		case fs.ModeDevice:
			tpm, err = linuxtpm.Open(device)
		default:
			err = errors.New("it is neither a device nor a socket")
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; let the service's user into the group that owns the device, often tss", err)
	}
	if err != nil {
		return nil, false, fmt.Errorf("opening the TPM %s: %w", device, err)
	}
	return tpm, socket, nil
}

// prepare makes the storage root key and a session salted with it, so that
// someone on the bus between processor and TPM can neither read the parameters
// nor change what is signed.
func (c *tpmConn) prepare() error {
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(c.tpm)
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("making the storage root key: the owner hierarchy has a password, and must have none: %w", err)
	}
	if err != nil {
		return fmt.Errorf("making the storage root key: %w", err)
	}
	c.root = tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name}
	public, err := primary.OutPublic.Contents()
	if err != nil {
		return fmt.Errorf("reading the storage root key: %w", err)
	}
	name, err := tpm2.ObjectName(public)
	if err != nil || !bytes.Equal(name.Buffer, primary.Name.Buffer) {
		return fmt.Errorf("reading the storage root key: its name is not that of its public area (%v)", err)
	}
	c.session, c.end, err = tpm2.HMACSession(c.tpm, tpm2.TPMAlgSHA256, 16,
		tpm2.Salted(c.root.Handle, *public), tpm2.AESEncryption(128, tpm2.EncryptIn))
	if err != nil {
		return fmt.Errorf("starting a session: %w", err)
	}
	return nil
}

// makeRoom frees everything in a TPM that is ours alone if err says that it is
// full, and says whether it did. Should another program share the TPM after
// all, its next command fails: sessions bind each command to the name of its
// key, so that a handle that now means another key is not used by mistake.
func (c *tpmConn) makeRoom(err error) bool {
	full := errors.Is(err, tpm2.TPMRCObjectMemory) || errors.Is(err, tpm2.TPMRCSessionMemory)
	return full && c.alone && errors.Join(flushAll(c.tpm, tpm2.TPMHTTransient), flushAll(c.tpm, tpm2.TPMHTLoadedSession)) == nil
}

func (c *tpmConn) close() error {
	err := c.unload()
	if c.end != nil {
		err = errors.Join(err, unlessGone(c.end()))
	}
	if c.root.Handle != 0 {
		err = errors.Join(err, flush(c.tpm, c.root.Handle))
	}
	if closeErr := c.tpm.Close(); closeErr != nil && !errors.Is(closeErr, linuxudstpm.ErrNotOpen) {
		err = errors.Join(err, closeErr) // a software TPM's socket is closed after each command
	}
	if err != nil {
		return fmt.Errorf("closing the TPM: %w", err)
	}
	return nil
}

func (c *tpmConn) auth(h tpm2.NamedHandle) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: c.session}
}

// create has the TPM make a key and fills in the blob.
func (c *tpmConn) create(blob *tpmBlob) error {
	if err := c.unload(); err != nil {
		return err
	}
	made, err := tpm2.Create{ParentHandle: c.auth(c.root), InPublic: tpm2.New2B(signTemplate(blob.Alg))}.Execute(c.tpm)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	blob.Root = c.root.Name.Buffer
	blob.Public = made.OutPublic.Bytes()
	blob.Private = made.OutPrivate.Buffer
	return nil
}

// use makes a key the loaded one.
func (c *tpmConn) use(key *tpmKeyBlob) error {
	if c.loaded == key {
		return nil
	}
	if !bytes.Equal(key.root, c.root.Name.Buffer) {
		return errOtherTPM
	}
	if err := c.unload(); err != nil {
		return err
	}
	loaded, err := tpm2.Load{ParentHandle: c.auth(c.root), InPrivate: key.private, InPublic: tpm2.New2B(key.public)}.Execute(c.tpm)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return fmt.Errorf("%w: the TPM refuses it: %v", ErrDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("loading the key: %w", err)
	}
	c.loaded, c.key = key, tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}
	return nil
}

func (c *tpmConn) unload() error {
	if c.loaded == nil {
		return nil
	}
	c.loaded = nil
	return flush(c.tpm, c.key.Handle)
}

var tpmHashes = map[crypto.Hash]tpm2.TPMIAlgHash{crypto.SHA256: tpm2.TPMAlgSHA256, crypto.SHA384: tpm2.TPMAlgSHA384, crypto.SHA512: tpm2.TPMAlgSHA512}

// sign returns an ASN.1 ECDSA signature.
func (c *tpmConn) sign(key *tpmKeyBlob, digest []byte, hash crypto.Hash) ([]byte, error) {
	if err := c.use(key); err != nil {
		return nil, err
	}
	answer, err := tpm2.Sign{
		KeyHandle:  c.auth(c.key),
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpmHashes[hash]})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("having the TPM sign: %w", err)
	}
	ecc, err := answer.Signature.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("reading the TPM's signature: %w", err)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(ecc.SignatureR.Buffer), new(big.Int).SetBytes(ecc.SignatureS.Buffer)})
}

// signTemplate describes a signing key that never leaves its TPM. It has no
// password, and is left out of the dictionary attack lockout, which would let
// failed guesses against other objects stop the issuing of certificates.
func signTemplate(alg Alg) tpm2.TPMTPublic {
	curve := tpm2.TPMECCNistP256
	if alg == P384 {
		curve = tpm2.TPMECCNistP384
	}
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme:    tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull},
			CurveID:   curve,
			KDF:       tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// eccPoint converts a public key and checks that it is on its curve.
func eccPoint(alg Alg, p *tpm2.TPMSECCPoint) (*ecdsa.PublicKey, error) {
	curve := alg.curve()
	size := (curve.Params().BitSize + 7) / 8
	if len(p.X.Buffer) > size || len(p.Y.Buffer) > size {
		return nil, errors.New("a coordinate of its public key is too long")
	}
	uncompressed := make([]byte, 1+2*size)
	uncompressed[0] = 4
	copy(uncompressed[1+size-len(p.X.Buffer):], p.X.Buffer)
	copy(uncompressed[1+2*size-len(p.Y.Buffer):], p.Y.Buffer)
	return ecdsa.ParseUncompressedPublicKey(curve, uncompressed)
}

// flushAll frees all objects, or all sessions, in the TPM.
func flushAll(tpm transport.TPM, kind tpm2.TPMHT) error {
	got, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(kind) << 24, PropertyCount: 64}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("listing what is in the TPM: %w", err)
	}
	handles, err := got.CapabilityData.Data.Handles()
	if err != nil {
		return fmt.Errorf("listing what is in the TPM: %w", err)
	}
	for _, h := range handles.Handle {
		err = errors.Join(err, flush(tpm, h))
	}
	return err
}

func flush(tpm transport.TPM, handle tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: handle}.Execute(tpm)
	if err = unlessGone(err); err != nil {
		return fmt.Errorf("freeing the TPM's handle %x: %w", uint32(handle), err)
	}
	return nil
}

// unlessGone takes it for success that a TPM has restarted and forgotten the
// handle by itself.
func unlessGone(err error) error {
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	return err
}
