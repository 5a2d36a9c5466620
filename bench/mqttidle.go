package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	connectors  = 8
	identities  = 1000 // that take turns in the part connects
	revocations = 100
)

// crowd connects sensors, each with a subscription of its own at QoS 1.
func (l *clients) crowd(ctx context.Context) ([]*session, error) {
	list := make([]*session, l.Count)
	err := each(connectors, upTo(l.Count), func(i int) (err error) {
		id := l.sensor(i)
		if list[i], err = l.connect(ctx, id, 0); err != nil {
			return err
		}
		return list[i].subscribe("fleet/"+id.ID+"/cmd/#", 1)
	})
	return list, err
}

// idle measures what connections cost that say nothing: resident memory of the broker before and after.
func (l *clients) idle(ctx context.Context) (m measure, err error) {
	if err := l.wait(ctx, 2*time.Second); err != nil {
		return m, err
	}
	m.Before, m.Connections = rss(l.PID), l.Count
	began := time.Now()
	list, err := l.crowd(ctx)
	if err != nil {
		return m, err
	}
	m.Connecting = time.Since(began)
	if err := l.wait(ctx, 2*l.Length); err != nil {
		return m, err
	}
	broker := cpu(l.PID)
	if err := l.wait(ctx, l.Length/2); err != nil {
		return m, err
	}
	m.Broker = (cpu(l.PID) - broker) * time.Second / (l.Length / 2)
	m.After = rss(l.PID)
	for i := 0; i < len(list); i += max(1, len(list)/100) { // they are connections only if they answer
		p, err := list[i].ask(&mqtt.Pingreq{})
		if err != nil {
			return m, fmt.Errorf("asking connection %d whether it lives: %w", i, err)
		}
		if _, ok := p.(*mqtt.Pingresp); !ok {
			return m, fmt.Errorf("connection %d answered a ping with %T", i, p)
		}
	}
	m.Rate = float64(m.After-m.Before) / float64(l.Count)
	return m, nil
}

// connects measures new connections: TCP, a full handshake of mutual TLS, CONNECT and CONNACK, then DISCONNECT.
func (l *clients) connects(ctx context.Context) (m measure, err error) {
	configs := make([]*tls.Config, identities)
	for i := range configs {
		if configs[i], err = l.tlsFor(l.sensor(i)); err != nil {
			return m, err
		}
	}
	one := func(i int) error {
		s, err := l.dial(ctx, l.sensor(i%identities).ID, configs[i%identities], 0)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		defer s.conn.Close()
		return s.send(&mqtt.Disconnect{})
	}
	if err := each(connectors, upTo(200), one); err != nil { // until both sides are warm
		return m, err
	}
	var done atomic.Int64
	began, broker, own := time.Now(), cpu(l.PID), cpu(os.Getpid())
	err = each(connectors, func(int) bool { return time.Since(began) < l.Length && ctx.Err() == nil }, func(i int) error {
		defer done.Add(1)
		return one(i)
	})
	if err != nil {
		return m, err
	}
	n := max(1, done.Load())
	m.Rate, m.Connections = float64(n)/time.Since(began).Seconds(), int(n)
	m.Broker, m.Own = (cpu(l.PID)-broker)/time.Duration(n), (cpu(os.Getpid())-own)/time.Duration(n)
	return m, ctx.Err()
}

// revoke measures how long a connection outlives the answer of the API to the revocation of its device.
func (l *clients) revoke(ctx context.Context) (m measure, err error) {
	token, err := os.ReadFile(l.TokenFile)
	if err != nil {
		return m, err
	}
	api := &adminapi.Client{BaseURL: l.API, Token: adminapi.NewBearer(strings.TrimSpace(string(token))), HTTP: apiHTTP(l.roots)}
	list, err := l.crowd(ctx)
	if err != nil {
		return m, err
	}
	m.Connections, m.Ask = len(list), min(revocations, len(list))
	var times []time.Duration
	for i := range m.Ask {
		s := list[i*len(list)/m.Ask]
		gone := make(chan time.Duration, 1)
		go func() {
			for {
				if _, err := s.r.ReadPacket(); err != nil { // a DISCONNECT may come before
					gone <- since()
					return
				}
			}
		}()
		if _, err := api.ChangeDevice(ctx, device.ID(s.id), device.Revoke, "measuring"); err != nil {
			return m, fmt.Errorf("revoking %s: %w", s.id, err)
		}
		answered := since()
		select {
		case at := <-gone:
			times = append(times, max(0, at-answered))
		case <-time.After(20 * time.Second):
			return m, fmt.Errorf("%s is still connected 20 s after its revocation", s.id)
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
	slices.Sort(times)
	m.P50, m.P99, m.P999 = percentile(times, 50), percentile(times, 99), times[len(times)-1]
	return m, nil
}
