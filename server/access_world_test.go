package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

// accessWorld is a running server with people and programs that call its API.
type accessWorld struct {
	*running
	t    *testing.T
	api  http.Handler
	web  *http.Client // trusts the server
	root *caller      // the admin token
	n    int
}

func enterAccess(t *testing.T, change func(*config.Config), opt Options) *accessWorld {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node = tempData(t), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Enrolment.Rate, cfg.Enrolment.Burst = 10_000, 10_000
	cfg.Access.Rate = 1_000_000
	if change != nil {
		change(&cfg)
	}
	return joinAccess(t, startWith(t, cfg, opt))
}

func joinAccess(t *testing.T, r *running) *accessWorld {
	t.Helper()
	w := &accessWorld{running: r, t: t}
	pem, err := os.ReadFile(r.ready.CAFile)
	w.ok(err)
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: conf}
	t.Cleanup(tr.CloseIdleConnections)
	w.web = &http.Client{Transport: tr, Timeout: 30 * time.Second}
	s := r.Server
	w.api = adminapi.Handler(adminapi.Config{
		Authenticate: s, Types: s, Zones: s, Devices: s, Enrolment: s, Certificates: s, Authority: s, Audit: s, Policies: s, Apps: s, Sessions: s, Tap: s, Roles: s, Clients: s, Watch: s,
		Approvals: s, People: accounts{s}, Account: accounts{s}, Status: s.Status, Version: Version, Source: s.sourceOf, Now: s.now, StepUp: s.cfg.Access.StepUp, Used: s.used, Limit: s.limit,
		OnError: func(id string, err error) { t.Errorf("request %s: %v", id, err) },
	})
	token, err := os.ReadFile(r.ready.AdminTokenFile)
	w.ok(err)
	w.root = w.bearer("the admin token", strings.TrimSpace(string(token)))
	return w
}

func (w *accessWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// caller is a party that calls the API.
type caller struct {
	w     *accessWorld
	name  string
	base  string
	web   *http.Client
	token string
	id    string // of the person or client
}

// request is a call of an operation.
type request struct {
	method, path string // behind /api/v1
	kind         string // of the body, JSON when empty
	body         any    // marshalled, unless it is a string
	reason       string // header
}

// response is what came back; body holds the first line alone of an answer without an end.
type response struct {
	status int
	header http.Header
	body   string
}

// code is the problem's, empty when the answer is none.
func (r response) code() string {
	var p adminapi.Problem
	if r.status < 400 || json.Unmarshal([]byte(r.body), &p) != nil {
		return ""
	}
	return p.Code
}

func (r response) String() string { return fmt.Sprintf("%d %s %.300s", r.status, r.code(), r.body) }

func (c *caller) do(q request) response {
	t := c.w.t
	t.Helper()
	var body io.Reader
	if q.body != nil {
		text, ok := q.body.(string)
		if !ok {
			b, err := json.Marshal(q.body)
			c.w.ok(err)
			text = string(b)
		}
		body = strings.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.method, c.base+"/api/v1"+q.path, body)
	c.w.ok(err)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		if q.kind != "" {
			r.Header.Set("Content-Type", q.kind)
		}
	}
	if q.reason != "" {
		r.Header.Set(adminapi.ReasonHeader, q.reason)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.web.Do(r)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", c.name, q.method, q.path, err)
	}
	defer res.Body.Close()
	out := response{status: res.StatusCode, header: res.Header}
	if strings.HasPrefix(q.path, "/tap") && res.StatusCode == http.StatusOK {
		var b [1]byte
		for !strings.HasSuffix(out.body, "\n") {
			if _, err := res.Body.Read(b[:]); err != nil {
				break
			}
			out.body += string(b[:])
		}
		return out
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		t.Fatalf("%s: %s %s: %v", c.name, q.method, q.path, err)
	}
	out.body = string(b)
	return out
}

// bearer calls over TLS with a token.
func (w *accessWorld) bearer(name, token string) *caller {
	return &caller{w: w, name: name, base: w.ready.API, web: w.web, token: token}
}

func (w *accessWorld) next() int { w.n++; return w.n }

// given is a role for a part of the fleet.
type given struct {
	role  string
	scope access.Scope
	until time.Time
}

