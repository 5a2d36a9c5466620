package pki

// CSRAttributes returns the CsrAttrs in DER (RFC 7030 section 4.5.2) that tell a client which key and signature to use:
// for the curves an attribute id-ecPublicKey with the named curve and the signature algorithm, for Ed25519 its one
// identifier (RFC 8410). An alg that does not exist yields the attributes of P256.
func CSRAttributes(alg KeyAlg) []byte {
	const (
		p256 = "\x30\x15\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x31\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" + // prime256v1
			"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02" // ecdsa-with-SHA256
		p384 = "\x30\x12\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x31\x07\x06\x05\x2b\x81\x04\x00\x22" + // secp384r1
			"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03" // ecdsa-with-SHA384
		ed25519 = "\x06\x03\x2b\x65\x70"
	)
	body := p256
	switch alg {
	case P384:
		body = p384
	case Ed25519:
		body = ed25519
	}
	return append(appendHeader(nil, 0x30, len(body)), body...)
}
