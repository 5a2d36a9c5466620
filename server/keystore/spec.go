package keystore

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// Open opens the store that a configuration string names:
//
//	file:DIR                          sealed files in DIR
//	tpm:/dev/tpmrm0?keys=DIR          a TPM 2.0 by its device or, in tests, by the
//	                                  unix socket of a software TPM; key blobs in DIR
//	signer:/run/holdfast/signer.sock  a signer program behind a unix socket
//
// kek is needed by file: alone and may be nil for the others. A relative DIR is
// taken from the working folder; devices and sockets are absolute paths.
func Open(spec string, kek *KEK) (Store, error) {
	s, err := parseSpec(spec)
	if err != nil {
		return nil, fmt.Errorf("opening a key store: %w", err)
	}
	switch s.kind {
	case "file":
		return asStore(File(s.path, kek))
	case "tpm":
		return asStore(TPM(s.path, s.keys))
	}
	return asStore(Remote(s.path))
}

// asStore keeps a nil pointer from becoming a Store that is not nil.
func asStore[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// spec is a parsed configuration string.
type spec struct{ kind, path, keys string }

func parseSpec(text string) (spec, error) {
	kind, rest, ok := strings.Cut(text, ":")
	path, query, hasQuery := strings.Cut(rest, "?")
	s := spec{kind: kind, path: path}
	switch {
	case !ok || kind != "file" && kind != "tpm" && kind != "signer":
		return spec{}, fmt.Errorf("%.80q is not file:DIR, tpm:/dev/tpmrm0?keys=DIR or signer:/path/of/signer.sock", text)
	case strings.ContainsRune(text, 0):
		return spec{}, errors.New("a path holds a zero byte")
	case path == "":
		return spec{}, fmt.Errorf("%.80q names no path after the colon", text)
	case kind != "tpm" && hasQuery:
		return spec{}, fmt.Errorf("%.80q: %s: takes no options after a question mark", text, kind)
	case kind != "file" && !filepath.IsAbs(path):
		return spec{}, fmt.Errorf("%.80q: the path must be absolute, such as %s", text, map[string]string{"tpm": "tpm:/dev/tpmrm0?keys=DIR", "signer": "signer:/run/holdfast/signer.sock"}[kind])
	case kind != "tpm":
		return s, nil
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return spec{}, fmt.Errorf("%.80q: parsing its options: %w", text, err)
	}
	for name, values := range options {
		if name != "keys" || len(values) != 1 {
			return spec{}, fmt.Errorf("%.80q: the only option is keys=DIR, once", text)
		}
		s.keys = values[0]
	}
	if s.keys == "" || strings.ContainsRune(s.keys, 0) {
		return spec{}, fmt.Errorf("%.80q: add ?keys=DIR, the folder for the TPM's key blobs", text)
	}
	return s, nil
}
