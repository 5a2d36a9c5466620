package adminapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

func serve(t *testing.T) (*memory, *Client) {
	t.Helper()
	m := newMemory()
	s := httptest.NewServer(Handler(m.config()))
	t.Cleanup(s.Close)
	return m, &Client{BaseURL: s.URL, Token: NewBearer(goodToken), HTTP: s.Client()}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func code(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return fmt.Sprintf("%d %s", p.Status, p.Code)
	}
	return fmt.Sprint(err)
}

func want(t *testing.T, err error, expected string) {
	t.Helper()
	if code(err) != expected {
		t.Errorf("got %q (%v), want %q", code(err), err, expected)
	}
}

func TestClientTypesAndZones(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	made := must[Type](t)(c.CreateType(ctx, "sensor", device.Develop, TypeInput{Validity: Duration(48 * time.Hour)}))
	if made.Profile != "device" || made.Stage != device.Develop || made.Validity != Duration(48*time.Hour) || made.Version != 1 {
		t.Errorf("created %+v", made)
	}
	_, err := c.CreateType(ctx, "sensor", "", TypeInput{})
	want(t, err, "409 type-exists")
	_, err = c.CreateType(ctx, "sensor2", "operate", TypeInput{})
	want(t, err, "422 invalid-request")
	_, err = c.CreateType(ctx, "sensor2", "", TypeInput{Profile: "app"})
	want(t, err, "422 bad-profile")
	must[Type](t)(c.UpdateType(ctx, "sensor", 1, TypeInput{Grace: Duration(time.Hour)}))
	_, err = c.UpdateType(ctx, "sensor", 1, TypeInput{})
	want(t, err, "409 changed-meanwhile")
	must[device.SignOff](t)(c.SignOff(ctx, "sensor", device.Deploy, "all is reviewed", ""))
	must[Type](t)(c.MoveType(ctx, "sensor", device.Deploy, "release"))
	shown := must[TypeDetails](t)(c.Type(ctx, "sensor"))
	if shown.Version != 2 || len(shown.SignOffs) != 1 || shown.SignOffs[0].By != "client:test" || shown.Noun().Grace != time.Hour {
		t.Errorf("shown %+v", shown)
	}
	if l := must[[]Type](t)(c.Types(ctx)); len(l) != 1 {
		t.Errorf("listed %+v", l)
	}
	must[[]Anchor](t)(c.AddAnchors(ctx, "sensor", []byte(examplePEM)))
	must[[]Anchor](t)(c.Anchors(ctx, "sensor"))
	if err := c.RemoveAnchor(ctx, "sensor", "abc"); err != nil {
		t.Fatal(err)
	}
	_, err = c.AddAnchors(ctx, "sensor", bytes.Repeat([]byte("x"), maxPEM+1))
	want(t, err, "413 body-too-large")
	if len(must[[]device.Zone](t)(c.Zones(ctx))) != 0 {
		t.Error("there are zones")
	}
	must[device.Zone](t)(c.CreateZone(ctx, "plant", ZoneInput{Production: true}))
	must[device.Zone](t)(c.UpdateZone(ctx, "plant", 1, ZoneInput{SecurityLevel: 3}))
	if z := must[device.Zone](t)(c.Zone(ctx, "plant")); z.SecurityLevel != 3 || z.Production {
		t.Errorf("shown %+v", z)
	}
	if m.by[0].ID != "test" || m.by[0].Source != "127.0.0.1" {
		t.Errorf("acted %+v", m.by[0])
	}
}

