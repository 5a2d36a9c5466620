package api_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/api"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/config"
)

// up starts a server that asks a second person before a device is retired, and returns a client with the administrator's token.
func up(t *testing.T) (server.Ready, *http.Transport, *api.ClientWithResponses) {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node = t.TempDir(), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Access.TwoPerson, cfg.Access.TwoPersonActions = string(access.Always), []string{string(access.RetireDevice)}
	s, err := server.NewWith(cfg.Complete(), slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan server.Ready, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(r server.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	var r server.Ready
	select {
	case r = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the server did not start: %v", err)
	}
	transport, err := api.Transport(read(t, r.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := api.Connect(r.API, transport, api.WithToken(strings.TrimSpace(string(read(t, r.AdminTokenFile)))))
	if err != nil {
		t.Fatal(err)
	}
	return r, transport, c
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// must takes the answer of a call and its error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestClient drives a real server: a read, writes, a refusal, a list of several pages, and a request that waits for a second
// person; as the administrator, with an API key and with an access token of the client credentials grant.
func TestClient(t *testing.T) {
	ready, transport, admin := up(t)
	ctx := t.Context()
	if st := must[*api.ShowStatusResponse](t)(admin.ShowStatusWithResponse(ctx)); st.JSON200.Database != "sqlite" {
		t.Errorf("the status is %+v", st.JSON200)
	}
	must[*api.CreateZoneResponse](t)(admin.CreateZoneWithResponse(ctx, api.ZonePostBody{Name: "plant"}))
	made := must[*api.CreateTypeResponse](t)(admin.CreateTypeWithResponse(ctx, api.TypePostBody{Name: "sensor"}))
	if made.JSON201.Name != "sensor" || made.JSON201.KeyAlgorithm != api.TypeKeyAlgorithmP256 {
		t.Errorf("made %+v", made.JSON201)
	}
	var ids []string
	for i := range 7 {
		d := must[*api.CreateDeviceResponse](t)(admin.CreateDeviceWithResponse(ctx, api.DevicePostBody{ID: fmt.Sprintf("s%d", i), Type: "sensor", Zone: "plant", Labels: map[string]string{"hall": "b"}}))
		ids = append(ids, d.JSON201.ID)
	}

	_, err := admin.CreateDeviceWithResponse(ctx, api.DevicePostBody{ID: "s0", Type: "sensor", Zone: "plant"})
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != "device-exists" || refused.Status != http.StatusConflict || refused.Fix == nil || refused.RequestID == nil {
		t.Errorf("the same device again: %v", err)
	}
	_, err = admin.RetireDeviceWithResponse(ctx, "s0", api.RetireDeviceJSONRequestBody{Reason: "scrapped, ticket 4711"})
	var waits *api.NeedsApproval
	if !errors.As(err, &waits) || waits.Approval.Operation != "retire-device" || waits.Approval.State != api.ApprovalStateWaiting {
		t.Fatalf("retiring: %v", err)
	}
	if a := must[*api.ShowApprovalResponse](t)(admin.ShowApprovalWithResponse(ctx, waits.Approval.ID)); a.JSON200.Reason != "scrapped, ticket 4711" {
		t.Errorf("the approval is %+v", a.JSON200)
	}

	made2 := must[*api.CreateClientResponse](t)(admin.CreateClientWithResponse(ctx, api.ClientPostBody{Name: "report", Owner: new("team-data")}))
	client := made2.JSON201.ID
	must[*api.CreateGrantResponse](t)(admin.CreateGrantWithResponse(ctx, api.GrantInput{Kind: "client", Subject: client, Role: "viewer", Reason: "reads the inventory"}))
	key := must[*api.CreateKeyResponse](t)(admin.CreateKeyWithResponse(ctx, client, api.KeyInput{Permissions: []string{"device.read"}}))
	secret := must[*api.CreateClientSecretResponse](t)(admin.CreateClientSecretWithResponse(ctx, client))
	byKey := must[*api.ClientWithResponses](t)(api.Connect(ready.API, transport, api.WithToken(key.JSON201.Secret)))
	oauth := clientcredentials.Config{ClientID: client, ClientSecret: secret.JSON201.Secret, TokenURL: ready.API + "/oauth/token", Scopes: []string{"device.read"}}
	byToken := must[*api.ClientWithResponses](t)(api.Connect(ready.API, oauth.Client(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport})).Transport))
	for name, c := range map[string]*api.ClientWithResponses{"key": byKey, "token": byToken} {
		var seen []string
		for d, err := range c.AllDevices(ctx, api.ListDevicesParams{Label: []string{"hall=b"}, Limit: new(int64(3))}) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen = append(seen, d.ID)
		}
		if !slices.Equal(seen, ids) {
			t.Errorf("%s: read %q", name, seen)
		}
		if _, err := c.CreateZoneWithResponse(ctx, api.ZonePostBody{Name: "other"}); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
			t.Errorf("%s: creating a zone: %v", name, err)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; { // the log takes in what happened a moment later
		n := 0
		for e, err := range admin.AllEntries(ctx, api.ListEntriesParams{Action: new("device.created"), Limit: new(int64(2))}) {
			if err != nil || e.Event.Action != "device.created" {
				t.Fatalf("an entry is %+v, %v", e, err)
			}
			n++
		}
		if n == len(ids) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the log has %d devices created", n)
		}
	}
}

func Example() {
	ca, err := os.ReadFile("ca.pem") // of the server's data folder, once
	if err != nil {
		log.Fatal(err)
	}
	transport, err := api.Transport(ca)
	if err != nil {
		log.Fatal(err)
	}
	c, err := api.Connect("https://holdfast.example.com:8443", transport, api.WithToken(os.Getenv("HOLDFAST_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for d, err := range c.AllDevices(ctx, api.ListDevicesParams{Zone: new("plant-1")}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.ID, d.State)
	}
	_, err = c.RetireDeviceWithResponse(ctx, "pump-7", api.RetireDeviceJSONRequestBody{Reason: "scrapped, ticket 4711"})
	var refused *api.Error
	var waits *api.NeedsApproval
	switch {
	case errors.As(err, &waits):
		fmt.Println("a second person decides on", waits.Approval.ID)
	case errors.As(err, &refused):
		fmt.Println(refused.Code, refused.Detail)
	}
}
