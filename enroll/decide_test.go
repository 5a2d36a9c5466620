package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func request(t testing.TB, name string) *pki.CSR {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// scene is a request and facts that are granted; tests change one thing.
type scene struct {
	req   Request
	facts Facts
}

func granted(t testing.TB) *scene {
	t.Helper()
	token, secret, err := NewToken(rand.Reader, Token{Kind: Group, Type: "sensor", Zone: "plant", Quota: 10, ExpiresAt: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	id, hash, ok := SplitSecret(secret)
	if !ok || id != token.ID {
		t.Fatal("the secret does not split")
	}
	kind := device.Type{Name: "sensor", Stage: device.Deploy}.WithDefaults()
	return &scene{
		req:   Request{Label: "sensor", CSR: request(t, "d1"), TokenID: id, TokenHash: hash},
		facts: Facts{Token: &token, Type: &kind, Zone: &device.Zone{Name: "plant", Production: true}, MaxLive: 3},
	}
}

// known puts the device into the inventory.
func (s *scene) known(state device.State) *device.Device {
	s.facts.Device = &device.Device{ID: "d1", Type: "sensor", Zone: "plant", State: state, Version: 7}
	return s.facts.Device
}

// holds gives the device a valid certificate.
func (s *scene) holds(key pki.KeyID, status Status) pki.Serial {
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		panic(err)
	}
	s.facts.Certificates = append(s.facts.Certificates, Record{Serial: serial, KeyID: key, Status: status, NotAfter: now.Add(time.Hour)})
	return serial
}

func (s *scene) idevid(serial string) {
	s.req.TokenID, s.facts.Token = "", nil
	s.req.IDevID = &pki.IDevID{SerialNumber: serial}
}

func TestDecideRefuses(t *testing.T) {
	other := pki.KeyID{1}
	for want, change := range map[string]func(*scene){
		"no-such-type":       func(s *scene) { s.facts.Type = nil },
		"bad-token":          func(s *scene) { s.req.TokenHash[3] ^= 1 },
		"token-type":         func(s *scene) { s.facts.Token.Type = "camera" },
		"token-expired":      func(s *scene) { s.facts.Token.ExpiresAt = now },
		"token-revoked":      func(s *scene) { s.facts.Token.RevokedAt = now },
		"token-quota":        func(s *scene) { s.facts.Token.Used = 10 },
		"token-used":         func(s *scene) { s.facts.Token.Kind, s.facts.Token.Quota, s.facts.Token.Used = OneTime, 1, 1 },
		"no-credential":      func(s *scene) { s.req.TokenID = "" },
		"wrong-name":         func(s *scene) { s.facts.Token.DeviceID = "d2" },
		"wrong-prefix":       func(s *scene) { s.facts.Token.IDPrefix = "pump-" },
		"bad-name":           func(s *scene) { s.req.CSR = request(t, "a b") },
		"key-reused":         func(s *scene) { s.facts.KeyOwner = "device/d2" },
		"no-such-zone":       func(s *scene) { s.facts.Zone = nil },
		"not-for-production": func(s *scene) { s.facts.Type.Stage = device.Prototype },
		"decommissioned":     func(s *scene) { s.facts.Type.Stage = device.Decommission },
		"wrong-type":         func(s *scene) { s.known(device.Registered).Type = "camera" },
		"wrong-zone":         func(s *scene) { s.known(device.Registered).Zone = "lab" },
		"device-retired":     func(s *scene) { s.known(device.Retired) },
		"device-quarantined": func(s *scene) { s.known(device.Quarantined) },
		"already-enrolled":   func(s *scene) { s.known(device.Active); s.holds(other, Issued) },
		"unknown-serial":     func(s *scene) { s.idevid("SN1") },
		"not-registered": func(s *scene) {
			s.req.TokenID, s.facts.Token = "", nil
			s.facts.Type.Anonymous, s.facts.Type.Approval = true, device.Manual
		},
		"other-key-waiting": func(s *scene) {
			s.known(device.Pending)
			s.facts.Waiting = &Waiting{KeyID: other.String(), Decision: Undecided}
		},
		"waiting-room-full": func(s *scene) { s.facts.Type.Approval, s.facts.WaitingCount = device.Manual, MaxWaiting },
	} {
		s := granted(t)
		change(s)
		g, err := Decide(&s.req, &s.facts, now)
		if !refusal.Is(err, want) {
			t.Errorf("%s: got %+v, %v", want, g, err)
		}
		if r := refusal.As(err); r != nil && (r.Detail == "" || r.Fix == "") {
			t.Errorf("%s does not say what is wrong and what to do: %+v", want, r)
		}
	}
	// One scene for two reasons: an IDevID whose CSR names somebody else.
	s := granted(t)
	s.known(device.Registered)
	s.idevid("SN1")
	s.req.CSR = request(t, "d2")
	if _, err := Decide(&s.req, &s.facts, now); !refusal.Is(err, "wrong-name") {
		t.Errorf("an IDevID with another's name: %v", err)
	}
}

func TestDecideGrants(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		check  func(*scene, *Grant) bool
	}{
		"new device by token": {func(s *scene) { s.facts.Token.Labels = map[string]string{"site": "north"} },
			func(s *scene, g *Grant) bool {
				return g.Outcome == Issue && g.Create && g.UseToken == s.req.TokenID && g.Device.State == device.Enrolled &&
					g.Device.Zone == "plant" && g.Device.Labels["site"] == "north" && g.Validity == s.facts.Type.Validity
			}},
		"registered device": {func(s *scene) { s.known(device.Registered) },
			func(s *scene, g *Grant) bool {
				return g.Outcome == Issue && !g.Create && g.Device.Version == 7 && g.UseToken != "" && len(g.Supersede) == 0
			}},
		"the same key again, token used up": {func(s *scene) {
			s.known(device.Active)
			s.holds(s.req.CSR.KeyID(), Issued)
			s.facts.Token.Used = 10
		}, func(s *scene, g *Grant) bool {
			return g.Outcome == Replay && g.UseToken == "" && g.Replay.Serial == s.facts.Certificates[0].Serial
		}},
		"its own key after revocation": {func(s *scene) {
			s.known(device.Registered)
			s.holds(s.req.CSR.KeyID(), Revoked)
			s.facts.KeyOwner = "device/d1"
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Issue }},
		"another key with a token made for this device": {func(s *scene) {
			s.known(device.Active)
			s.facts.Token.DeviceID = "d1"
			s.holds(pki.KeyID{1}, Issued)
		}, func(s *scene, g *Grant) bool {
			return g.Outcome == Issue && len(g.Supersede) == 1 && g.Supersede[0] == s.facts.Certificates[0].Serial && g.Device.State == device.Active
		}},
		"another key with its IDevID": {func(s *scene) {
			s.known(device.Active)
			s.idevid("SN1")
			s.holds(pki.KeyID{1}, Issued)
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Issue && len(g.Supersede) == 1 && g.UseToken == "" }},
		"manual approval of the type": {func(s *scene) { s.facts.Type.Approval = device.Manual },
			func(_ *scene, g *Grant) bool {
				return g.Outcome == Wait && g.NewWaiting && g.Create && g.UseToken != "" && g.Device.State == device.Pending
			}},
		"manual approval of the token": {func(s *scene) { s.facts.Token.Approval = device.Manual },
			func(_ *scene, g *Grant) bool { return g.Outcome == Wait && g.NewWaiting }},
		"asking again while waiting": {func(s *scene) {
			s.known(device.Pending)
			s.facts.Token.Used = 10
			s.facts.Waiting = &Waiting{KeyID: s.req.CSR.KeyID().String(), Decision: Undecided}
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Wait && !g.NewWaiting && g.UseToken == "" }},
		"approved": {func(s *scene) {
			s.known(device.Pending)
			s.facts.Type.Approval = device.Manual
			s.facts.Waiting = &Waiting{ID: "w1", KeyID: s.req.CSR.KeyID().String(), Decision: Approved}
		}, func(_ *scene, g *Grant) bool {
			return g.Outcome == Issue && g.Finish == "w1" && g.UseToken == "" && strings.Contains(g.Credential, "approval:w1")
		}},
		"an enrolled device waits without losing what it has": {func(s *scene) {
			s.known(device.Active)
			s.facts.Type.Approval, s.facts.Token.DeviceID = device.Manual, "d1"
			s.holds(pki.KeyID{1}, Issued)
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Wait && g.Device.State == device.Active }},
		"anonymous and registered": {func(s *scene) {
			s.known(device.Registered)
			s.req.TokenID, s.facts.Token = "", nil
			s.facts.Type.Anonymous, s.facts.Type.Approval = true, device.Manual
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Wait && g.NewWaiting }},
		"server-made key": {func(s *scene) {
			s.known(device.Registered)
			s.req.ServerKeyGen = true
			s.facts.KeyOwner = "device/other" // the CSR's key is not the one certified
		}, func(_ *scene, g *Grant) bool { return g.Outcome == Issue }},
	} {
		s := granted(t)
		c.change(s)
		g, err := Decide(&s.req, &s.facts, now)
		if err != nil || !c.check(s, g) {
			t.Errorf("%s: got %+v, %v", name, g, err)
		}
	}
}

// certify makes a certificate for a CSR whose subject is the same.
func certify(t testing.TB, csr *pki.CSR, serial pki.Serial, notAfter time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number := new(big.Int).SetBytes(serial[:])
	tmpl := &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: csr.CommonName}, NotBefore: now.Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestDecideRenewal(t *testing.T) {
	for want, change := range map[string]func(*scene){
		"":                      func(*scene) {},
		"not-registered":        func(s *scene) { s.facts.Device = nil },
		"wrong-type":            func(s *scene) { s.req.Label = "camera" },
		"device-quarantined":    func(s *scene) { s.facts.Device.State = device.Quarantined },
		"device-registered":     func(s *scene) { s.facts.Device.State = device.Registered },
		"certificate-not-valid": func(s *scene) { s.facts.Certificates[0].Status = Held },
		"key-reused":            func(s *scene) { s.facts.KeyOwner = "device/d2" },
		"too-many-certificates": func(s *scene) { s.holds(pki.KeyID{1}, Issued); s.holds(pki.KeyID{2}, Issued) },
		"renewal-too-late": func(s *scene) {
			s.req.Current = certify(t, s.req.CSR, s.facts.Certificates[0].Serial, now.Add(-2*time.Hour))
		},
		"renewal-subject-differs": func(s *scene) { s.req.CSR = request(t, "d2") },
	} {
		s := granted(t)
		s.known(device.Enrolled)
		s.facts.Type.Grace = time.Hour
		serial := s.holds(s.req.CSR.KeyID(), Issued)
		s.req.TokenID, s.facts.Token = "", nil
		s.req.Current = certify(t, s.req.CSR, serial, now.Add(-time.Minute)) // in the grace time
		change(s)
		g, err := DecideRenewal(&s.req, &s.facts, now)
		if want == "" {
			if err != nil || g.Outcome != Issue || g.Device.State != device.Active {
				t.Errorf("renewing: %+v, %v", g, err)
			}
		} else if !refusal.Is(err, want) {
			t.Errorf("%s: got %+v, %v", want, g, err)
		}
	}
}

func TestTokenValidate(t *testing.T) {
	good := Token{Kind: OneTime, Type: "sensor", Zone: "plant", Quota: 1, ExpiresAt: now.Add(time.Hour)}
	if err := good.Validate(now); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Token){
		"bad-token-kind": func(x *Token) { x.Kind = "many" },
		"bad-quota":      func(x *Token) { x.Quota = 2 },
		"bad-expiry":     func(x *Token) { x.ExpiresAt = now },
		"bad-token":      func(x *Token) { x.Kind, x.DeviceID = Group, "d1" },
		"bad-approval":   func(x *Token) { x.Approval = "maybe" },
		"bad-name":       func(x *Token) { x.DeviceID = "a/b" },
		"too-long":       func(x *Token) { x.IDPrefix = strings.Repeat("x", 65) },
		"bad-label":      func(x *Token) { x.Labels = map[string]string{"A": "b"} },
	} {
		x := good
		change(&x)
		if err := x.Validate(now); !refusal.Is(err, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	long := good
	long.ExpiresAt = now.Add(MaxTokenTTL + time.Second)
	if err := long.Validate(now); !refusal.Is(err, "bad-expiry") {
		t.Errorf("a token for longer than a year: %v", err)
	}
}

func TestSecretIsNotShown(t *testing.T) {
	token, secret, err := NewToken(rand.Reader, Token{})
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.Join([]string{secret.String(), secret.GoString(), sprint("%v", secret), sprint("%+v", secret), sprint("%#v", secret), sprint("%s", secret), sprint("%x", secret)}, " ")
	text, _ := secret.MarshalText()
	if part := secret.Reveal()[21:]; strings.Contains(shown+string(text), part) || strings.Contains(sprint("%v", token), part) {
		t.Errorf("the secret is shown: %s %s", shown, text)
	}
	if _, _, err := NewToken(bytes.NewReader(nil), Token{}); err == nil {
		t.Error("a token was made without randomness")
	}
}

func FuzzSplitSecret(f *testing.F) {
	_, secret, err := NewToken(rand.Reader, Token{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(secret.Reveal())
	f.Add("hfe__")
	f.Fuzz(func(t *testing.T, text string) {
		id, _, ok := SplitSecret(NewSecret(text))
		if ok && (len(id) != 16 || !strings.HasPrefix(text, "hfe_"+id+"_")) {
			t.Errorf("%q has the id %q", text, id)
		}
	})
}
