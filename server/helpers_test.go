package server

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

type importErr = adminapi.ImportError

func importRows(n int) []adminapi.ImportRow {
	rows := make([]adminapi.ImportRow, n)
	for i := range rows {
		rows[i] = adminapi.ImportRow{Line: i + 2, Device: device.Device{ID: device.ID(fmt.Sprintf("dev-%06d", i)), Type: "sensor", Zone: "plant",
			Labels: map[string]string{"site": "north"}}}
	}
	return rows
}

// signWithRoot does what an operator does offline: opens the sealed root key and
// signs the request.
func signWithRoot(t *testing.T, r *running, request string) string {
	t.Helper()
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(r.cfg.Data, rootRecoveryFile))
	fatal(err)
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	fatal(err)
	sealed, err := os.ReadFile(filepath.Join(r.cfg.Data, rootKeyFile))
	fatal(err)
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), ids...)
	fatal(err)
	keyPEM, err := io.ReadAll(plain)
	fatal(err)
	block, _ := pem.Decode(keyPEM)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	fatal(err)
	block, _ = pem.Decode([]byte(request))
	csr, err := pki.ParseCSR(block.Bytes)
	fatal(err)
	der, err := pki.SignIssuing(rand.Reader, r.authority.Load().roots[0], key.(crypto.Signer), csr, time.Now(), 24*365*time.Hour, pki.URLs{})
	fatal(err)
	return string(pki.EncodePEM("CERTIFICATE", der))
}
