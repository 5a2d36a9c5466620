package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// rotation is what the flags of ca rotate say.
type rotation struct {
	rootKey, identity, passphraseFile, rootCert string
	algorithm, validity, reason                 string
}

func caRotate(a *app) *cobra.Command {
	var r rotation
	cmd := &cobra.Command{Use: "rotate", Short: "Make a new issuing authority; devices keep their certificates", Args: cobra.NoArgs,
		Long: `Make a new issuing authority. The server makes its key; this command opens the
root key here, signs the new authority's certificate with it and hands that in.
The root key never reaches the server. Certificates that devices have stay valid.
With the root key on a machine without a network, take three steps instead:
ca request, ca sign, ca install.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotate(cmd, r) }}
	f := cmd.Flags()
	rootKeyFlags(f, &r)
	f.StringVar(&r.rootCert, "root-cert", "auto", "PEM file with the root's certificate, or auto: the server's")
	f.StringVar(&r.algorithm, "algorithm", "", "key of the new authority: P-256, P-384 or Ed25519 (default: as configured)")
	f.StringVar(&r.validity, "validity", "1825d", "of the new authority, at most the root's")
	f.StringVar(&r.reason, "reason", "", reasonForSecond)
	_ = cmd.MarkFlagRequired("root-key")
	cmd.MarkFlagsMutuallyExclusive("identity", "passphrase-file")
	return cmd
}

// rootKeyFlags say where the sealed root key is and what opens it.
func rootKeyFlags(f *pflag.FlagSet, r *rotation) {
	f.StringVar(&r.rootKey, "root-key", "", "sealed root key, as ca init wrote it")
	f.StringVar(&r.identity, "identity", "", "age identity file that opens it")
	f.StringVar(&r.passphraseFile, "passphrase-file", "", "file with the passphrase that opens it (default: ask)")
}

// rotate opens the root key before it asks the server for anything, so that a
// wrong passphrase leaves no half-made authority behind.
func (a *app) rotate(cmd *cobra.Command, r rotation) error {
	validity, err := validityOf("validity", r.validity)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	cas, err := c.CAs(cmd.Context())
	if err != nil {
		return err
	}
	signer, err := a.openRootKey(r)
	if err != nil {
		return err
	}
	root, err := rootCertificate(r.rootCert, cas, signer)
	if err != nil {
		return err
	}
	if err := a.confirm("a new issuing authority under %q takes over from now on", root.Subject.CommonName); err != nil {
		return err
	}
	text, err := c.Because(r.reason).BeginRotation(cmd.Context(), r.algorithm)
	if err != nil {
		return err
	}
	der, err := signRequest([]byte(text), root, signer, validity, urlsOfRoot(cas, root))
	if err != nil {
		return err
	}
	ca, err := c.Because(r.reason).FinishRotation(cmd.Context(), pki.EncodePEM("CERTIFICATE", der))
	if err != nil {
		return err
	}
	return printItem(a, ca, caCols)
}

func (a *app) openRootKey(r rotation) (crypto.Signer, error) {
	ids, err := a.identities(r.identity, r.passphraseFile)
	if err != nil {
		return nil, err
	}
	plain, err := openSealed(r.rootKey, ids...)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var signer crypto.Signer
	if block, _ := pem.Decode(plain); block != nil {
		signer, err = parsePKCS8(block.Bytes)
	} else {
		signer, err = parsePKCS8(plain)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the root key: %w", err)
	}
	return signer, nil
}

// rootCertificate finds the root whose key signer is.
func rootCertificate(file string, cas []adminapi.CA, signer crypto.Signer) (*x509.Certificate, error) {
	var texts [][]byte
	if file != "auto" {
		text, err := readSmall(file, pki.MaxPEM)
		if err != nil {
			return nil, fmt.Errorf("reading the root's certificate: %w", err)
		}
		texts = append(texts, text)
	} else {
		for _, ca := range cas {
			if ca.Role == "root" {
				texts = append(texts, []byte(ca.PEM))
			}
		}
	}
	key, _ := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	for _, text := range texts {
		certs, err := pki.ParseCertificatesPEM(text)
		if err != nil {
			return nil, fmt.Errorf("reading the root's certificate: %w", err)
		}
		for _, cert := range certs {
			if key != nil && key.Equal(cert.PublicKey) {
				return cert, nil
			}
		}
	}
	return nil, fixing("use the root key of this server, or name its certificate with --root-cert", errors.New("the key belongs to none of the server's roots"))
}

// urlsOfRoot takes the addresses that the root's present issuing authority was
// given: they are the root's own, and the same for all its authorities.
func urlsOfRoot(cas []adminapi.CA, root *x509.Certificate) pki.URLs {
	var urls pki.URLs
	first := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	for _, ca := range cas {
		certs, err := pki.ParseCertificatesPEM([]byte(ca.PEM))
		if ca.Role != "issuing" || err != nil || certs[0].CheckSignatureFrom(root) != nil {
			continue
		}
		urls = pki.URLs{OCSP: first(certs[0].OCSPServer), CAIssuers: first(certs[0].IssuingCertificateURL), CRL: first(certs[0].CRLDistributionPoints)}
		if ca.Status == "active" {
			break
		}
	}
	return urls
}