func (w *accessWorld) give(kind access.SubjectKind, subject string, roles ...given) (ids []string) {
	w.t.Helper()
	for _, g := range roles {
		made, err := w.Grant(w.t.Context(), operator, adminapi.GrantInput{Kind: kind, Subject: subject, Role: g.role, Scope: g.scope, ExpiresAt: g.until, Reason: "test"})
		if err != nil {
			w.t.Fatalf("giving %s: %v", g.role, err)
		}
		ids = append(ids, made.ID)
	}
	return ids
}

func everything(role string) given { return given{role: role} }

// person makes an active person with roles.
func (w *accessWorld) person(name string, roles ...given) access.Person {
	w.t.Helper()
	p := access.Person{ID: access.PersonID(fmt.Sprintf("p%016d", w.next())), Name: name, State: access.PersonActive, Origin: "local", CreatedAt: w.now(), EnabledAt: w.now(), Version: 1}
	w.ok(w.Server.store.InsertPerson(w.t.Context(), p, []byte(p.ID), nil))
	w.give(access.ToPerson, string(p.ID), roles...)
	return p
}

// as calls as a person does in front of the console, with the rights of now, whose
// last factor was some time ago.
func (w *accessWorld) as(p access.Person, ago time.Duration) *caller {
	w.t.Helper()
	id, err := w.personIdentity(w.t.Context(), p, nil, "192.0.2.1", "nosuchsignin0000", access.Proof{Method: "passkey", Strong: true, Fresh: w.now().Add(-ago)})
	w.ok(err)
	c := adminapi.As(w.api, id)
	return &caller{w: w, name: p.Name, base: c.BaseURL, web: c.HTTP, id: string(p.ID)}
}

// client makes a program with roles and a key.
func (w *accessWorld) client(name string, roles ...given) *caller {
	w.t.Helper()
	c, err := w.CreateClient(w.t.Context(), operator, access.APIClient{Name: name})
	w.ok(err)
	w.give(access.ToClient, c.ID, roles...)
	k := w.key(name, c.ID, adminapi.KeyInput{ValidFor: adminapi.Duration(time.Hour)})
	k.id = c.ID
	return k
}

func (w *accessWorld) key(name, client string, in adminapi.KeyInput) *caller {
	w.t.Helper()
	_, secret, err := w.CreateKey(w.t.Context(), operator, client, in)
	w.ok(err)
	c := w.bearer(name, secret.Reveal())
	c.id = client
	return c
}

// enrolled makes a device with a certificate.
func (w *accessWorld) enrolled(id, kind, zone string, approval device.Approval, labels map[string]string) *dev {
	w.t.Helper()
	_, secret, err := w.CreateToken(w.t.Context(), operator, enroll.Token{Kind: enroll.OneTime, Quota: 1, Type: device.TypeName(kind), Zone: device.ZoneName(zone), Labels: labels,
		Approval: approval, ExpiresAt: w.now().Add(time.Hour)})
	w.ok(err)
	d := newDev(w.t, id)
	c := d.client(w.running, secret.Reveal())
	c.Label = kind
	chain, err := c.Enroll(w.t.Context(), d.csr)
	if err := d.keep(chain, err); err != nil && code(err) != "pending" {
		w.t.Fatal(err)
	}
	return d
}

// speak connects a device by MQTT 3.1.1, with its id as client id.
func (w *accessWorld) speak(d *dev) net.Conn {
	w.t.Helper()
	pem, err := os.ReadFile(w.ready.CAFile)
	w.ok(err)
	conf := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{*d.cert}}
	conf.RootCAs.AppendCertsFromPEM(pem)
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, byte(len(d.id) >> 8), byte(len(d.id))}, d.id...)
	conn, err := tls.Dial("tcp", w.ready.MQTTS, conf)
	w.ok(err)
	w.t.Cleanup(func() { conn.Close() })
	_, err = conn.Write(append([]byte{0x10, byte(len(body))}, body...))
	w.ok(err)
	w.ok(conn.SetReadDeadline(time.Now().Add(20 * time.Second)))
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil || !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
		w.t.Fatalf("connecting %s: %x %v", d.id, answer, err)
	}
	return conn
}
