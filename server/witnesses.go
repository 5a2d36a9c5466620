package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// witnessPause is how often a new checkpoint is offered to the witnesses.
const witnessPause = 2 * time.Second

// askWitnesses has the newest checkpoint cosigned (C2SP tlog-witness). Only the
// node that sequences asks, so that witnesses see one line of checkpoints.
func (l *auditLog) askWitnesses(ctx context.Context) error {
	conf := l.s.cfg.Audit.Witnesses
	if len(conf) == 0 {
		return nil
	}
	keys := make([]audit.PublicKey, len(conf))
	for i, w := range conf {
		key, err := audit.ParsePublicKey(w.Key)
		if err != nil {
			return fmt.Errorf("reading audit.witnesses: %w", err)
		}
		keys[i] = key
	}
	known := make([]int64, len(conf))
	tick := time.NewTicker(witnessPause)
	defer tick.Stop()
	for {
		if err := l.askOnce(ctx, keys, known); err != nil && ctx.Err() == nil {
			l.s.log.Warn("asking the audit log's witnesses", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// askOnce offers the newest checkpoint to every witness and publishes it when
// enough have cosigned.
func (l *auditLog) askOnce(ctx context.Context, keys []audit.PublicKey, known []int64) error {
	c, err := l.s.store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	done := l.witnessed.Size == c.Size
	l.mu.Unlock()
	if done {
		return nil
	}
	signed := c.Signed
	var problems []string
	for i, w := range l.s.cfg.Audit.Witnesses {
		line, err := l.cosign(ctx, w.URL, c, &known[i])
		if err == nil {
			signed, err = audit.AddCosignatures(signed, line, keys[i:i+1])
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", w.URL, err))
		}
	}
	if _, _, err := audit.VerifyWitnessed(signed, l.public, keys, l.s.cfg.Audit.Quorum); err != nil {
		return fmt.Errorf("%w (%s)", err, strings.Join(problems, "; "))
	}
	l.mu.Lock()
	l.witnessed = sqlstore.SignedCheckpoint{Size: c.Size, Signed: signed, At: c.At}
	l.mu.Unlock()
	if err := l.s.store.Cosigned(ctx, c.Size, signed); err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("some witnesses did not cosign: %s", strings.Join(problems, "; "))
	}
	return nil
}

// cosign asks one witness, twice if it says that it stands elsewhere than known.
func (l *auditLog) cosign(ctx context.Context, url string, c sqlstore.SignedCheckpoint, known *int64) ([]byte, error) {
	for range 2 {
		old := min(*known, c.Size)
		proof, err := audit.ProveConsistency(newTiles(ctx, l.s.store), old, c.Size)
		if err != nil {
			return nil, err
		}
		body := audit.AddCheckpoint{Old: old, Proof: proof, Checkpoint: c.Signed}.Body()
		status, answer, err := post(ctx, strings.TrimSuffix(url, "/")+"/add-checkpoint", body)
		if err != nil {
			return nil, err
		}
		switch status {
		case http.StatusOK:
			*known = c.Size
			return answer, nil
		case http.StatusConflict:
			size, err := strconv.ParseInt(strings.TrimSpace(string(answer)), 10, 64)
			if err != nil || size > c.Size {
				return nil, fmt.Errorf("the witness knows a longer log (%.20q entries) than this one: the database was rolled back or the log forked", answer)
			}
			*known = size
		default:
			return nil, fmt.Errorf("the witness answered with status %d", status)
		}
	}
	return nil, fmt.Errorf("the witness keeps moving")
}

// witnessClient follows no redirects: a witness is where the configuration says.
var witnessClient = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func post(ctx context.Context, url string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := witnessClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, audit.MaxNote))
	return resp.StatusCode, answer, err
}