func TestClientDevices(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	in := DeviceInput{Type: "sensor", Zone: "plant", Labels: map[string]string{"hall": "b=1"}}
	for i := range 5 {
		must[device.Device](t)(c.CreateDevice(ctx, device.ID(fmt.Sprintf("d%d", i)), in))
	}
	_, err := c.CreateDevice(ctx, "export", in)
	want(t, err, "422 bad-name")
	_, err = c.CreateDevice(ctx, "a/b", in)
	want(t, err, "422 bad-name")
	_, err = c.Device(ctx, "a/b")
	want(t, err, "404 no-such-device")
	first := must[DeviceList](t)(c.Devices(ctx, device.Filter{Labels: in.Labels}, device.Page{Limit: 2}))
	if len(first.Items) != 2 || first.Next != "d1" {
		t.Errorf("first page %+v", first)
	}
	rest := must[DeviceList](t)(c.Devices(ctx, device.Filter{Labels: in.Labels}, device.Page{Limit: 3, After: first.Next}))
	if len(rest.Items) != 3 || rest.Next != "" {
		t.Errorf("last page %+v", rest)
	}
	if l := must[DeviceList](t)(c.Devices(ctx, device.Filter{Zone: "other"}, device.Page{})); len(l.Items) != 0 {
		t.Errorf("listed %+v", l)
	}
	_, err = c.Devices(ctx, device.Filter{}, device.Page{Limit: 1001})
	want(t, err, "422 invalid-request")
	_, err = c.Devices(ctx, device.Filter{State: "lost"}, device.Page{})
	want(t, err, "422 invalid-request")
	must[device.Device](t)(c.UpdateDevice(ctx, "d1", 1, in))
	_, err = c.UpdateDevice(ctx, "d1", 1, in)
	want(t, err, "409 changed-meanwhile")
	for _, move := range []device.Move{device.Quarantine, device.Release, device.Revoke, device.Retire} {
		must[device.Device](t)(c.ChangeDevice(ctx, "d1", move, "why"))
		if last := m.calls[len(m.calls)-1]; last != string(move)+" d1: why" {
			t.Errorf("called %q", last)
		}
	}
	_, err = c.ChangeDevice(ctx, "d1", device.Enrol, "why")
	want(t, err, "404 no-such-path")
}

func TestClientOthers(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	token, secret, err := c.CreateToken(ctx, TokenInput{Type: "sensor", Zone: "plant"})
	if err != nil || token.Kind != enroll.OneTime || token.Quota != 1 || !strings.HasPrefix(secret.Reveal(), "hfe_") {
		t.Fatalf("created %+v, %v", token, err)
	}
	if ttl := time.Until(token.ExpiresAt); ttl < 23*time.Hour || ttl > 24*time.Hour {
		t.Errorf("it lives %s", ttl)
	}
	_, _, err = c.CreateToken(ctx, TokenInput{Type: "sensor", Zone: "plant", ValidFor: Duration(time.Hour), ExpiresAt: moment})
	want(t, err, "422 bad-expiry")
	if l := must[[]enroll.Token](t)(c.Tokens(ctx)); len(l) != 1 || l[0].ID != token.ID {
		t.Errorf("listed %+v", l)
	}
	if err := c.RevokeToken(ctx, token.ID); err != nil {
		t.Fatal(err)
	}
	must[[]enroll.Waiting](t)(c.Waiting(ctx))
	must[enroll.Waiting](t)(c.DecideWaiting(ctx, "w1", true, "yes"))
	must[enroll.Waiting](t)(c.DecideWaiting(ctx, "w1", false, "no"))
	soon := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	page := must[CertificateList](t)(c.Certificates(ctx, CertificateFilter{Status: "issued", ExpiresBefore: soon, Limit: 7}))
	if len(page.Items) != 7 || page.Next == "" {
		t.Errorf("listed %d, next %q", len(page.Items), page.Next)
	}
	if last := m.calls[len(m.calls)-1]; !strings.Contains(last, "Status:issued") || !strings.Contains(last, "2026-05-01 00:00:00 +0000 UTC") || !strings.Contains(last, "Limit:8") {
		t.Errorf("called %q", last)
	}
	must[Certificate](t)(c.Certificate(ctx, "01"))
	must[Certificate](t)(c.RevokeCertificate(ctx, "01", "keyCompromise"))
	issued := must[IssuedCertificate](t)(c.IssueCertificate(ctx, CertificateInput{Profile: "app", ID: "x", CSR: exampleCSR, IPs: []string{"192.0.2.1"}}))
	if len(issued.Chain) != 1 || issued.Certificate.Serial != exampleCertificate.Serial {
		t.Errorf("issued %+v", issued)
	}
	must[[]CA](t)(c.CAs(ctx))
	must[string](t)(c.BeginRotation(ctx, ""))
	must[CA](t)(c.FinishRotation(ctx, []byte(examplePEM)))
	if b := must[[]byte](t)((&Client{BaseURL: c.BaseURL}).Bundle(ctx)); string(b) != examplePEM {
		t.Errorf("bundle %q", b)
	}
	if s := must[Status](t)(c.Status(ctx)); !reflect.DeepEqual(s, exampleStatus) {
		t.Errorf("status %+v", s)
	}
	_, err = (&Client{BaseURL: c.BaseURL, Token: NewBearer("flood")}).Status(ctx)
	want(t, err, "429 too-many-tries")
}

