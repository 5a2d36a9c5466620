package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
)

var (
	oidSubjectAltName     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidCommonName         = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSubjectSerial      = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidChallengePassword  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidOCSPNoCheck        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	oidHardwareModuleName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}
)

// extensionValue returns the value of the one extension with that identifier.
func extensionValue(cert *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, error) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return e.Value, nil
		}
	}
	return nil, errors.New("it has no extension " + id.String())
}
