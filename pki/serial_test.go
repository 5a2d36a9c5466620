package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestSerialProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "raw")
		s, err := NewSerial(bytes.NewReader(append(raw, bytes.Repeat([]byte{0xff}, 16)...)))
		if err != nil {
			t.Fatal(err)
		}
		if n := s.BigInt(); n.Sign() <= 0 || n.BitLen() > 127 {
			t.Fatalf("%s is out of range", s)
		}
		back, err := ParseSerial(s.String())
		if err != nil || back != s {
			t.Fatalf("%s reads back as %s, %v", s, back, err)
		}
		of, err := SerialOf(&x509.Certificate{SerialNumber: s.BigInt()})
		if err != nil || of != s {
			t.Fatalf("%s from a certificate is %s, %v", s, of, err)
		}
		want, err := asn1.Marshal(s.BigInt())
		if err != nil || !bytes.Equal(want[2:], s.integerOctets()) || len(want) > 18 {
			t.Fatalf("%s has the octets %x, want %x", s, s.integerOctets(), want[2:])
		}
	})
}

func TestSmallSerialOctets(t *testing.T) {
	for _, n := range []int64{1, 127, 128, 255, 256, 32767, 32768, 1 << 40} {
		s, err := serialFromInt(big.NewInt(n))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := asn1.Marshal(big.NewInt(n))
		if !bytes.Equal(want[2:], s.integerOctets()) {
			t.Errorf("%d: octets %x, want %x", n, s.integerOctets(), want[2:])
		}
	}
}

func TestNewSerialRefusesBadSource(t *testing.T) {
	if _, err := NewSerial(bytes.NewReader(make([]byte, 15))); err == nil {
		t.Error("a short source gave a serial")
	}
	if _, err := NewSerial(bytes.NewReader(make([]byte, 1000))); err == nil {
		t.Error("a source of zeros gave a serial")
	}
	first := append([]byte{0x80}, make([]byte, 15)...) // only the bit that is cleared
	s, err := NewSerial(bytes.NewReader(append(first, bytes.Repeat([]byte{1}, 16)...)))
	if err != nil || s.String() != "01010101010101010101010101010101" {
		t.Errorf("serial %s, %v", s, err)
	}
}

func TestSerialAndKeyIDText(t *testing.T) {
	for _, bad := range []string{"", "00", "00000000000000000000000000000000", "80000000000000000000000000000000",
		"0000000000000000000000000000000g", "000000000000000000000000000000011"} {
		if s, err := ParseSerial(bad); err == nil {
			t.Errorf("%q parsed as %s", bad, s)
		}
	}
	for _, n := range []*big.Int{nil, big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 127)} {
		if _, err := SerialOf(&x509.Certificate{SerialNumber: n}); err == nil {
			t.Errorf("%v is a serial", n)
		}
	}
	type both struct {
		S Serial
		K KeyID
		R Reason
	}
	in := both{Serial{15: 7}, KeyID{31: 9}, KeyCompromise}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out both
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%s reads back as %+v, %v", text, out, err)
	}
	for _, bad := range []string{`{"S":"1"}`, `{"K":"1"}`, `{"R":"none"}`, `{"K":"` + string(bytes.Repeat([]byte("x"), 64)) + `"}`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if _, err := json.Marshal(Reason(7)); err == nil {
		t.Error("reason 7 was written")
	}
}