func TestClientAudit(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	for i := range int64(5) {
		m.entries = append(m.entries, AuditEntry{Index: i, Event: audit.Event{ID: fmt.Sprint("e", i), Time: moment, Actor: audit.Actor{Kind: "client", ID: "x"},
			Action: "device.create", Outcome: audit.Success, Details: map[string]string{"n": fmt.Sprint(i)}}})
	}
	var seen []int64
	for f := (AuditFilter{Limit: 2}); ; {
		page := must[EntryList](t)(c.AuditEntries(ctx, f))
		for _, e := range page.Items {
			seen = append(seen, e.Index)
		}
		if f.Before = page.Next; f.Before == 0 {
			break
		}
	}
	if !reflect.DeepEqual(seen, []int64{4, 3, 2, 1, 0}) {
		t.Errorf("saw %v", seen)
	}
	if e := must[Entry](t)(c.AuditEntry(ctx, 3)); e.Index != 3 || !maps.Equal(e.Event.Details, map[string]string{"n": "3"}) {
		t.Errorf("shown %+v", e)
	}
	_, err := c.AuditEntry(ctx, 9)
	want(t, err, "404 no-such-entry")
	proof, err := c.AuditProof(ctx, 1)
	if err != nil || !bytes.Contains(proof, []byte(`"checkpoint"`)) {
		t.Errorf("proof %s, %v", proof, err)
	}
	if cp := must[Checkpoint](t)(c.AuditCheckpoint(ctx)); cp.VerifierKey != "key" || cp.Checkpoint != exampleCheckpoint {
		t.Errorf("checkpoint %+v", cp)
	}
	if b := must[[]byte](t)(c.AuditFile(ctx, "tile/0/000")); string(b) != "tile bytes" {
		t.Errorf("tile %q", b)
	}
	if b := must[[]byte](t)(c.AuditFile(ctx, "checkpoint")); string(b) != exampleCheckpoint {
		t.Errorf("checkpoint %q", b)
	}
	_, err = c.AuditFile(ctx, "tile/9/000")
	want(t, err, "404 no-such-tile")
	var out bytes.Buffer
	if err := c.ExportAudit(ctx, "ocsf", &out); err != nil || out.String() != "ocsf\n" {
		t.Errorf("exported %q, %v", out.String(), err)
	}
	want(t, c.ExportAudit(ctx, "pdf", &out), "422 invalid-request")
	m.exportErr = errors.New("disk on fire")
	want(t, c.ExportAudit(ctx, "log", &out), "500 internal") // before the first byte
	err = c.ExportAudit(ctx, "ocsf", &out)                   // after it
	if err == nil || strings.Contains(err.Error(), "fire") {
		t.Errorf("an export that was cut off gave %v", err)
	}
	if len(m.errs) != 2 {
		t.Errorf("OnError was told %v", m.errs)
	}
}

func TestClientStrangers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }))
	defer s.Close()
	_, err := (&Client{BaseURL: s.URL + "/"}).Status(context.Background())
	want(t, err, "502 not-holdfast")
	for _, text := range []string{fmt.Sprint(NewBearer("hunter2")), fmt.Sprintf("%#v %+v %s", NewBearer("hunter2"), Client{Token: NewBearer("hunter2")}, NewBearer("hunter2"))} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("printed %q", text)
		}
	}
}

// canned answers every request with the same bytes.
type canned struct {
	status     int
	kind, text string
}

func (a canned) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", a.kind)
	rec.WriteHeader(a.status)
	rec.WriteString(a.text)
	return rec.Result(), nil
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/x-ndjson", "{\"checked\":1,\"rows\":1}\n{\"imported\":1}\n")
	f.Add(200, "application/x-ndjson", "{\"errors\":[{\"line\":2,\"error\":\"x\"}],\"imported\":0}\n")
	f.Add(422, typeProblem, `{"type":"urn:holdfast:problem:x","status":422,"code":"x","detail":"d","fix":"f"}`)
	f.Add(502, "text/html", "<html>")
	f.Fuzz(func(t *testing.T, status int, kind, text string) {
		if status < 200 || status > 599 {
			return
		}
		c := &Client{BaseURL: "https://example.com", HTTP: &http.Client{Transport: canned{status, kind, text}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		_, err := c.Devices(t.Context(), device.Filter{}, device.Page{})
		if err == nil && status >= 300 {
			t.Fatalf("%d is a success", status)
		}
		if n, err := c.ImportDevices(t.Context(), strings.NewReader(""), "text/csv", nil); err != nil && n != 0 {
			t.Fatalf("imported %d and %v", n, err)
		}
	})
}
