// Package pki decides what Holdfast's certificates say and what it accepts from others: certificate profiles, checks of
// certificate signing requests, issuing, renewal, revocation lists and OCSP.
//
// What it promises. A certificate leaves this package only if it has a unique positive serial handed in by the caller,
// names exactly one SPIFFE identity, does not outlive the authority that signs it, carries the key that was checked, and
// its signature has been verified with the authority's public key. A [CheckedKey] exists only for a key that passed the
// strength rules; a [CSR] exists only if its sender proved that it holds the private key. Every parser of outside bytes
// is bounded in size before it looks at content.
//
// What it trusts. Time and randomness are arguments. Private keys are reached only through [crypto.Signer]; what a
// signer returns is verified before a certificate or a revocation list is handed out. Serial numbers are reserved by the
// caller before signing: uniqueness is the caller's table, not this package's.
//
// Who could break what. Whoever chooses a [Subject] chooses who the holder is: the rules for who may ask for which
// identity live in package enroll, not here. Whoever may name a gateway may name a TLS server, because old TLS clients
// fall back to the common name of a certificate with the serverAuth purpose and no DNS name. Whoever holds an issuing
// key or a responder key can answer for the fleet until the certificate of that key ends or is revoked. A [WeakKeys]
// list can only refuse keys, never admit one.
//
// The package is pure: it opens no file, no socket and no database, reads no clock and writes no log.
package pki
