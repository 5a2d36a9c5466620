// Package audit is the tamper-evident record of what happened in a fleet: events, the Merkle log that holds them,
// the signed checkpoints that name its state, and everything an outsider needs to check it with a public key and a file.
//
// It promises that an [Event] has exactly one encoding; that a tree built by [Append] has the root RFC 6962 gives it;
// that [Verify], [VerifyProof], [Open] and [DecideWitness] accept nothing that is not covered by a signature of the key
// they were given; and that no input makes them use memory or time out of proportion to its length. The formats are
// public ones: C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature and tlog-witness, so that other
// people's monitors and witnesses work with this log.
//
// It trusts SHA-256, Ed25519, the holder of the log's private key not to sign two histories, and its caller for the
// time and for the durability and atomicity of what it stores. It does not trust the store that tiles are read from:
// whoever writes to the tiles can make proofs fail and can make [Append] compute another root, which is why
// [Appended] carries the root before the batch too. A sequencer compares it with the checkpoint it signed last and
// stops when they differ. Whoever holds the log's private key can rewrite everything after the newest checkpoint that
// an outsider keeps; witnesses and kept checkpoints are the defence against that, and nothing inside the system is.
// Whoever can write to the database but not use the key can only be detected, not prevented from deleting.
//
// The package only computes: it opens no file or socket, reads no clock and draws no randomness.
package audit
