package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"reflect"
	"testing"
	"time"
)

// TestForgetHandshake checks that the fields of crypto/tls are still there, and
// that a connection works without them, in both versions of TLS.
func TestForgetHandshake(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, MaxVersion: version})
		server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: version})
		done := make(chan error, 1)
		go func() { done <- client.Handshake() }()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		forgetHandshake(server)
		if server.ConnectionState().PeerCertificates != nil {
			t.Error("the certificates are still there")
		}
		for _, name := range []string{"verifiedChains", "ekm", "rawInput", "input", "hand"} {
			if !reflect.ValueOf(server).Elem().FieldByName(name).IsValid() {
				t.Errorf("crypto/tls has no field %s any more", name)
			}
		}
		for _, pair := range [][2]*tls.Conn{{client, server}, {server, client}} {
			go pair[0].Write([]byte("hello"))
			var b [5]byte
			if _, err := pair[1].Read(b[:]); err != nil || string(b[:]) != "hello" {
				t.Fatalf("%q, %v", b, err)
			}
		}
	}
}
