package sso

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSA-OAEP's hash where XML Encryption names none
	_ "crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/beevik/etree"
)

// Algorithms of XML Encryption that are taken. CBC without authentication and RSA
// with PKCS #1 1.5 padding are not: whether a forged text decrypts would tell
// a stranger, who can make us try often, what is in a real one.
const (
	encAES128GCM = nsEncrypt11 + "aes128-gcm"
	encAES256GCM = nsEncrypt11 + "aes256-gcm"
	encOAEP1     = nsEncrypt + "rsa-oaep-mgf1p"
	encOAEP      = nsEncrypt11 + "rsa-oaep"
)

// errDecrypt is the one answer to every text that cannot be decrypted.
var errDecrypt = errors.New("the encrypted assertion cannot be read: use AES-GCM and RSA-OAEP, and the certificate of our metadata")

// hashes names the hashes of RSA-OAEP; "" is the default of each element.
var hashes = map[string]crypto.Hash{
	"":                         crypto.SHA1,
	nsSignature + "sha1":       crypto.SHA1,
	nsEncrypt + "sha256":       crypto.SHA256,
	nsEncrypt11 + "mgf1sha1":   crypto.SHA1,
	nsEncrypt11 + "mgf1sha256": crypto.SHA256,
}

// decryptAssertion decrypts an EncryptedAssertion (SAML Core section 2.3.4) and
// applies to what comes out the same rules as to what came in.
func decryptAssertion(el *etree.Element, key crypto.Signer) (*etree.Element, error) {
	decrypter, ok := key.(crypto.Decrypter)
	if !ok {
		return nil, errDecrypt
	}
	if _, ok := key.Public().(*rsa.PublicKey); !ok {
		return nil, errDecrypt
	}
	data, err := only(el, nsEncrypt, "EncryptedData")
	if err != nil {
		return nil, errDecrypt
	}
	wrapped := children(el, nsEncrypt, "EncryptedKey")
	for _, info := range children(data, nsSignature, "KeyInfo") {
		wrapped = append(wrapped, children(info, nsEncrypt, "EncryptedKey")...)
	}
	if len(wrapped) != 1 {
		return nil, errDecrypt
	}
	secret, err := unwrap(wrapped[0], decrypter)
	if err != nil {
		return nil, errDecrypt
	}
	plain, err := open(data, secret)
	if err != nil {
		return nil, errDecrypt
	}
	inner, err := parseXML(plain, false)
	if err != nil {
		return nil, errDecrypt
	}
	// A Response around it makes the rule on places hold for it too.
	shell := etree.NewElement("Response")
	shell.AddChild(inner)
	if !is(inner, nsAssertion, "Assertion") || checkPlaces(shell) != nil {
		return nil, errDecrypt
	}
	return inner, nil
}

// unwrap decrypts the content key (XML Encryption 1.1 section 5.5).
func unwrap(el *etree.Element, key crypto.Decrypter) ([]byte, error) {
	method, err := only(el, nsEncrypt, "EncryptionMethod")
	if err != nil {
		return nil, err
	}
	digest, mgf := "", ""
	for _, d := range children(method, nsSignature, "DigestMethod") {
		digest = attr(d, "Algorithm")
	}
	for _, m := range children(method, nsEncrypt11, "MGF") {
		mgf = attr(m, "Algorithm")
	}
	opts := &rsa.OAEPOptions{Hash: hashes[digest], MGFHash: hashes[mgf]}
	switch attr(method, "Algorithm") {
	case encOAEP1:
		opts.MGFHash = crypto.SHA1
	case encOAEP:
	default:
		return nil, errDecrypt
	}
	if opts.Hash == 0 || opts.MGFHash == 0 || len(children(method, nsEncrypt, "OAEPparams")) > 0 {
		return nil, errDecrypt
	}
	text, err := cipherText(el)
	if err != nil {
		return nil, err
	}
	return key.Decrypt(rand.Reader, text, opts)
}

// open decrypts the content (XML Encryption 1.1 section 5.2.4): 96 bits of nonce,
// the text, 128 bits of tag.
func open(el *etree.Element, secret []byte) ([]byte, error) {
	method, err := only(el, nsEncrypt, "EncryptionMethod")
	if err != nil {
		return nil, err
	}
	size := map[string]int{encAES128GCM: 16, encAES256GCM: 32}[attr(method, "Algorithm")]
	if size == 0 || len(secret) != size {
		return nil, errDecrypt
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	text, err := cipherText(el)
	if err != nil || len(text) < gcm.NonceSize() {
		return nil, errDecrypt
	}
	return gcm.Open(nil, text[:gcm.NonceSize()], text[gcm.NonceSize():], nil)
}

func cipherText(el *etree.Element) ([]byte, error) {
	data, err := only(el, nsEncrypt, "CipherData")
	if err != nil {
		return nil, err
	}
	value, err := only(data, nsEncrypt, "CipherValue")
	if err != nil {
		return nil, err
	}
	t, ok := text(value)
	if !ok {
		return nil, errDecrypt
	}
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(t), ""))
}
