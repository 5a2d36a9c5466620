package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

var certCols = []col[adminapi.Certificate]{
	{title: "SERIAL", cell: func(c adminapi.Certificate) string { return c.Serial }},
	{title: "PROFILE", cell: func(c adminapi.Certificate) string { return c.Profile }},
	{title: "PRINCIPAL", cell: func(c adminapi.Certificate) string { return c.Principal }},
	{title: "STATUS", cell: func(c adminapi.Certificate) string { return c.Status }},
	{title: "REASON", cell: func(c adminapi.Certificate) string { return c.Reason }},
	{title: "NOT BEFORE", cell: func(c adminapi.Certificate) string { return when(c.NotBefore) }, detail: true},
	{title: "NOT AFTER", cell: func(c adminapi.Certificate) string { return when(c.NotAfter) }},
	{title: "REVOKED", cell: func(c adminapi.Certificate) string { return when(c.RevokedAt) }, detail: true},
	{title: "SPIFFE ID", cell: func(c adminapi.Certificate) string { return c.SPIFFEID }, detail: true},
	{title: "KEY", cell: func(c adminapi.Certificate) string { return c.KeyID }, detail: true},
	{title: "ISSUER", cell: func(c adminapi.Certificate) string { return c.Issuer }, detail: true},
	{title: "CREDENTIAL", cell: func(c adminapi.Certificate) string { return c.Credential }, detail: true},
}

func certCommand(a *app) *cobra.Command {
	return a.group("cert", "Certificates one by one", certList(a), certShow(a), certRevoke(a), certIssue(a))
}

func certList(a *app) *cobra.Command {
	var filter adminapi.CertificateFilter
	var expiresWithin adminapi.Duration
	cmd := &cobra.Command{Use: "list", Short: "List certificates, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expiresWithin > 0 {
				filter.ExpiresBefore = time.Now().Add(time.Duration(expiresWithin))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			l, err := c.Certificates(cmd.Context(), filter)
			if err != nil {
				return err
			}
			if err := printList(a, l.Items, certCols); err != nil || l.Next == "" {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --after %s\n", l.Next)
			return err
		}}
	f := cmd.Flags()
	f.StringVar(&filter.Principal, "principal", "", "only of this device, app or server")
	f.StringVar(&filter.Profile, "profile", "", "only this profile: device, gateway, app or server")
	f.StringVar(&filter.Status, "status", "", "only this status: reserved, issued, held, revoked or abandoned")
	f.StringVar(&filter.KeyID, "key-id", "", "only of this key")
	lengthVar(f, &expiresWithin, "expires-within", "only those that expire by then, such as 14d")
	f.StringVar(&filter.After, "after", "", "begin after this serial number")
	f.IntVar(&filter.Limit, "limit", 100, "how many, 1 to 1000")
	return cmd
}

func certShow(a *app) *cobra.Command {
	var asPEM bool
	cmd := &cobra.Command{Use: "show SERIAL", Short: "Show a certificate", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			cert, err := c.Certificate(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asPEM {
				_, err := fmt.Fprint(a.out, cert.PEM)
				return err
			}
			return printItem(a, cert, certCols)
		}}
	cmd.Flags().BoolVar(&asPEM, "pem", false, "print the certificate itself")
	return cmd
}

func certRevoke(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "revoke SERIAL", Short: "Revoke a certificate for good", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			cert, err := c.Certificate(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("certificate %s of %s %s is revoked for good", cert.Serial, cert.Profile, cert.Principal); err != nil {
				return err
			}
			cert, err = c.RevokeCertificate(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return printItem(a, cert, certCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "unspecified", "of RFC 5280 section 5.3.1: keyCompromise, superseded, cessationOfOperation, …")
	return cmd
}

// maxCSR bounds a request file, in bytes.
const maxCSR = 64 << 10

func certIssue(a *app) *cobra.Command {
	var in adminapi.CertificateInput
	var csrFile, keyFile, algorithm, out string
	cmd := &cobra.Command{Use: "issue", Short: "Issue a certificate for an app or a server", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if _, err := os.Lstat(out); err == nil {
				return fixing("choose another --out", fmt.Errorf("%s exists already", out))
			}
			if in.CSR, err = a.request(csrFile, keyFile, algorithm, in.ID); err != nil {
				return err
			}
			issued, err := c.IssueCertificate(cmd.Context(), in)
			if err != nil {
				return err
			}
			chain := issued.Certificate.PEM + strings.Join(issued.Chain, "")
			if len(issued.Chain) > 0 && strings.TrimSpace(issued.Chain[0]) == strings.TrimSpace(issued.Certificate.PEM) {
				chain = strings.Join(issued.Chain, "") // the chain begins with the certificate
			}
			if err := durable.Create(out, []byte(chain), 0o644); err != nil {
				return fixing("get it with `holdfast cert show "+issued.Certificate.Serial+" --pem`", err)
			}
			return printItem(a, issued.Certificate, certCols)
		}}
	f := cmd.Flags()
	f.StringVar(&in.Profile, "profile", "app", "app or server")
	f.StringVar(&in.ID, "id", "", "name of the app or server")
	f.StringVar(&csrFile, "csr", "", "request in PEM or DER (- for standard input)")
	f.StringVar(&keyFile, "new-key", "", "make a key, in a new file of mode 0600, instead of --csr")
	f.StringVar(&algorithm, "key-algorithm", "P-256", "of --new-key: P-256, P-384 or Ed25519")
	f.StringSliceVar(&in.DNSNames, "dns", nil, "DNS name, may be repeated")
	f.StringSliceVar(&in.IPs, "ip", nil, "IP address, may be repeated")
	lengthVar(f, &in.Validity, "validity", "such as 90d (default: the profile's)")
	f.StringVar(&out, "out", "", "new file for the certificate and those above it")
	for _, name := range []string{"id", "out"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("csr", "new-key")
	cmd.MarkFlagsMutuallyExclusive("csr", "new-key")
	return cmd
}

// request reads a CSR file, or makes a key and a request for it; it is PEM.
func (a *app) request(csrFile, keyFile, algorithm, id string) (string, error) {
	if csrFile == "" {
		key, err := newKeyFile(keyFile, algorithm)
		if errors.Is(err, fs.ErrExist) {
			return "", fixing("choose another --new-key, or make a request with openssl and give --csr", err)
		}
		if err != nil {
			return "", err
		}
		der, err := newRequest(key, id)
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), err
	}
	text, err := a.input(csrFile, maxCSR)
	if err != nil {
		return "", fmt.Errorf("reading the request: %w", err)
	}
	if block, _ := pem.Decode(text); block != nil {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: block.Bytes})), nil
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: text})), nil
}

// validityOf reads a flag with days.
func validityOf(flag, text string) (time.Duration, error) {
	d, err := config.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, &usageError{fmt.Sprintf("--%s %q is not a length of time", flag, text), "write such as 365d or 24h"}
	}
	return d, nil
}
