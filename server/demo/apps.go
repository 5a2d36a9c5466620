package demo

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/holdfast-iot/holdfast/examples"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	scadaName    = "scada"
	readerName   = "analytics"
	appValidity  = 30 * 24 * time.Hour // of certificates and tokens; each start makes new ones
	appNote      = "simulated fleet"
	controlEvery = 20 * time.Second // between two commands of the control loop, well below the interlocks' rates
)

// policyFiles are the manifests of the example.
func policyFiles() (files []adminapi.PolicyFile, err error) {
	from := examples.RiversideWater()
	err = fs.WalkDir(from, "policy", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, path)
		files = append(files, adminapi.PolicyFile{Name: path, Text: string(text)})
		return err
	})
	return files, err
}

// applyPolicy applies the example's policy when there is none. A policy that is
// there stays; what it lets through is then no failure of the server.
func (s *stage) applyPolicy(ctx context.Context) error {
	if s.cfg.MQTTS == "" {
		return nil
	}
	files, err := policyFiles()
	if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	now, err := s.api.Policy(ctx, 0)
	if err != nil {
		return fmt.Errorf("looking at the policy: %w", err)
	}
	byName := func(a, b adminapi.PolicyFile) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(files, byName)
	slices.SortFunc(now.Files, byName)
	switch {
	case now.Version == 0:
		plan, err := s.api.PlanPolicy(ctx, files)
		if err != nil {
			return fmt.Errorf("planning the policy: %w", err)
		}
		v, err := s.api.ApplyPolicy(ctx, adminapi.PolicyApply{Files: files, Message: "Riverside Water", Version: plan.Version})
		if err != nil {
			return fmt.Errorf("applying the policy: %w", err)
		}
		s.ours = true
		s.tale.line(who, "applied policy version %d: %s, %s passed", v.Version, count(len(plan.Changes), "document"), count(len(plan.Tests), "test"))
	case slices.Equal(files, now.Files):
		s.ours = true
		s.tale.line(who, "policy version %d is active%s", now.Version, madeBefore(0))
	default:
		s.tale.line(who, "policy version %d is another one than the example's: it stays", now.Version)
	}
	return nil
}

// app is a program that is connected.
type app struct {
	member *member

	mu      sync.Mutex
	waiting map[string]chan []byte // by topic; guarded by mu
}

// expect gives the payloads of a topic from now on.
func (a *app) expect(topic string) <-chan []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan []byte, 16)
	a.waiting[topic] = ch
	return ch
}

func (a *app) hear(p *paho.Publish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.waiting[p.Topic]; ch != nil {
		select {
		case ch <- p.Payload:
		default:
		}
	}
}

// openApps connects process control, with a certificate, and the analyst, with a
// token. An operator's policy may know neither.
func (s *stage) openApps(ctx context.Context) error {
	if s.cfg.MQTTS == "" {
		return nil
	}
	cert, err := s.appCertificate(ctx)
	if err == nil {
		s.scada = s.openApp(scadaName, []string{"water/#"}, login{id: scadaName, cert: cert})
		s.scada.member.speak, s.scada.member.every = s.control, s.cfg.control
	} else if unreachable(err) || s.ours {
		return fmt.Errorf("signing in %s: %w", scadaName, err)
	}
	token, err := s.appToken(ctx)
	if err == nil {
		s.reader = s.openApp(readerName, []string{"water/+/+/telemetry", "water/+/+/visit"}, token)
	} else if unreachable(err) || s.ours {
		return fmt.Errorf("signing in %s: %w", readerName, err)
	}
	for _, a := range []*app{s.scada, s.reader} {
		if a == nil {
			continue
		}
		s.live.add(a.member)
		if _, err := a.member.link(ctx, atRest, nil); err != nil && s.ours {
			return err
		}
	}
	s.tale.line("apps", "%s signs in with a certificate (audience operator), %s with a token (audience analyst)", scadaName, readerName)
	return nil
}

