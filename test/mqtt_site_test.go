package test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// site is a server with devices, apps and a policy for them.
type site struct {
	t       *testing.T
	p       *process
	api     *adminapi.Client
	pool    *x509.CertPool
	secret  string // of the group token
	tokenID string
	version int64 // of the active policy
}

// identity is a client: its id and how it shows whose it is.
type identity struct {
	id             string // the client id to use
	name           string // of the device or app
	user, password string // of an app's token
	cert           *tls.Certificate
	token          string // id of the app token
	dir            string // with ca.pem, and cert.pem and key.pem if there is one
}

// labPolicy lets the app lab do everything under plant/, and each sensor under
// its own name.
var labPolicy = map[string]string{
	"sensor.yaml": `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: sensor}
spec:
  clientIds: ["${device.id}", "${device.id}/*"]
  publish: [{name: own, topics: ["plant/${device.zone}/${device.id}/#"], retain: true}]
  subscribe: [{name: hear, topics: ["plant/${device.zone}/${device.id}/#"]}]
`,
	"lab.yaml": `apiVersion: holdfast.dev/v1
kind: App
metadata: {name: lab}
spec:
  audience: operator
  clientIds: ["*"]
  publish: [{name: all, topics: ["plant/#"], retain: true}]
  subscribe: [{name: hear, topics: ["plant/#"]}]
`,
}

// newSite starts a server with the policy of the lab.
func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	return newSiteIn(t, os.Environ(), flags...)
}

// newSiteIn is newSite with another environment.
func newSiteIn(t *testing.T, env []string, flags ...string) *site {
	t.Helper()
	p := mustUp(t, t.TempDir()+"/data", env, append([]string{"--mqtt-retention-bytes", "512MiB"}, flags...)...)
	s := &site{t: t, p: p, api: mustOperate(t, p)}
	var err error
	if s.pool, err = p.roots(); err != nil {
		t.Fatal(err)
	}
	s.tokenID, s.secret = prepare(t, s.api)
	s.apply(labPolicy)
	return s
}

// apply makes a policy the active one.
func (s *site) apply(files map[string]string) {
	s.t.Helper()
	in := adminapi.PolicyApply{Version: s.version, Message: "a test asked for it"}
	for name, text := range files {
		in.Files = append(in.Files, adminapi.PolicyFile{Name: name, Text: text})
	}
	v, err := s.api.ApplyPolicy(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	s.version = v.Version
}

// device enrols a sensor.
func (s *site) device(id string) identity {
	s.t.Helper()
	d, err := newThing(id, s.tokenID, s.secret)
	if err == nil {
		err = d.enrol(s.t.Context(), s.p)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.filed(identity{id: id, name: id, cert: &tls.Certificate{Certificate: [][]byte{d.cert.Raw, d.issuer.Raw}, PrivateKey: d.key}})
}

// appCert gets a certificate for the app lab.
func (s *site) appCert(id string) identity {
	s.t.Helper()
	return s.shortCert(id, 0)
}

// shortCert is appCert with a validity; 0 is the default.
func (s *site) shortCert(id string, validity time.Duration) identity {
	s.t.Helper()
	d, err := newThing("lab", "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "lab"}}, d.key)
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := s.api.IssueAppCertificate(s.t.Context(), "lab", adminapi.AppCertificateInput{CSR: string(pki.EncodePEM("CERTIFICATE REQUEST", csr)), Validity: adminapi.Duration(validity)})
	if err != nil {
		s.t.Fatal(err)
	}
	cert := &tls.Certificate{PrivateKey: d.key}
	leaf, _ := pem.Decode([]byte(got.Certificate.PEM))
	cert.Certificate = append(cert.Certificate, leaf.Bytes)
	for _, one := range got.Chain {
		block, _ := pem.Decode([]byte(one))
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	return s.filed(identity{id: id, name: "lab", cert: cert})
}

// appToken makes a token for the app lab.
func (s *site) appToken(id string) identity {
	s.t.Helper()
	token, secret, err := s.api.CreateAppToken(s.t.Context(), "lab", adminapi.AppTokenInput{})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.filed(identity{id: id, name: "lab", user: "lab", password: secret.Reveal(), token: token.ID})
}

// filed writes the identity's files for programs.
func (s *site) filed(who identity) identity {
	s.t.Helper()
	who.dir = s.t.TempDir()
	ca, err := os.ReadFile(s.p.CAFile)
	files := map[string][]byte{"ca.pem": ca}
	if who.cert != nil && err == nil {
		for _, der := range who.cert.Certificate {
			files["cert.pem"] = append(files["cert.pem"], pki.EncodePEM("CERTIFICATE", der)...)
		}
		var key []byte
		key, err = x509.MarshalPKCS8PrivateKey(who.cert.PrivateKey)
		files["key.pem"] = pki.EncodePEM("PRIVATE KEY", key)
	}
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(who.dir, name), text, 0o600)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return who
}

// as is the same identity with another client id.
func (who identity) as(id string) identity {
	who.id = id
	return who
}

// own is where the identity may publish and subscribe.
func (who identity) own() string { return "plant/plant/" + who.name }

// tls is how the identity connects.
func (s *site) tls(who identity) *tls.Config {
	c := &tls.Config{RootCAs: s.pool}
	if who.cert != nil {
		c.Certificates = []tls.Certificate{*who.cert}
	}
	return c
}

// bounded is a context for one step of a test.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// metric reads one series of /metrics, with its labels as they are written there;
// 0 when there is none.
func (s *site) metric(series string) float64 {
	s.t.Helper()
	res, err := http.Get(s.p.Metrics + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), series+" "); found {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// recorded waits until the audit log has an event of an action whose reason has
// the words.
func (s *site) recorded(action, words string) {
	s.t.Helper()
	err := poll(20*time.Second, func() error {
		page, err := s.api.AuditEntries(s.t.Context(), adminapi.AuditFilter{Action: action, Limit: 1000})
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			if strings.Contains(e.Event.Reason, words) {
				return nil
			}
		}
		return fmt.Errorf("none of %d events %s has %q", len(page.Items), action, words)
	})
	if err != nil {
		s.t.Error(err)
	}
}
