package est

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run executes a shell script in dir; openssl and curl are what users have at hand.
func run(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s\n%s%s", err, script, out.String(), errs.String())
	}
	return out.String()
}

func TestOpenSSLReadsCerts(t *testing.T) {
	out := run(t, "testdata", "openssl base64 -d -in certs.b64 | openssl pkcs7 -inform DER -print_certs -noout")
	if !strings.Contains(out, "golden-device") || strings.Index(out, "golden-device") > strings.LastIndex(out, "Golden issuing CA") {
		t.Error(out)
	}
	out = run(t, "testdata", "openssl base64 -d -in csrattrs.b64 | openssl asn1parse -inform DER")
	if !strings.Contains(out, "prime256v1") || !strings.Contains(out, "ecdsa-with-SHA256") {
		t.Error(out)
	}
}

// openssl's own certs-only messages are the other direction.
func TestOpenSSLWritesCerts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"leaf.der", "issuing.der"} {
		b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vector(t, name)})
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := run(t, dir, "openssl crl2pkcs7 -nocrl -certfile leaf.der.pem -certfile issuing.der.pem -outform DER | openssl base64")
	if certs, err := ParseCerts([]byte(out)); err != nil || len(certs) != 2 {
		t.Fatal(len(certs), err)
	}
}

func TestCurlAndOpenSSLEnroll(t *testing.T) {
	ca := newCA(time.Now())
	ca.attrs = vector(t, "csrattrs.der")
	srv, _ := serve(t, ca, Config{})
	dir := t.TempDir()
	tlsCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "tls.pem"), tlsCA, 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, dir, `
curl="curl -sS --fail-with-body --cacert tls.pem"
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
openssl req -new -key key.pem -subj /CN=d1 -outform DER | openssl base64 > csr.b64
$curl $EST/cacerts | openssl base64 -d | openssl pkcs7 -inform DER -print_certs > ca.pem
$curl $EST/csrattrs | openssl base64 -d | openssl asn1parse -inform DER > attrs.txt
$curl -u device:token -H "Content-Type: application/pkcs10" --data-binary @csr.b64 $EST/meter/simpleenroll > cert.b64
openssl base64 -d -in cert.b64 | openssl pkcs7 -inform DER -print_certs | openssl x509 > cert.pem
openssl verify -CAfile ca.pem cert.pem
$curl --cert cert.pem --key key.pem -H "Content-Type: application/pkcs10" --data-binary @csr.b64 $EST/simplereenroll > again.b64
openssl base64 -d -in again.b64 | openssl pkcs7 -inform DER -print_certs | openssl x509 > again.pem
openssl verify -CAfile ca.pem again.pem
$curl -H "Authorization: Bearer token" -H "Content-Type: application/pkcs10" --data-binary @csr.b64 $EST/serverkeygen > keygen
sed -n '/pkcs8/,/^--/p' keygen | tr -d '\r' | grep -v -e - > key.b64
openssl base64 -d -in key.b64 | openssl pkey -inform DER -noout -check
$curl -H "Content-Type: application/pkcs10" --data-binary @csr.b64 $EST/simpleenroll || true
`, "EST="+srv.URL+strings.TrimSuffix(Path, "/"), "no_proxy=*")
	for _, want := range []string{"cert.pem: OK", "again.pem: OK", "Key is valid", "urn:holdfast:problem:unauthorized"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got := ca.request(); got.Op != OpServerKeyGen || got.Credential.Kind() != KindBearer {
		t.Errorf("%+v", got)
	}
}