func (s *stage) openApp(name string, filters []string, who login) *app {
	a := &app{waiting: map[string]chan []byte{}}
	a.member = &member{name: name, hear: a.hear, login: func(context.Context) (login, error) { return who, nil },
		begin: func(ctx context.Context, l *link) error {
			for _, f := range filters {
				if err := granted(ctx, func() error { return l.subscribe(ctx, f) }); err != nil {
					return err
				}
			}
			return nil
		}}
	return a
}

// appCertificate makes a key, if there is none, and has it certified. The files
// lie where those of the devices do, for people to play with.
func (s *stage) appCertificate(ctx context.Context) (*tls.Certificate, error) {
	dir := filepath.Join(s.cfg.Dir, scadaName)
	if err := durable.MakeFolder(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := openKey(filepath.Join(dir, "key.pem"), pki.P256)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: scadaName}}, key)
	if err != nil {
		return nil, fmt.Errorf("making a CSR: %w", err)
	}
	made, err := s.api.IssueAppCertificate(ctx, scadaName, adminapi.AppCertificateInput{
		CSR: string(pki.EncodePEM("CERTIFICATE REQUEST", csr)), Validity: adminapi.Duration(appValidity)})
	if err != nil {
		return nil, err
	}
	chain, err := pki.ParseCertificatesPEM([]byte(made.Certificate.PEM + "\n" + strings.Join(made.Chain, "\n")))
	if err == nil && len(chain) < 2 {
		err = fmt.Errorf("reading the certificate of %s: the issuing CA's is missing", scadaName)
	}
	if err != nil {
		return nil, err
	}
	bundle, err := s.api.Bundle(ctx)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{"ca.pem": bundle, "issuer.pem": encodeCerts(chain[1:2]), "cert.pem": encodeCerts(chain[:2])} {
		if err := durable.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	return &tls.Certificate{Certificate: [][]byte{chain[0].Raw, chain[1].Raw}, PrivateKey: key, Leaf: chain[0]}, nil
}

// appToken makes a token; those of earlier runs end.
func (s *stage) appToken(ctx context.Context) (login, error) {
	old, err := s.api.AppTokens(ctx, readerName)
	if err != nil {
		return login{}, err
	}
	for _, t := range old {
		if t.Note == appNote && t.RevokedAt.IsZero() {
			if err := s.api.RevokeAppToken(ctx, readerName, t.ID); unreachable(err) {
				return login{}, err
			}
		}
	}
	_, secret, err := s.api.CreateAppToken(ctx, readerName, adminapi.AppTokenInput{ValidFor: adminapi.Duration(appValidity), Note: appNote})
	return login{id: readerName, app: readerName, token: secret}, err
}

// control is the loop of process control: it follows the residual and the demand.
// Before the story is over it leaves the actuators to it.
func (s *stage) control(ctx context.Context, l *link) {
	if !s.onDuty.Load() {
		return
	}
	now := s.now()
	turn := now.UnixNano() / int64(s.cfg.control)
	demand := wave(scadaName, now, 10*time.Minute)
	send := func(id, command string, v any) {
		t, err := s.thing(id)
		if err == nil {
			err = l.publish(ctx, topicOf(t, "cmd/"+command), mustJSON(v), false)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("a simulated command was not sent", "device", id, "err", err)
		}
	}
	send(doserID, "dose", map[string]float64{"ml_per_min": round(12 + 3*demand)})
	pumps := []string{"pump-intake-1", "pump-intake-2", "pump-plant-1", "pump-plant-2"}
	send(pumps[turn%4], "speed", map[string]float64{"percent": math.Round(70 + 10*demand)})
	valves := []string{"valve-plant-1", "valve-plant-2", "valve-plant-3"}
	send(valves[turn%3], "position", map[string]float64{"open_pct": math.Round(60 + 15*demand)})
}
