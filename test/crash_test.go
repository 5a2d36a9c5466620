package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	crashClients = 32
	crashes      = 5
	// settled is how long a server that shares its database waits before it takes
	// a signature for lost, and then some.
	settled = 120 * time.Second
)

// crowd is a number of devices that enrol one after the other, for ever, on a
// server that may die at any moment.
type crowd struct {
	t           *testing.T
	group, text string // the group token
	got         atomic.Int64
	mu          sync.Mutex
	things      []*thing // all that were ever made; guarded by mu
}

// TestCrashWhileEnrolling kills the server with 32 devices in the middle of
// their enrolment, five times.
func TestCrashWhileEnrolling(t *testing.T) {
	onBoth(t, func(t *testing.T, env []string) {
		data := t.TempDir() + "/data"
		p := mustUp(t, data, env)
		c := &crowd{t: t}
		c.group, c.text = prepare(t, mustOperate(t, p))
		var waiting []*thing
		for round := range crashes {
			waiting = c.round(p, waiting)
			t.Logf("crash %d: %d certificates given out, %d requests without an answer", round+1, c.got.Load(), len(waiting))
			p = mustUp(t, data, env)
		}
		c.nobodyStuck(p, waiting)
		c.check(p)
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

// round lets the crowd enrol and kills the server in the middle of it. It
// returns the things whose last request had no answer.
func (c *crowd) round(p *process, again []*thing) (unanswered []*thing) {
	api, err := p.operator(p.AdminTokenFile)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), startLimit)
	defer cancel()
	after := c.got.Load() + 10 + rand.Int64N(150)
	queue := make(chan *thing, len(again))
	for _, d := range again {
		queue <- d
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var killing sync.Once
	for n := range crashClients {
		wg.Go(func() {
			for {
				d, err := c.next(ctx, api, queue, n)
				if err != nil {
					return // the server is gone before the request began
				}
				err = d.enrol(ctx, p)
				if err != nil {
					mu.Lock()
					unanswered = append(unanswered, d)
					mu.Unlock()
					if refused, ok := errors.AsType[*est.Problem](err); ok && c.excused(d, refused) {
						continue
					} else if ok {
						c.t.Errorf("enrolling %s: %v", d.id, err)
					}
					return
				}
				if c.got.Add(1) >= after {
					killing.Do(p.kill)
				}
			}
		})
	}
	wg.Wait()
	killing.Do(p.kill) // should all have ended before
	return unanswered
}

// excused says whether a refusal may be: what a crash reserved is given back
// some time later.
func (c *crowd) excused(d *thing, refused *est.Problem) bool {
	return refused.Code == "token-used" && d.tokenID != c.group || refused.Code == "busy"
}

// next takes a thing that waits, or makes one. Every other client's things have
// one-time tokens.
func (c *crowd) next(ctx context.Context, api *adminapi.Client, queue chan *thing, client int) (*thing, error) {
	select {
	case d := <-queue:
		return d, nil
	default:
	}
	id, secret := c.group, c.text
	if client%2 == 0 {
		token, text, err := api.CreateToken(ctx, adminapi.TokenInput{Type: "sensor", Zone: "plant"})
		if err != nil {
			return nil, err
		}
		id, secret = token.ID, text.Reveal()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := newThing(fmt.Sprintf("thing-%05d", len(c.things)), id, secret)
	if err == nil {
		c.things = append(c.things, d)
	}
	return d, err
}

// nobodyStuck repeats every request that had no answer until it has one.
func (c *crowd) nobodyStuck(p *process, waiting []*thing) {
	for _, d := range waiting {
		err := poll(settled, func() error {
			err := d.enrol(c.t.Context(), p)
			if refused, ok := errors.AsType[*est.Problem](err); ok && !c.excused(d, refused) {
				return final{err}
			}
			return err
		})
		if err != nil {
			c.t.Errorf("%s is stuck: %v", d.id, err)
		}
	}
}

// check compares what the devices have with what the server knows.
func (c *crowd) check(p *process) {
	t, api := c.t, mustOperate(c.t, p)
	err := poll(settled, func() error {
		left, err := certificates(t.Context(), api, "reserved")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d certificates are still reserved", len(left))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	issued, err := certificates(t.Context(), api, "issued")
	if err != nil {
		t.Fatal(err)
	}
	known, ofDevice, ofToken := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, cert := range issued {
		known[cert.Serial] = true
		ofDevice[cert.Principal]++
		ofToken[strings.TrimPrefix(cert.Credential, "token:")]++
	}
	c.checkThings(p, known, ofDevice)
	tokens, err := api.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if token.Used != ofToken[token.ID] || token.Used > token.Quota {
			t.Errorf("token %s (%s) was used %d times and %d certificates came of it", token.ID, token.Kind, token.Used, ofToken[token.ID])
		}
	}
	if err := poll(settled, func() error { return allRecorded(t.Context(), api, p, known) }); err != nil {
		t.Error(err)
	}
	t.Logf("%d certificates of %d devices checked", len(issued), len(ofDevice))
}

func (c *crowd) checkThings(p *process, known map[string]bool, ofDevice map[string]int) {
	with := 0
	for _, d := range c.things {
		if d.cert == nil {
			c.t.Errorf("%s has no certificate", d.id)
			continue
		}
		with++
		serial, err := d.serial()
		if err != nil || !known[serial] {
			c.t.Errorf("%s has the certificate %s, which the server does not know as issued (%v)", d.id, serial, err)
		}
		if n := ofDevice[d.id]; n != 1 {
			c.t.Errorf("%s has %d certificates", d.id, n)
		}
		if status, err := askOCSP(c.t.Context(), p, d); err != nil || status != ocsp.Good {
			c.t.Errorf("OCSP about %s: status %d, %v", d.id, status, err)
		}
	}
	if len(known) != with {
		c.t.Errorf("the server issued %d certificates, the devices have %d", len(known), with)
	}
}

// allRecorded finds the issue of every certificate in the verified audit log.
func allRecorded(ctx context.Context, api *adminapi.Client, p *process, serials map[string]bool) error {
	log, err := verifiedLog(ctx, api, p)
	if err != nil {
		return err
	}
	var issued strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"action":"certificate.issued"`) {
			issued.WriteString(line)
		}
	}
	for serial := range serials {
		if !strings.Contains(issued.String(), serial) {
			return fmt.Errorf("the audit log does not say that %s was issued", serial)
		}
	}
	return nil
}
