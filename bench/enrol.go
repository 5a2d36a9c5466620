package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// rounds is how often the servers take turns within a row, so that a change of the machine's mood hits all of them.
const rounds = 3

// most bounds the requests prepared for a row, per second of it.
const most = 3000

// row is one line of the table: a server, and what is asked of it.
type row struct {
	server, what string
	load         *load
	pids         func() []int
	settle       func() error // ends the row: what is left to do is part of its processor time
	sum          outcome
	cpu, own     time.Duration
}

func clientTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13}
}

// enrol measures enrolments per second, side by side.
func (b *bench) enrol(ctx context.Context) (string, error) {
	step, err := b.startStepCA(ctx)
	if errors.Is(err, errNoPeer) {
		fmt.Fprintln(os.Stderr, "bench: measuring without step-ca:", err)
	} else if err != nil {
		return "", err
	} else {
		defer step.stop()
	}
	sqlite, err := b.enrolee(ctx, "SQLite", "")
	if err != nil {
		return "", err
	}
	defer sqlite.stop()
	servers := []*enrolee{sqlite}
	if b.postgres {
		pg, err := startPostgres()
		if err != nil {
			return "", err
		}
		defer pg.close()
		e, err := b.enrolee(ctx, "PostgreSQL", pg.database())
		if err != nil {
			return "", err
		}
		defer e.stop()
		e.pids = func() []int { return append(pg.pids(), e.pid()) }
		servers = append(servers, e)
	}
	var rows []*row
	for _, group := range []func(context.Context, *stepCA, []*enrolee) ([]*row, error){b.standing, b.handshakes, b.renewals, b.oneToken} {
		more, err := group(ctx, step, servers)
		if err != nil {
			return "", err
		}
		if err := b.takeTurns(ctx, more); err != nil {
			return "", err
		}
		rows = append(rows, more...)
		if b.brief {
			break
		}
	}
	peer := "none on this machine"
	if step != nil {
		peer = step.version
	}
	return enrolTable(rows, peer, b.conns), nil
}

// takeTurns runs the rows of a group one after the other, several times.
func (b *bench) takeTurns(ctx context.Context, rows []*row) error {
	for range rounds {
		for _, r := range rows {
			o, server, own, err := r.load.measured(ctx, b.seconds/2/rounds, r.settle, r.pids)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.server, r.what, err)
			}
			r.sum.add(o)
			r.cpu += server
			r.own += own
		}
	}
	for _, r := range rows {
		if r.sum.done == 0 {
			return fmt.Errorf("%s, %s: there was nothing to send", r.server, r.what)
		}
	}
	return nil
}

// enrolee is a Holdfast that devices enrol with.
type enrolee struct {
	*instance
	name     string
	pids     func() []int
	tokens   []string // one for each connection
	enrolled []applicant
	load     *load // whose answers enrolled belongs to
}

func (b *bench) enrolee(ctx context.Context, name, database string) (*enrolee, error) {
	h, err := b.up(ctx, filepath.Join(b.dir, "enrol-"+strings.ToLower(name)), database)
	if err != nil {
		return nil, err
	}
	e := &enrolee{instance: h, name: "Holdfast, " + name}
	e.pids = func() []int { return []int{h.pid()} }
	_, err = h.api.CreateType(ctx, "sensor", device.Develop, adminapi.TypeInput{})
	if err == nil {
		_, err = h.api.CreateZone(ctx, "plant", adminapi.ZoneInput{})
	}
	for range b.conns {
		if err == nil {
			var secret enroll.Secret
			_, secret, err = h.api.CreateToken(ctx, adminapi.TokenInput{Kind: enroll.Group, Type: "sensor", Zone: "plant", Quota: 1_000_000})
			e.tokens = append(e.tokens, secret.Reveal())
		}
	}
	if err != nil {
		h.stop()
		return nil, fmt.Errorf("preparing %s: %w", e.name, err)
	}
	return e, nil
}

func (e *enrolee) address() string { return strings.TrimPrefix(e.ready.DeviceAPI, "https://") }

// row prepares enrolments of new devices; devices take turns with tokens.
func (e *enrolee) row(ctx context.Context, b *bench, what string, fresh bool, tokens []string) (*row, error) {
	list, err := applicants(fmt.Sprintf("d%d", time.Now().UnixMilli()), int(b.seconds.Seconds()/2*most))
	if err != nil {
		return nil, err
	}
	l := &load{address: e.address(), tls: clientTLS(e.roots), fresh: fresh, conns: b.conns, want: 200, bodies: make([][]byte, len(list))}
	for i, a := range list {
		l.requests = append(l.requests, estEnrol(a, "sensor", tokens[i%len(tokens)]))
	}
	if e.load == nil {
		e.enrolled, e.load = list, l
	}
	return &row{server: e.name, what: what, load: l, pids: e.pids, settle: func() error { return e.settle(ctx) }}, nil
}

