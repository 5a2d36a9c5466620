package test

import (
	"crypto/tls"
	"io"
	"os"
	"strings"
	"testing"
)

// TestDrain stops a server that has an idle connection, and another on which a
// client never finishes its request: neither holds it up.
func TestDrain(t *testing.T) {
	p := mustUp(t, t.TempDir()+"/data", os.Environ())
	id, secret := prepare(t, mustOperate(t, p))
	d, err := newThing("slow-1", id, secret)
	if err == nil {
		err = d.enrol(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, d)
	pool, err := p.roots()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.DeviceAPI, "https://"), d.tlsConfig(pool))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /.well-known/est/simplereenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\nContent-Length: 500\r\n\r\nMIIB"); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if _, err := p.operator(p.AdminTokenFile); err != nil {
		t.Errorf("the token or the authorities are gone: %v", err)
	}
}
