package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// load sends prepared HTTP/1.1 requests over a fixed number of connections, each waiting for its answer before the next:
// the same code for every server, and as little work per request as it takes.
type load struct {
	address  string
	tls      *tls.Config                  // nil: plain TCP
	identity func(i int) *tls.Certificate // a client certificate for each request, or nil
	fresh    bool                         // a new connection, and a full handshake, for each request
	conns    int
	requests [][]byte
	again    bool     // start over when all were sent; else each goes out once
	want     int      // status of a success
	bodies   [][]byte // where to keep the answers to the first requests

	next atomic.Int64
}

// outcome is what a load saw.
type outcome struct {
	done, failed int
	took         time.Duration
	times        []time.Duration // one for each success, with the handshake if fresh
	first        error           // of the failures
}

func (o *outcome) add(p outcome) {
	o.done, o.failed, o.took, o.times = o.done+p.done, o.failed+p.failed, o.took+p.took, append(o.times, p.times...)
	if o.first == nil {
		o.first = p.first
	}
}

func (o *outcome) rate() float64 { return float64(o.done) / o.took.Seconds() }

// run sends for a while, or until the requests are used up, which an earlier run may have done. Standing connections are opened before the clock starts.
func (l *load) run(ctx context.Context, length time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, length+20*time.Second)
	defer cancel()
	conns := make([]*client, l.conns)
	for i := range conns {
		if l.fresh {
			continue
		}
		c, err := l.dial(ctx, 0)
		if err != nil {
			return outcome{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	parts := make([]outcome, l.conns)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range conns {
		wg.Go(func() { parts[i] = l.work(ctx, conns[i], began.Add(length)) })
	}
	wg.Wait()
	sum := outcome{}
	for _, p := range parts {
		sum.add(p)
	}
	sum.took = time.Since(began)
	if sum.failed > sum.done/100 {
		return sum, fmt.Errorf("%d of %d requests failed; the first: %w", sum.failed, sum.failed+sum.done, sum.first)
	}
	return sum, nil
}

func (l *load) work(ctx context.Context, c *client, until time.Time) (o outcome) {
	o.times = make([]time.Duration, 0, 1<<14)
	for {
		i := int(l.next.Add(1) - 1)
		began := time.Now()
		if !l.again && i >= len(l.requests) || began.After(until) || ctx.Err() != nil {
			return o
		}
		if err := l.once(ctx, &c, i); err != nil {
			o.failed++
			if o.first == nil {
				o.first = err
			}
			if c == nil && !l.fresh || o.failed > 100 {
				return o
			}
			continue
		}
		o.done++
		o.times = append(o.times, time.Since(began))
	}
}

// once sends one request; a standing connection that broke is nil afterwards.
func (l *load) once(ctx context.Context, c **client, i int) (err error) {
	if l.fresh {
		if *c, err = l.dial(ctx, i); err != nil {
			return err
		}
		defer (*c).Close()
	}
	status, body, err := (*c).exchange(l.requests[i%len(l.requests)])
	if err != nil {
		if !l.fresh {
			(*c).Close()
			*c = nil
		}
		return err
	}
	if status != l.want {
		return fmt.Errorf("the server answered %d: %.300s", status, body)
	}
	if i < len(l.bodies) {
		l.bodies[i] = append([]byte(nil), body...)
	}
	return nil
}

// client is one connection.
type client struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func (l *load) dial(ctx context.Context, i int) (*client, error) {
	deadline, _ := ctx.Deadline()
	conn, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(deadline)
	if l.tls != nil {
		cfg := l.tls
		if l.identity != nil {
			cfg = l.tls.Clone()
			cfg.Certificates = []tls.Certificate{*l.identity(i)}
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &client{Conn: conn, r: bufio.NewReaderSize(conn, 8<<10)}, nil
}

// exchange sends a request and reads the answer; body is good until the next call.
func (c *client) exchange(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	if res.ContentLength < 0 {
		body, err = io.ReadAll(res.Body)
		return res.StatusCode, body, err
	}
	if int64(cap(c.body)) < res.ContentLength {
		c.body = make([]byte, res.ContentLength)
	}
	body = c.body[:res.ContentLength]
	_, err = io.ReadFull(res.Body, body)
	return res.StatusCode, body, err
}

// measured runs a load and notes the processor time of the servers and of this process.
func (l *load) measured(ctx context.Context, length time.Duration, after func() error, pids func() []int) (o outcome, server, own time.Duration, err error) {
	s0, o0 := cpu(pids()...), cpu(os.Getpid())
	if o, err = l.run(ctx, length); err != nil {
		return o, 0, 0, err
	}
	own = cpu(os.Getpid()) - o0
	if after != nil {
		err = after()
	}
	return o, cpu(pids()...) - s0, own, err
}