// row prepares certificates for new names.
func (s *stepCA) row(b *bench, what string, fresh bool) (*row, []applicant, error) {
	list, err := applicants(fmt.Sprintf("d%d", time.Now().UnixMilli()), int(b.seconds.Seconds()/2*most))
	if err != nil {
		return nil, nil, err
	}
	l := &load{address: s.address, tls: s.tls(), fresh: fresh, conns: b.conns, want: 201, bodies: make([][]byte, len(list))}
	now := time.Now()
	for _, a := range list {
		token, err := s.oneTime(a.id, now)
		if err != nil {
			return nil, nil, err
		}
		request, err := stepEnrol(a, token)
		if err != nil {
			return nil, nil, err
		}
		l.requests = append(l.requests, request)
	}
	return &row{server: "step-ca", what: what, load: l, pids: s.pids}, list, nil
}

// both prepares the same row for every server.
func (b *bench) both(ctx context.Context, step *stepCA, servers []*enrolee, what string, fresh bool) (rows []*row, err error) {
	for _, e := range servers {
		r, err := e.row(ctx, b, what, fresh, e.tokens)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	if step == nil {
		return rows, nil
	}
	r, list, err := step.row(b, what, fresh)
	if step.load == nil {
		step.enrolled, step.load = list, r.load
	}
	return append(rows, r), err
}

func (b *bench) standing(ctx context.Context, step *stepCA, servers []*enrolee) ([]*row, error) {
	return b.both(ctx, step, servers, "enrol, standing connections", false)
}

func (b *bench) handshakes(ctx context.Context, step *stepCA, servers []*enrolee) ([]*row, error) {
	return b.both(ctx, step, servers, "enrol, a TLS handshake each", true)
}

// renewals renews the certificates of the first row, each over a connection of its own that presents it: renewal with a
// request over EST here, rewriting of the presented certificate at /renew there.
func (b *bench) renewals(_ context.Context, step *stepCA, servers []*enrolee) (rows []*row, err error) {
	const what = "renew, a mutual TLS handshake each"
	for _, e := range servers {
		l := &load{address: e.address(), tls: clientTLS(e.roots), fresh: true, conns: b.conns, want: 200}
		if err := l.renew(e.enrolled, e.load.bodies, estIdentity, estRenew); err != nil {
			return nil, err
		}
		rows = append(rows, &row{server: e.name, what: what, load: l, pids: e.pids, settle: func() error { return e.settle(context.Background()) }})
	}
	if step == nil {
		return rows, nil
	}
	l := &load{address: step.address, tls: step.tls(), fresh: true, conns: b.conns, want: 201}
	err = l.renew(step.enrolled, step.load.bodies, stepIdentity, func(applicant) []byte { return post("/1.0/renew", "", nil) })
	return append(rows, &row{server: "step-ca", what: what, load: l, pids: step.pids}), err
}

// renew fills a load with the renewals of those who got an answer.
func (l *load) renew(list []applicant, answers [][]byte, identity func(applicant, []byte) (*tls.Certificate, error), request func(applicant) []byte) error {
	var ids []*tls.Certificate
	for i, body := range answers {
		if body == nil {
			continue
		}
		id, err := identity(list[i], body)
		if err != nil {
			return err
		}
		ids, l.requests = append(ids, id), append(l.requests, request(list[i]))
	}
	l.identity = func(i int) *tls.Certificate { return ids[i] }
	return nil
}

// oneToken has every device use the same token, whose uses are counted: a row that all of them change.
func (b *bench) oneToken(ctx context.Context, _ *stepCA, servers []*enrolee) (rows []*row, err error) {
	for _, e := range servers {
		r, err := e.row(ctx, b, "enrol, one token for all devices", false, e.tokens[:1])
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func enrolTable(rows []*row, version string, conns int) string {
	peer := map[string]float64{}
	for _, r := range rows {
		if r.server == "step-ca" {
			peer[r.what] = r.sum.rate()
		}
	}
	lines := [][]string{{"work", "server", "per second", "times step-ca", "p50 ms", "p99 ms", "server CPU µs each", "load CPU µs each", "per second if the server had both cores (computed)"}}
	for _, r := range rows {
		ratio, each := "", r.cpu/time.Duration(r.sum.done)
		if p := peer[r.what]; p > 0 {
			ratio = fmt.Sprintf("%.1f", r.sum.rate()/p)
		}
		lines = append(lines, []string{r.what, r.server, thousands(r.sum.rate()), ratio, millis(percentile(r.sum.times, 50)), millis(percentile(r.sum.times, 99)),
			fmt.Sprint(each.Microseconds()), fmt.Sprint((r.own / time.Duration(r.sum.done)).Microseconds()), thousands(2 * float64(time.Second) / float64(each))})
	}
	return table(lines) + fmt.Sprintf("\nPeer: %s. %d connections, %d rounds in turn. Load and servers share the cores; the last column is computed from the\n"+
		"server's processor time alone (its database and the sequencing of its audit log included) and is not a measured rate.\n", version, conns, rounds)
}
