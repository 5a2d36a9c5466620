package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The codes of RenewalError. They are stable.
const (
	CodeRenewalNotYetValid = "renewal-not-yet-valid"
	CodeRenewalTooLate     = "renewal-too-late"
	CodeRenewalSubject     = "renewal-subject-differs"
	CodeRenewalAltName     = "renewal-alt-name-differs"
)

// RenewalError says why a certificate cannot be renewed, in words written for its holder.
type RenewalError struct {
	Code   string // one of the constants above
	Detail string // what is wrong
	Fix    string // what to do next
}

func (e *RenewalError) Error() string {
	return "checking the renewal: " + e.Detail + " (" + e.Code + ")"
}

// CheckRenewal decides whether the holder of current may have it renewed with csr at now (RFC 7030 section 4.2.2): the
// request names the same subject, its subject alternative names, if any, are the same set, and now lies between the
// start of current and grace after its end (grace below 0 counts as 0). Strings of the subject are compared by value
// whatever their ASN.1 type, because clients rewrite PrintableString as UTF8String. Refusals are *RenewalError.
// Whether current is trusted and not revoked is asked elsewhere: VerifyChain and the caller's records.
func CheckRenewal(current *x509.Certificate, csr *CSR, now time.Time, grace time.Duration) error {
	if now.Before(current.NotBefore) {
		return &RenewalError{CodeRenewalNotYetValid,
			"the certificate is valid only from " + current.NotBefore.UTC().Format(time.RFC3339), "check the clocks and try again then"}
	}
	if now.After(current.NotAfter.Add(max(grace, 0))) {
		return &RenewalError{CodeRenewalTooLate,
			"the certificate ended at " + current.NotAfter.UTC().Format(time.RFC3339) + " and the time for late renewal is over",
			"enrol again with a token or the manufacturer's certificate"}
	}
	if same, err := sameName(current.RawSubject, csr.subject); err != nil || !same {
		return &RenewalError{CodeRenewalSubject, "the subject of the request is not that of the certificate",
			fmt.Sprintf("request exactly the subject %q, or enrol anew for another identity", current.Subject)}
	}
	if csr.san == nil {
		return nil
	}
	san, err := extensionValue(current, oidSubjectAltName)
	if err == nil {
		var same bool
		if same, err = sameGeneralNames(san, csr.san); err == nil && same {
			return nil
		}
	}
	return &RenewalError{CodeRenewalAltName, "the subject alternative names of the request are not those of the certificate",
		"leave them out of the request, or repeat all of them unchanged"}
}

// sameName compares two Names in DER attribute by attribute.
func sameName(a, b []byte) (bool, error) {
	if bytes.Equal(a, b) {
		return true, nil
	}
	var x, y pkix.RDNSequence
	for _, n := range []struct {
		der []byte
		to  *pkix.RDNSequence
	}{{a, &x}, {b, &y}} {
		if rest, err := asn1.Unmarshal(n.der, n.to); err != nil || len(rest) > 0 {
			return false, errors.New("comparing names: one of them is malformed")
		}
	}
	return slices.EqualFunc(x, y, func(s, t pkix.RelativeDistinguishedNameSET) bool {
		return slices.EqualFunc(s, t, func(v, w pkix.AttributeTypeAndValue) bool {
			p, ok := v.Value.(string)
			q, ok2 := w.Value.(string)
			return ok && ok2 && v.Type.Equal(w.Type) && p == q
		})
	}), nil
}

// sameGeneralNames compares two SubjectAltNames in DER as sets.
func sameGeneralNames(a, b []byte) (bool, error) {
	x, err := generalNames(a)
	if err != nil {
		return false, err
	}
	y, err := generalNames(b)
	if err != nil {
		return false, err
	}
	return slices.Equal(x, y), nil
}

// generalNames returns the elements of a GeneralNames in DER, sorted and without repetition.
func generalNames(der []byte) ([]string, error) {
	in := cryptobyte.String(der)
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("reading alternative names: they are malformed")
	}
	var names []string
	for !list.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1Element(&name, &tag) {
			return nil, errors.New("reading alternative names: they are malformed")
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// GraceTime is the time at which to verify the chain of a certificate that is being renewed late: now, or the last
// second of the certificate if it ended less than grace ago. Later than that it is now, and verifying will fail.
func GraceTime(cert *x509.Certificate, now time.Time, grace time.Duration) time.Time {
	if now.After(cert.NotAfter) && !now.After(cert.NotAfter.Add(max(grace, 0))) {
		return cert.NotAfter
	}
	return now
}

// VerifyChain verifies that peer chains to one of roots at a time, for a purpose. roots must not be nil and at must not
// be zero: the defaults of crypto/x509, which are the system's roots and clock, have no place here. Revocation is not
// looked at.
func VerifyChain(peer *x509.Certificate, intermediates, roots *x509.CertPool, at time.Time, eku x509.ExtKeyUsage) error {
	if peer == nil || roots == nil || at.IsZero() {
		return errors.New("verifying a certificate: the certificate, the roots or the time is missing")
	}
	_, err := peer.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{eku}})
	if err != nil {
		return fmt.Errorf("verifying a certificate: %w", err)
	}
	return nil
}
