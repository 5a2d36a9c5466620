package keystore

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func FuzzParseKEK(f *testing.F) {
	for _, s := range []string{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if kek, err := ParseKEK(data); (kek == nil) != (err != nil) {
			t.Errorf("%v, %v", kek, err)
		}
	})
}

func FuzzUnsealFile(f *testing.F) {
	for _, name := range []string{"vector-p256", "vector-p384", "vector-ed25519"} {
		data, err := os.ReadFile("testdata/" + name + ".key")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	kek := testKEK(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, signer, err := unsealFile(kek, "vector-p256", data)
		if err == nil && signer == nil {
			t.Error("no key and no error")
		}
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrWrongKEK) {
			t.Errorf("unexpected kind: %v", err)
		}
	})
}

// FuzzParsePrivate reaches what lies behind the seal.
func FuzzParsePrivate(f *testing.F) {
	for _, alg := range []Alg{P256, P384, Ed25519} {
		key, err := generate(alg)
		if err != nil {
			f.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			f.Fatal(err)
		}
		pub, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der, string(alg), pub)
	}
	f.Fuzz(func(t *testing.T, der []byte, alg string, pub []byte) {
		if got, signer, err := parsePrivate(der, Alg(alg), pub); err == nil {
			signAll(t, &fileKey{signer: signer, alg: got}, got)
		}
	})
}

func FuzzParseTPMBlob(f *testing.F) {
	data, err := os.ReadFile("testdata/tpm-p256.key")
	if err != nil {
		f.Fatal(err)
	}
	var b tpmBlob
	if err := json.Unmarshal(data, &b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Public, b.Private, b.Root, data)
	f.Fuzz(func(t *testing.T, public, private, root, data []byte) {
		_, _ = parseTPMBlob("tpm-p256", data)
		b := b
		b.Public, b.Private, b.Root = public, private, root
		whole, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := parseTPMBlob("tpm-p256", whole); err == nil {
			if _, err := x509.MarshalPKIXPublicKey(key.point); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("unexpected kind: %v", err)
		}
	})
}

func FuzzSignerRequests(f *testing.F) {
	f.Add([]byte(`{"hash":"SHA-256","digest":"` + b64(make([]byte, 32)) + `"}`))
	f.Add([]byte(`{"alg":"P-256"}`))
	f.Add([]byte(`{"code":"not_found","detail":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if digest, hash, err := parseSignRequest(data); err == nil {
			if err := checkDigest(P256, digest, hash); err != nil {
				t.Error(err)
			}
		}
		if alg, err := parseCreateRequest(data); err == nil && alg.curve() == nil {
			t.Errorf("took the algorithm %q", alg)
		}
		if problem(500, data) == nil {
			t.Error("a problem is no error")
		}
	})
}

func FuzzParseKeyReply(f *testing.F) {
	key, err := generate(P256)
	if err != nil {
		f.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"name":"a","alg":"P-256","public":"` + b64(pub) + `","about":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := parseKeyReply("a", data); err == nil && (key.name != "a" || key.alg.curve() != key.public.Curve) {
			t.Errorf("took %v", data)
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"file:keys", "tpm:/dev/tpmrm0?keys=d", "signer:/run/s", "tpm:/?keys=%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSpec(text); err == nil && (s.path == "" || (s.kind == "tpm") != (s.keys != "")) {
			t.Errorf("%q = %v", text, s)
		}
	})
}
