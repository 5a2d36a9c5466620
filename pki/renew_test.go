package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"testing"
	"time"
)

func TestCheckRenewal(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	current, _ := h.issue(t, subjectOf(Device), P256, testNow)
	key := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	uri := func(s string) []*url.URL { u, _ := url.Parse(s); return []*url.URL{u} }
	subject := pkix.Name{CommonName: "unit-0001"}
	spiffe := "spiffe://fleet.example/device/unit-0001"
	plain := request(t, key, &x509.CertificateRequest{Subject: subject})
	end := current.NotAfter
	for _, c := range []struct {
		name, code string
		der        []byte
		now        time.Time
		grace      time.Duration
	}{
		{"subject only", "", plain, testNow, 0},
		{"UTF8String", "", rawRequest(t, spkiOf(t, key.Public()), cn("unit-0001"), "", key), testNow, 0},
		{"same URI", "", request(t, key, &x509.CertificateRequest{Subject: subject, URIs: uri(spiffe)}), testNow, 0},
		{"last second", "", plain, end, 0},
		{"in grace", "", plain, end.Add(time.Hour), time.Hour},
		{"after grace", CodeRenewalTooLate, plain, end.Add(time.Hour + time.Second), time.Hour},
		{"no grace", CodeRenewalTooLate, plain, end.Add(time.Second), 0},
		{"negative grace", "", plain, end, -time.Hour},
		{"too early", CodeRenewalNotYetValid, plain, current.NotBefore.Add(-time.Second), time.Hour},
		{"other subject", CodeRenewalSubject, request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "unit-0002"}}), testNow, 0},
		{"other case", CodeRenewalSubject, request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Unit-0001"}}), testNow, 0},
		{"longer subject", CodeRenewalSubject, request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "unit-0001", Organization: []string{"x"}}}), testNow, 0},
		{"empty subject", CodeRenewalSubject, request(t, key, &x509.CertificateRequest{}), testNow, 0},
		{"other URI", CodeRenewalAltName, request(t, key, &x509.CertificateRequest{Subject: subject, URIs: uri(spiffe + "2")}), testNow, 0},
		{"more names", CodeRenewalAltName, request(t, key, &x509.CertificateRequest{Subject: subject, URIs: uri(spiffe), DNSNames: []string{"a.example"}}), testNow, 0},
	} {
		csr := must[*CSR](t, c.name)(ParseCSR(c.der))
		err := CheckRenewal(current, csr, c.now, c.grace)
		var e *RenewalError
		switch {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.code != "" && (!errors.As(err, &e) || e.Code != c.code || e.Fix == ""):
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

func TestRenewalOfServerComparesSets(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	current, key := h.issue(t, subjectOf(Server), P256, testNow)
	same := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "unit-0001"}, URIs: current.URIs, IPAddresses: current.IPAddresses,
		DNSNames: []string{current.DNSNames[1], current.DNSNames[0]}}
	csr := must[*CSR](t, "request")(ParseCSR(request(t, key, same)))
	if err := CheckRenewal(current, csr, testNow, 0); err != nil {
		t.Error(err)
	}
	same.DNSNames = same.DNSNames[:1]
	csr = must[*CSR](t, "request")(ParseCSR(request(t, key, same)))
	if err := CheckRenewal(current, csr, testNow, 0); err == nil {
		t.Error("a name was left out")
	}
}

func TestVerifyChainInGrace(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	leaf, _ := h.issue(t, subjectOf(Device), P256, testNow)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(h.root)
	between.AddCert(h.issuer.Certificate)
	client := x509.ExtKeyUsageClientAuth
	late := leaf.NotAfter.Add(time.Hour)
	for grace, ok := range map[time.Duration]bool{0: false, time.Minute: false, time.Hour: true, -time.Hour: false} {
		if err := VerifyChain(leaf, between, roots, GraceTime(leaf, late, grace), client); (err == nil) != ok {
			t.Errorf("grace of %v: %v", grace, err)
		}
	}
	if GraceTime(leaf, testNow, time.Hour) != testNow {
		t.Error("grace moves the time of a valid certificate")
	}
	if VerifyChain(leaf, between, nil, testNow, client) == nil || VerifyChain(leaf, between, roots, time.Time{}, client) == nil || VerifyChain(nil, between, roots, testNow, client) == nil {
		t.Error("a missing argument fell back to the system's")
	}
	if VerifyChain(leaf, nil, roots, testNow, client) == nil {
		t.Error("a chain with a hole was accepted")
	}
}
