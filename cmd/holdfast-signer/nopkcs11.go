//go:build !(pkcs11 && cgo)

package main

import (
	"errors"

	"github.com/holdfast-iot/holdfast/server/keystore"
)

func built() error {
	return errors.New("this program was built without PKCS#11; build it with: CGO_ENABLED=1 go build -tags pkcs11 ./cmd/holdfast-signer")
}

func openToken(string, string, secret) (keystore.Store, func() error, error) {
	return nil, nil, built()
}
