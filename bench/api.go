package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/api"
	"github.com/holdfast-iot/holdfast/server/store/postgres"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	apiRate   = 1000 // requests a second of the open loop
	apiTarget = 100 * time.Millisecond
	apiOpen   = 60 * time.Second
	apiEvents = 2000 // in the audit log before the clock starts
)

// readPolicy lets both types of the filled inventory publish.
const readPolicy = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: sensor}
spec:
  publish:
    - {name: data, topic: "fleet/${device.id}/data", qos: 1, payload: {format: any, maxBytes: 1024}}
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: meter}
spec:
  publish:
    - {name: data, topic: "meters/${device.id}/data", qos: 1, payload: {format: any, maxBytes: 1024}}
`

// apiServer is a server with an inventory, and what proves who asks it.
type apiServer struct {
	*instance
	name string
	pids func() []int
	mix  []question
}

// reads measures how fast the API and the console answer.
func (b *bench) reads(ctx context.Context) (string, error) {
	servers := []func(context.Context) (*apiServer, func(), error){b.apiOnSQLite}
	if b.postgres {
		servers = append(servers, b.apiOnPostgres)
	}
	b.others = strangers{}
	text := ""
	for _, open := range servers {
		s, done, err := open(ctx)
		if err != nil {
			return "", err
		}
		part, err := b.readsOf(ctx, s)
		done()
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
		text += part + "\n"
	}
	cost, err := passwordCost()
	return text + cost + b.others.String() + "\n", err
}

func (b *bench) apiOnSQLite(ctx context.Context) (*apiServer, func(), error) {
	dir := filepath.Join(b.dir, "api-sqlite")
	h, err := b.apiInstance(ctx, dir, "", func() error { return fillFolder(ctx, dir, someDevices) })
	if err != nil {
		return nil, nil, err
	}
	s := &apiServer{instance: h, name: "SQLite", pids: func() []int { return []int{h.pid()} }}
	return s.prepared(ctx, h.stop)
}

func (b *bench) apiOnPostgres(ctx context.Context) (*apiServer, func(), error) {
	p, err := startPostgres()
	if err != nil {
		return nil, nil, err
	}
	h, err := b.apiInstance(ctx, filepath.Join(b.dir, "api-postgres"), p.database(), func() error {
		store, err := postgres.Open(ctx, p.database(), sqlstore.Faults{})
		if err != nil {
			return err
		}
		defer store.Close()
		if _, err := fleet(someDevices).fill(ctx, store); err != nil {
			return err
		}
		return p.exec(ctx, "VACUUM ANALYZE")
	})
	if err != nil {
		p.close()
		return nil, nil, err
	}
	s := &apiServer{instance: h, name: "PostgreSQL", pids: func() []int { return append(p.pids(), h.pid()) }}
	return s.prepared(ctx, func() { h.stop(); p.close() })
}

// apiInstance starts a server, stops it, fills its database and starts it again.
func (b *bench) apiInstance(ctx context.Context, dir, database string, fill func() error) (*instance, error) {
	h, err := b.up(ctx, dir, database)
	if err != nil {
		return nil, err
	}
	h.stop()
	if err := fill(); err != nil {
		return nil, err
	}
	return b.up(ctx, dir, database, "HOLDFAST_ACCESS_RATE=10000000")
}

// prepared makes what the questions are about and what they are asked with; stop is called if that fails.
func (s *apiServer) prepared(ctx context.Context, stop func()) (*apiServer, func(), error) {
	if err := s.furnish(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

func (s *apiServer) furnish(ctx context.Context) error {
	transport := apiHTTP(s.roots).Transport
	admin, err := api.Connect(s.ready.API, transport, api.WithToken(string(s.token)))
	if err != nil {
		return err
	}
	for _, zone := range []string{"north", "south"} {
		if _, err := admin.CreateZoneWithResponse(ctx, api.ZonePostBody{Name: zone}); err != nil {
			return err
		}
	}
	for _, name := range []string{"sensor", "meter"} {
		if _, err := admin.CreateTypeWithResponse(ctx, api.TypePostBody{Name: name}); err != nil {
			return err
		}
	}
	if _, err := admin.ApplyPolicyWithResponse(ctx, api.PolicyApply{Files: []api.PolicyFile{{Name: "fleet.yaml", Text: readPolicy}}}); err != nil {
		return err
	}
	for i := range apiEvents {
		if _, err := admin.CreateDeviceWithResponse(ctx, api.DevicePostBody{ID: fmt.Sprintf("extra-%04d", i), Type: "sensor", Zone: "north"}); err != nil {
			return err
		}
	}
	program, err := admin.CreateClientWithResponse(ctx, api.ClientPostBody{Name: "bench"})
	if err != nil {
		return err
	}
	id := program.JSON201.ID
	if _, err := admin.CreateGrantWithResponse(ctx, api.GrantInput{Kind: "client", Subject: id, Role: "auditor", Reason: "measuring"}); err != nil {
		return err
	}
	key, err := admin.CreateKeyWithResponse(ctx, id, api.KeyInput{})
	if err != nil {
		return err
	}
	secret, err := admin.CreateClientSecretWithResponse(ctx, id)
	if err != nil {
		return err
	}
	oauth := clientcredentials.Config{ClientID: id, ClientSecret: secret.JSON201.Secret, TokenURL: s.ready.API + "/oauth/token"}
	token, err := oauth.Token(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport}))
	if err != nil {
		return err
	}
	person, err := s.founder(ctx)
	if err != nil {
		return err
	}
	s.mix = questions("Authorization: Bearer "+key.JSON201.Secret+"\r\n", "Authorization: Bearer "+token.AccessToken+"\r\n", "Cookie: "+person.cookies()+"\r\n")
	return s.settle(ctx)
}

// questions is what a fleet's dashboards, scripts and people ask for.
func questions(key, token, cookie string) []question {
	devices, pages := make([]string, 200), make([]string, 200)
	for i := range devices {
		at := fleet(someDevices).id(i * (someDevices / len(devices)))
		devices[i] = "/api/v1/devices/" + string(at)
		pages[i] = "/api/v1/devices?limit=50&after=" + string(at)
	}
	return []question{
		{"one device, API key", 20, devices, key},
		{"one device, access token", 20, devices, token},
		{"page of 50 devices, API key", 10, pages, key},
		{"page of 50 devices by zone and state, access token", 10, []string{"/api/v1/devices?limit=50&zone=south&state=active", "/api/v1/devices?limit=50&zone=north&state=quarantined"}, token},
		{"overview, access token", 5, []string{"/api/v1/overview"}, token},
		{"page of 100 audit entries, API key", 5, []string{"/api/v1/audit/entries", "/api/v1/audit/entries?action=device.created", "/api/v1/audit/entries?before=1000"}, key},
		{"refusals, access token", 5, []string{"/api/v1/refusals"}, token},
		{"zones, API key", 5, []string{"/api/v1/zones"}, key},
		{"policy in force, access token", 5, []string{"/api/v1/policy"}, token},
		{"console: device list, session", 10, []string{"/devices", "/devices?zone=south", "/devices?state=quarantined"}, cookie},
		{"console: overview, session", 5, []string{"/"}, cookie},
	}
}

// readsOf asks one server everything: mixed in an open loop, then each kind alone as fast as it goes.
func (b *bench) readsOf(ctx context.Context, s *apiServer) (string, error) {
	address := strings.TrimPrefix(s.ready.API, "https://")
	l := &load{address: address, tls: clientTLS(s.roots), conns: b.conns}
	if _, _, err := (&reading{load: l, mix: s.mix}).run(ctx, 2*time.Second); err != nil { // so that caches are filled
		return "", err
	}
	open := &reading{load: l, mix: s.mix, every: time.Second / apiRate}
	list, rate, server, own, err := open.measured(ctx, b.long(apiOpen), s.pids, &b.others)
	if err != nil {
		return "", err
	}
	length := b.long(apiOpen)
	rows := [][]string{{s.name, "of 100", "p50 ms", "p99 ms", "p99.9 ms", "failed", "alone, a second", "p99 ms", "server CPU µs each", "KB"}}
	all := seen{}
	for k := range list {
		all.merge(&list[k])
		alone := &reading{load: l, mix: []question{s.mix[k]}}
		one, fast, used, _, err := alone.measured(ctx, b.seconds, s.pids, &b.others)
		if err != nil {
			return "", err
		}
		if one[0].failed > 0 {
			return "", fmt.Errorf("%s alone: %d failed: %w", s.mix[k].what, one[0].failed, one[0].first)
		}
		n := float64(max(1, one[0].times.total))
		rows = append(rows, append(quantiles(s.mix[k].what, fmt.Sprint(s.mix[k].share), &list[k]),
			thousands(fast), millis(one[0].times.quantile(0.99)), fmt.Sprintf("%.0f", used.Seconds()*1e6/n), fmt.Sprintf("%.1f", float64(one[0].bytes)/n/1000)))
	}
	mixed := &reading{load: l, mix: s.mix}
	most, top, used, _, err := mixed.measured(ctx, b.seconds, s.pids, &b.others)
	if err != nil {
		return "", err
	}
	closed := seen{}
	for k := range most {
		closed.merge(&most[k])
	}
	rows = append(rows, append(quantiles("**all, mixed**", "100", &all), thousands(top), millis(closed.times.quantile(0.99)),
		fmt.Sprintf("%.0f", used.Seconds()*1e6/float64(max(1, closed.times.total))), fmt.Sprintf("%.1f", float64(closed.bytes)/float64(max(1, closed.times.total))/1000)))
	if all.first != nil {
		return "", fmt.Errorf("%d failed: %w", all.failed, all.first)
	}
	p99 := all.times.quantile(0.99)
	return table(rows) + fmt.Sprintf("\n%s: %s requests a second for %s (%s asked for), p99 %s ms: %s. Server %.2f of two cores, load %.2f, server memory %.0f MB.\n", s.name, thousands(rate), length.Round(time.Second),
		thousands(apiRate), millis(p99), verdict(p99 < apiTarget), server.Seconds()/length.Seconds(), own.Seconds()/length.Seconds(), float64(rss(s.pid()))/1e6), nil
}

// long shortens the open loop for a brief run.
func (b *bench) long(d time.Duration) time.Duration {
	if b.brief {
		return b.seconds
	}
	return d
}

func quantiles(what, share string, s *seen) []string {
	return []string{what, share, millis(s.times.quantile(0.5)), millis(s.times.quantile(0.99)), millis(s.times.quantile(0.999)), fmt.Sprint(s.failed)}
}

// passwordCost is what one password costs, alone: the server runs only so many at once.
func passwordCost() (string, error) {
	word := password.New("quarry lantern meadow tin")
	var times []time.Duration
	for range 9 {
		began := time.Now()
		if _, err := password.Hash(rand.Reader, word, password.DefaultCost); err != nil {
			return "", err
		}
		times = append(times, time.Since(began))
	}
	c := password.DefaultCost
	return fmt.Sprintf("A password takes %s (median of %d, no other load of ours): Argon2id with %d MiB, %d passes and %d threads, the second recommended option of RFC 9106.\n",
		round(percentile(times, 50)), len(times), c.MemoryKiB>>10, c.Passes, c.Threads), nil
}
