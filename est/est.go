// Package est speaks Enrollment over Secure Transport (RFC 7030, as clarified by RFC 8951): its messages, an HTTP handler
// in front of a [Backend], and a client.
//
// It promises to carry bytes and to decide nothing. Every body is read up to a fixed limit and parsed strictly; what the
// backend receives is one well-formed DER value with no trailing bytes, not a CSR whose signature or key was checked.
// Refusals leave as problem documents (RFC 9457) that say what to do next, and an error that was not written for the
// other side never reaches it. Passwords, tokens and private keys are types that cannot be printed or marshalled; the
// handler erases a private key once it is written, as far as its own buffers go (net/http and TLS keep copies of theirs).
//
// It trusts the program to put it behind TLS that asks for a client certificate without verifying it
// (tls.RequestClientCert) or with verification of its own, to bound headers and time on the http.Server, and to limit
// requests per source. A peer chain is handed over as presented: TLS proved possession of the leaf's key and nothing else,
// so a backend that believes Peer without verifying it lets anybody enrol as anybody. Behind a proxy that ends TLS there
// is no peer and no channel binding, and Source is the proxy unless Config.Source says otherwise; a Config.Source that
// believes a header which clients may set hands them the choice of their address. The client trusts exactly the anchors
// in the tls.Config of its http.Client: whoever can write those can be its CA.
package est

import "regexp"

// Path is where every operation lives (RFC 7030 section 3.2.2): Path + operation, or Path + label + "/" + operation.
const Path = "/.well-known/est/"

// Limits on what comes from outside, in bytes unless said otherwise. A longer input is refused, never cut.
const (
	MaxRequest     = 64 << 10  // body of a request, encoded
	MaxResponse    = 256 << 10 // body of a response, encoded
	MaxCSRAttrs    = 16 << 10  // CSR attributes, DER
	MaxCertificate = 32        // certificates in one response, a count
	MaxCredential  = 4 << 10   // value of the Authorization header
	MaxLabel       = 64        // label of a path
)

// Op is an operation, spelled as in the path.
type Op string

// The operations of RFC 7030 section 3.2.2. OpFullCMC is known and refused.
const (
	OpCACerts      Op = "cacerts"
	OpEnroll       Op = "simpleenroll"
	OpReenroll     Op = "simplereenroll"
	OpCSRAttrs     Op = "csrattrs"
	OpServerKeyGen Op = "serverkeygen"
	OpFullCMC      Op = "fullcmc"
)

// known reports whether the operation is one of RFC 7030.
func (op Op) known() bool {
	switch op {
	case OpCACerts, OpEnroll, OpReenroll, OpCSRAttrs, OpServerKeyGen, OpFullCMC:
		return true
	}
	return false
}

// posts reports whether the operation takes a CSR by POST; the others are reads.
func (op Op) posts() bool {
	return op == OpEnroll || op == OpReenroll || op == OpServerKeyGen
}

var labelForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidLabel reports whether s may stand as the label of a path: 1 to 64 of A-Z a-z 0-9 . _ -, not "." or "..", and
// not the name of an operation (RFC 7030 section 3.2.2).
func ValidLabel(s string) bool {
	return labelForm.MatchString(s) && s != "." && s != ".." && !Op(s).known()
}
