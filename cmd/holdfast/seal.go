package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/holdfast-iot/holdfast/server"
)

// passphrase protects a sealed file. It cannot be printed.
type passphrase struct{ text *string }

func (passphrase) String() string             { return "[passphrase]" }
func (passphrase) GoString() string           { return "[passphrase]" }
func (passphrase) Format(f fmt.State, _ rune) { io.WriteString(f, "[passphrase]") }

// minPassphrase is how many bytes a new passphrase has at least.
const minPassphrase = 12

// sealing says for whom a file is sealed: a passphrase, or age recipients.
type sealing struct {
	recipients []age.Recipient
	pass       passphrase // zero with recipients
}

// choosePassphrase takes a new passphrase from a file, or asks for it twice.
func (a *app) choosePassphrase(file string) (passphrase, error) {
	p, err := a.passphraseFrom(file, "Passphrase for the root key (at least 12 characters): ")
	if err != nil {
		return p, err
	}
	if len(*p.text) < minPassphrase {
		return p, fixing("six random words are easy to write down and hard to guess", fmt.Errorf("the passphrase has fewer than %d characters", minPassphrase))
	}
	if file == "" {
		again, err := a.askSecret("The same again: ")
		if err != nil {
			return p, err
		}
		if again != *p.text {
			return p, errors.New("the two passphrases are not the same: nothing was done")
		}
	}
	return p, nil
}

// passphraseFrom reads the first line of a file that only its owner can read,
// or asks on the terminal.
func (a *app) passphraseFrom(file, prompt string) (passphrase, error) {
	if file == "" {
		text, err := a.askSecret(prompt)
		if err != nil {
			return passphrase{}, fixing("give --passphrase-file, or an age key", fmt.Errorf("asking for the passphrase: %w", err))
		}
		return passphrase{&text}, nil
	}
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return passphrase{}, fixing("chmod 600 "+file, fmt.Errorf("reading the passphrase: other users can read %s", file))
	}
	data, err := readSmall(file, 4096)
	if err != nil {
		return passphrase{}, fmt.Errorf("reading the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	return passphrase{&line}, nil
}

// sealWithPassphrase uses scrypt, as the age format gives it.
func sealWithPassphrase(p passphrase) (sealing, error) {
	r, err := age.NewScryptRecipient(*p.text)
	if err != nil {
		return sealing{}, fmt.Errorf("preparing the passphrase: %w", err)
	}
	return sealing{[]age.Recipient{r}, p}, nil
}

// sealForRecipients takes age1… public keys.
func sealForRecipients(keys []string) (sealing, error) {
	r, err := age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n")))
	if err != nil {
		return sealing{}, &usageError{"a recipient is not an age public key", "make one with age-keygen; it starts with age1"}
	}
	return sealing{recipients: r}, nil
}

// seal writes a root key (PKCS #8, DER) to a new file of mode 0600 that only the
// chosen ones can open. Plain text never touches the disk. With a passphrase the file is read
// back and opened before seal returns: the key is gone from everywhere else.
func (s sealing) seal(path string, plain []byte) error {
	if err := server.SealRootKey(path, plain, s.recipients...); err != nil {
		return fmt.Errorf("sealing %s: %w", path, err)
	}
	if s.pass.text == nil {
		return nil
	}
	identity, err := age.NewScryptIdentity(*s.pass.text)
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	again, err := openSealed(path, identity)
	defer clear(again)
	if block, _ := pem.Decode(again); err == nil && (block == nil || !bytes.Equal(block.Bytes, plain)) {
		err = errors.New("it holds something else")
	}
	if err != nil {
		return fmt.Errorf("checking %s after writing: %w", path, err)
	}
	return nil
}

// maxSealed bounds a sealed key file, in bytes.
const maxSealed = 64 << 10

// openSealed opens a file that seal or age wrote, armored or not. The caller clears what it gets.
func openSealed(path string, identities ...age.Identity) ([]byte, error) {
	sealed, err := readSmall(path, maxSealed)
	if err != nil {
		return nil, fmt.Errorf("opening the sealed key: %w", err)
	}
	var in io.Reader = bytes.NewReader(sealed)
	if bytes.HasPrefix(sealed, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	r, err := age.Decrypt(in, identities...)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, fixing("use the passphrase or identity that it was sealed for", fmt.Errorf("opening %s: wrong passphrase or identity", path))
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxSealed))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return plain, nil
}

// identities are what opens a sealed file: those of an age identity file, or a
// passphrase.
func (a *app) identities(identityFile, passphraseFile string) ([]age.Identity, error) {
	if identityFile != "" {
		text, err := readSmall(identityFile, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("reading the identity: %w", err)
		}
		ids, err := age.ParseIdentities(bytes.NewReader(text))
		if err != nil {
			return nil, fixing("give a file that age-keygen wrote", fmt.Errorf("reading the identity: %s holds no age identity", identityFile))
		}
		return ids, nil
	}
	p, err := a.passphraseFrom(passphraseFile, "Passphrase of the root key: ")
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(*p.text)
	if err != nil {
		return nil, fmt.Errorf("preparing the passphrase: %w", err)
	}
	return []age.Identity{id}, nil
}
