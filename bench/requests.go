package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"runtime"
	"sync"

	"github.com/holdfast-iot/holdfast/est"
)

// applicant is a device that wants a certificate: a P-256 key of its own and a request that names it.
type applicant struct {
	id  string
	key *ecdsa.PrivateKey
	csr []byte
}

// applicants makes n of them before the clock starts, on all cores.
func applicants(prefix string, n int) ([]applicant, error) {
	list := make([]applicant, n)
	errs := make([]error, runtime.NumCPU())
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				list[i], errs[w] = newApplicant(fmt.Sprintf("%s-%07d", prefix, i))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func newApplicant(id string) (a applicant, err error) {
	a.id = id
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return a, err
	}
	a.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id}}, a.key)
	return a, err
}

// post is an HTTP/1.1 request in bytes.
func post(path, headers string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n", path, len(body), headers), body...)
}

const estHeaders = "Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n"

// estEnrol is simpleenroll with an enrolment token.
func estEnrol(a applicant, label, token string) []byte {
	return post(est.Path+label+"/"+string(est.OpEnroll), estHeaders+"Authorization: Bearer "+token+"\r\n", []byte(base64.StdEncoding.EncodeToString(a.csr)))
}

// estRenew is simplereenroll; the TLS connection carries the current certificate.
func estRenew(a applicant) []byte {
	return post(est.Path+string(est.OpReenroll), estHeaders, []byte(base64.StdEncoding.EncodeToString(a.csr)))
}

// estIdentity is what a device holds after estEnrol.
func estIdentity(a applicant, body []byte) (*tls.Certificate, error) {
	certs, err := est.ParseCerts(body)
	if err != nil {
		return nil, err
	}
	id := &tls.Certificate{PrivateKey: a.key}
	for _, cert := range certs {
		if a.key.PublicKey.Equal(cert.PublicKey) {
			id.Leaf, id.Certificate = cert, append([][]byte{cert.Raw}, id.Certificate...)
		} else if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			id.Certificate = append(id.Certificate, cert.Raw)
		}
	}
	if id.Leaf == nil {
		return nil, fmt.Errorf("the answer to %s holds no certificate for its key", a.id)
	}
	return id, nil
}

// stepEnrol is step-ca's sign with a one-time token.
func stepEnrol(a applicant, oneTime string) ([]byte, error) {
	body, err := json.Marshal(map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: a.csr})), "ott": oneTime})
	return post("/1.0/sign", "Content-Type: application/json\r\n", body), err
}

// stepIdentity is what a device holds after stepEnrol.
func stepIdentity(a applicant, body []byte) (*tls.Certificate, error) {
	var answer struct {
		Chain []string `json:"certChain"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	id := &tls.Certificate{PrivateKey: a.key}
	for _, text := range answer.Chain {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, fmt.Errorf("the answer to %s holds no certificate", a.id)
		}
		id.Certificate = append(id.Certificate, block.Bytes)
	}
	return id, nil
}
