package enroll

import (
	"errors"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
)

// ParseCSR is pki.ParseCSR with its errors as refusals.
func ParseCSR(der []byte) (*pki.CSR, error) {
	csr, err := pki.ParseCSR(der)
	var bad *pki.CSRError
	if errors.As(err, &bad) {
		kind := refusal.Invalid
		if bad.Code == pki.CodeCSRTooLarge {
			kind = refusal.TooLarge
		}
		return nil, &refusal.Refusal{Kind: kind, Code: bad.Code, Detail: bad.Detail, Fix: bad.Fix}
	}
	return csr, err
}

func renewalRefusal(err error) error {
	var bad *pki.RenewalError
	if errors.As(err, &bad) {
		return &refusal.Refusal{Kind: refusal.Forbidden, Code: bad.Code, Detail: bad.Detail, Fix: bad.Fix}
	}
	return err
}
