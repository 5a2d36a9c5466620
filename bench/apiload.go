package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// question is one kind of request of a mix, with how many of a hundred are of it.
type question struct {
	what  string
	share int
	paths []string // taken in turn
	head  string   // headers that prove who asks
}

// reading is an open or closed loop of questions over standing connections. Open: request i is due at a fixed moment,
// whether or not those before it were answered, and its time counts from then, so that a stall shows in all that it
// delayed.
type reading struct {
	load  *load // how to connect
	mix   []question
	every time.Duration // between two requests; 0: a closed loop
	next  atomic.Int64
}

// seen is what came of one kind of question.
type seen struct {
	times  histogram
	failed int64
	first  error // of the failures
	bytes  int64
}

func (s *seen) merge(o *seen) {
	s.times.merge(&o.times)
	s.failed, s.bytes = s.failed+o.failed, s.bytes+o.bytes
	if s.first == nil {
		s.first = o.first
	}
}

// spread puts the kinds of a mix in an order in which each comes as evenly as its share allows.
func spread(mix []question) (order []int) {
	total, owed := 0, make([]int, len(mix))
	for _, q := range mix {
		total += q.share
	}
	for range total {
		best := 0
		for k, q := range mix {
			if owed[k] += q.share; owed[k] > owed[best] {
				best = k
			}
		}
		owed[best] -= total
		order = append(order, best)
	}
	return order
}

// run asks for a while and returns what was seen of each kind, and the rate of answers.
func (r *reading) run(ctx context.Context, length time.Duration) ([]seen, float64, error) {
	ctx, cancel := context.WithTimeout(ctx, length+30*time.Second)
	defer cancel()
	order, requests := spread(r.mix), make([][][]byte, len(r.mix))
	for k, q := range r.mix {
		for _, path := range q.paths {
			requests[k] = append(requests[k], fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, q.head))
		}
	}
	conns := make([]*client, r.load.conns)
	for i := range conns {
		c, err := r.load.dial(ctx, 0)
		if err != nil {
			return nil, 0, err
		}
		defer c.Close()
		conns[i] = c
	}
	parts := make([][]seen, len(conns))
	var wg sync.WaitGroup
	began := time.Now()
	for i, c := range conns {
		parts[i] = make([]seen, len(r.mix))
		wg.Go(func() { r.work(ctx, c, parts[i], order, requests, began, length) })
	}
	wg.Wait()
	took := time.Since(began)
	sum, done := make([]seen, len(r.mix)), int64(0)
	for _, part := range parts {
		for k := range part {
			sum[k].merge(&part[k])
		}
	}
	for _, s := range sum {
		done += s.times.total
	}
	return sum, float64(done) / took.Seconds(), ctx.Err()
}

func (r *reading) work(ctx context.Context, c *client, part []seen, order []int, requests [][][]byte, began time.Time, length time.Duration) {
	for ctx.Err() == nil {
		i := int(r.next.Add(1) - 1)
		due := time.Now()
		if r.every > 0 {
			due = began.Add(time.Duration(i) * r.every)
			time.Sleep(time.Until(due))
		}
		if due.Sub(began) > length {
			return
		}
		k := order[i%len(order)]
		list := requests[k]
		status, body, err := c.exchange(list[(i/len(order))%len(list)])
		if err == nil && status != 200 {
			err = fmt.Errorf("%s: the server answered %d: %.300s", r.mix[k].what, status, body)
		}
		if err != nil {
			part[k].failed++
			if part[k].first == nil {
				part[k].first = err
			}
			if status == 0 { // the connection is gone
				return
			}
			continue
		}
		part[k].times.add(time.Since(due))
		part[k].bytes += int64(len(body))
	}
}

// measured notes beside a run the processor time of the servers, of this process and of everything else.
func (r *reading) measured(ctx context.Context, length time.Duration, pids func() []int, others *strangers) (list []seen, rate float64, server, own time.Duration, err error) {
	s0, o0, busy, began := cpu(pids()...), cpu(os.Getpid()), busyTime(), time.Now()
	list, rate, err = r.run(ctx, length)
	server, own = cpu(pids()...)-s0, cpu(os.Getpid())-o0
	others.add(busyTime()-busy-server-own, time.Since(began))
	return list, rate, server, own, err
}
