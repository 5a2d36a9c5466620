package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/config"
)

// caInitFlags are the keys of the configuration that ca init shows in its help;
// the others work too.
var caInitFlags = map[string]bool{"data": true, "keys": true, "key-encryption-file": true, "database": true, "trust-domain": true, "ca-root-validity": true, "ca-issuing-validity": true}

func caInit(a *app) *cobra.Command {
	var file, out, passphraseFile, algorithm, name string
	var recipients []string
	cmd := &cobra.Command{Use: "init", Short: "Make the authorities before the first start, with the root key sealed in a file", Args: cobra.NoArgs,
		Long: `Make the root and an issuing authority before the first start. The root key is
sealed with age for a passphrase or for age recipients, in a new file that the
server does not need: take it off this machine. It is needed again for ca rotate.`}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "new file for the sealed root key, such as root-key.age")
	f.StringVar(&passphraseFile, "passphrase-file", "", "file with the passphrase, at least 12 characters (default: ask)")
	f.StringArrayVar(&recipients, "recipient", nil, "age public key (age1…) instead of a passphrase, may be repeated")
	f.StringVar(&algorithm, "algorithm", "", "key of the authorities: P-256 (default), P-384 or Ed25519")
	f.StringVar(&name, "name", "", "common name of the root (default Holdfast)")
	_ = cmd.MarkFlagRequired("out")
	cmd.MarkFlagsMutuallyExclusive("passphrase-file", "recipient")
	configFlags(cmd, &file, a)
	for _, name := range config.FlagNames() {
		if !caInitFlags[name] {
			_ = cmd.Flags().MarkHidden(name)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for flag, value := range map[string]string{"ca-algorithm": algorithm, "ca-name": name} {
			if value != "" {
				if err := cmd.Flags().Set(flag, value); err != nil {
					return err
				}
			}
		}
		cfg, err := config.Load(file, a.environ, cmd.Flags())
		if err != nil {
			return err
		}
		return a.caInit(cmd, cfg, out, passphraseFile, recipients)
	}
	return cmd
}

func (a *app) caInit(cmd *cobra.Command, cfg config.Config, out, passphraseFile string, recipients []string) error {
	if _, err := os.Lstat(out); err == nil {
		return fixing("choose another --out: a root key is never overwritten", fmt.Errorf("%s exists already", out))
	}
	var to sealing
	var err error
	if len(recipients) > 0 {
		to, err = sealForRecipients(recipients)
	} else {
		var p passphrase
		if p, err = a.choosePassphrase(passphraseFile); err == nil {
			to, err = sealWithPassphrase(p)
		}
	}
	if err != nil {
		return err
	}
	info, err := server.InitCA(cmd.Context(), cfg, func(pkcs8 []byte) error { return to.seal(out, pkcs8) })
	if errors.Is(err, server.ErrHasCA) {
		return fixing("use `holdfast ca rotate` for a new issuing authority, or another --data", err)
	}
	if err != nil {
		return fmt.Errorf("making the authorities: %w", err)
	}
	if a.output != "table" {
		return a.encode(map[string]string{"root_sha256": info.RootSHA256, "issuing_sha256": info.IssuingSHA256, "root_key": out})
	}
	_, err = fmt.Fprintf(a.out, `root     SHA-256 %s
issuing  SHA-256 %s

The sealed root key is in %s. Take it off this machine, to two places that
burn apart; the server does not need it. Then: holdfast up --data %s
`, info.RootSHA256, info.IssuingSHA256, out, quote(cfg.Data))
	return err
}
