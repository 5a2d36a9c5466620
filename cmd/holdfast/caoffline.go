package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
)

// Rotation in three steps, for a root key on a machine without a network: request
// on one that reaches the server, sign on the offline one, install on the first.

func caRequest(a *app) *cobra.Command {
	var algorithm, out, reason string
	cmd := &cobra.Command{Use: "request", Short: "Rotation, step 1 of 3: have the server make a new issuing key, and write its request", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			text, err := c.Because(reason).BeginRotation(cmd.Context(), algorithm)
			if err != nil {
				return err
			}
			if err := durable.Create(out, []byte(text), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.err, "%s written: sign it with the root key (holdfast ca sign), then hand in the certificate (holdfast ca install)\n", plain(out))
			return err
		}}
	cmd.Flags().StringVar(&algorithm, "algorithm", "", "key of the new authority: P-256, P-384 or Ed25519 (default: as configured)")
	cmd.Flags().StringVar(&out, "out", "issuing-request.pem", "new file for the request")
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	return cmd
}

func caSign(a *app) *cobra.Command {
	var r rotation
	var request, out string
	cmd := &cobra.Command{Use: "sign", Short: "Rotation, step 2 of 3: sign the request with the root key; needs no server and no network", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.signOffline(r, request, out) }}
	f := cmd.Flags()
	rootKeyFlags(f, &r)
	f.StringVar(&r.rootCert, "root-cert", "", "PEM file with the root's certificate, such as the server's ca.pem")
	f.StringVar(&r.validity, "validity", "1825d", "of the new authority, at most the root's")
	f.StringVar(&request, "request", "issuing-request.pem", "the request")
	f.StringVar(&out, "out", "issuing.pem", "new file for the certificate")
	_ = cmd.MarkFlagRequired("root-key")
	_ = cmd.MarkFlagRequired("root-cert")
	cmd.MarkFlagsMutuallyExclusive("identity", "passphrase-file")
	return cmd
}

func (a *app) signOffline(r rotation, request, out string) error {
	validity, err := validityOf("validity", r.validity)
	if err != nil {
		return err
	}
	text, err := readSmall(request, pki.MaxPEM)
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	signer, err := a.openRootKey(r)
	if err != nil {
		return err
	}
	root, err := rootCertificate(r.rootCert, nil, signer)
	if err != nil {
		return err
	}
	if err := a.confirm("the root %q signs a new issuing authority", root.Subject.CommonName); err != nil {
		return err
	}
	der, err := signRequest(text, root, signer, validity, pki.URLs{})
	if err != nil {
		return err
	}
	if err := durable.Create(out, pki.EncodePEM("CERTIFICATE", der), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "%s written: hand it in with holdfast ca install\n", plain(out))
	return err
}

// signRequest makes the certificate of the authority that a PEM request is for.
func signRequest(text []byte, root *x509.Certificate, signer crypto.Signer, validity time.Duration, urls pki.URLs) ([]byte, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fixing("give the file that holdfast ca request wrote", errors.New("reading the new authority's request: it is not PEM"))
	}
	csr, err := pki.ParseCSR(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the new authority's request: %w", err)
	}
	return pki.SignIssuing(rand.Reader, root, signer, csr, time.Now(), validity, urls)
}

func caInstall(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "install FILE", Short: "Rotation, step 3 of 3: hand in the signed certificate; the new authority issues from then on", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readSmall(args[0], pki.MaxPEM)
			if err != nil {
				return fmt.Errorf("reading the certificate: %w", err)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			ca, err := c.Because(reason).FinishRotation(cmd.Context(), text)
			if err != nil {
				return err
			}
			return printItem(a, ca, caCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	return cmd
}
