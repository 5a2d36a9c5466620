package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxIDevIDChain bounds how many certificates a manufacturer's chain may have.
const maxIDevIDChain = 8

// IDevID is what a verified manufacturer certificate (IEEE 802.1AR initial device identifier) says.
type IDevID struct {
	SerialNumber string // subject attribute serialNumber, else hwSerialNum; 1 to 64 printable ASCII characters
	HardwareType string // hwType of the HardwareModuleName as dotted decimals, "" if absent
	Issuer       string // issuer of the certificate, RFC 2253
	AnchorKey    KeyID  // key of the trust anchor that the chain ends in
	KeyID        KeyID  // key of the device
}

// VerifyIDevID verifies a manufacturer's chain, the device's certificate first, against the anchors uploaded for a
// device type, and reads the serial number. Any extended key usage will do, and an end of 99991231235959Z (IEEE 802.1AR
// section 8.7: "no end") is legal. Critical extensions that are not understood are refused, except a subject alternative
// name that consists of one HardwareModuleName (RFC 4108 section 5). The device's key must pass CheckKey. Revocation is
// not looked at, and proof that the peer holds the key is the TLS handshake's business.
func VerifyIDevID(chain []*x509.Certificate, anchors *x509.CertPool, now time.Time) (IDevID, error) {
	id, err := verifyIDevID(chain, anchors, now)
	if err != nil {
		return IDevID{}, fmt.Errorf("verifying a manufacturer's certificate: %w", err)
	}
	return id, nil
}

func verifyIDevID(chain []*x509.Certificate, anchors *x509.CertPool, now time.Time) (IDevID, error) {
	if len(chain) == 0 || len(chain) > maxIDevIDChain || slices.Contains(chain, nil) {
		return IDevID{}, fmt.Errorf("the chain has %d certificates instead of 1 to %d", len(chain), maxIDevIDChain)
	}
	if anchors == nil || now.IsZero() {
		return IDevID{}, errors.New("the trust anchors or the time are missing")
	}
	leaf := *chain[0]
	if leaf.IsCA {
		return IDevID{}, errors.New("it is the certificate of an authority")
	}
	hwType, hwSerial, alone, err := hardwareModule(&leaf)
	if err != nil {
		return IDevID{}, err
	}
	if alone {
		// All of the extension is understood, so it may be critical. The slice is replaced, never changed: it is shared.
		var rest []asn1.ObjectIdentifier
		for _, oid := range leaf.UnhandledCriticalExtensions {
			if !oid.Equal(oidSubjectAltName) {
				rest = append(rest, oid)
			}
		}
		leaf.UnhandledCriticalExtensions = rest
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: anchors, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return IDevID{}, err
	}
	key, err := CheckKey(leaf.PublicKey)
	if err != nil {
		return IDevID{}, err
	}
	serial, err := subjectSerial(&leaf)
	if err != nil {
		return IDevID{}, err
	}
	if serial == "" {
		serial = hwSerial
	}
	if serial == "" {
		return IDevID{}, errors.New("it has neither a serial number in its subject nor a hardware module name")
	}
	top := chains[0][len(chains[0])-1]
	anchor, err := KeyIDOf(top.PublicKey)
	if err != nil {
		return IDevID{}, err
	}
	return IDevID{SerialNumber: serial, HardwareType: hwType, Issuer: leaf.Issuer.String(), AnchorKey: anchor, KeyID: key.id}, nil
}

func subjectSerial(cert *x509.Certificate) (string, error) {
	serial, found := "", false
	for _, a := range cert.Subject.Names {
		if !a.Type.Equal(oidSubjectSerial) {
			continue
		}
		text, ok := a.Value.(string)
		if found || !ok || !printable(text) {
			return "", errors.New("its subject does not have one serial number of 1 to 64 printable characters")
		}
		serial, found = text, true
	}
	return serial, nil
}

func printable(text string) bool {
	if text == "" || len(text) > 64 {
		return false
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] > 0x7e {
			return false
		}
	}
	return true
}

// hardwareModule reads the HardwareModuleName of a subject alternative name; the texts are empty if there is none. alone
// says that the extension holds nothing else, so that it has been understood completely.
func hardwareModule(cert *x509.Certificate) (hwType, hwSerial string, alone bool, err error) {
	der, err := extensionValue(cert, oidSubjectAltName)
	if err != nil {
		return "", "", false, nil
	}
	in := cryptobyte.String(der)
	var names cryptobyte.String
	if !in.ReadASN1(&names, cbasn1.SEQUENCE) || !in.Empty() {
		return "", "", false, errors.New("its subject alternative name is malformed")
	}
	others := false
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		var kind asn1.ObjectIdentifier
		if !names.ReadAnyASN1(&name, &tag) {
			return "", "", false, errors.New("its subject alternative name is malformed")
		}
		if tag != tagExplicit0 {
			others = true
			continue
		}
		if !name.ReadASN1ObjectIdentifier(&kind) {
			return "", "", false, errors.New("its subject alternative name is malformed")
		}
		if !kind.Equal(oidHardwareModuleName) {
			others = true
			continue
		}
		if hwType != "" {
			return "", "", false, errors.New("it has more than one hardware module name")
		}
		if hwType, hwSerial, err = readHardwareModule(name); err != nil {
			return "", "", false, err
		}
	}
	return hwType, hwSerial, hwType != "" && !others, nil
}

// readHardwareModule reads the value of the otherName, after its type (RFC 4108 section 5). A serial number that is not
// printable becomes hexadecimal.
func readHardwareModule(in cryptobyte.String) (hwType, hwSerial string, err error) {
	var value, module, serial cryptobyte.String
	var hw asn1.ObjectIdentifier
	if !in.ReadASN1(&value, tagExplicit0) || !in.Empty() || !value.ReadASN1(&module, cbasn1.SEQUENCE) || !value.Empty() ||
		!module.ReadASN1ObjectIdentifier(&hw) || !module.ReadASN1(&serial, cbasn1.OCTET_STRING) || !module.Empty() {
		return "", "", errors.New("its hardware module name is malformed")
	}
	text := string(serial)
	if !printable(text) {
		text = hex.EncodeToString(serial)
	}
	if !printable(text) {
		return "", "", errors.New("its hardware serial number is empty or longer than 64 characters")
	}
	return hw.String(), text, nil
}
