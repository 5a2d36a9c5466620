package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Overview shows how everything is, as far as the caller may see it.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	return call[Overview](ctx, c, http.MethodGet, "overview", nil, nil)
}

// Rates shows how many messages passed within 15m, 1h, 6h or 24h, by zone, type or
// none; empty arguments are 15m and none.
func (c *Client) Rates(ctx context.Context, window, by string) (Rates, error) {
	q := url.Values{}
	set(q, "window", window)
	set(q, "by", by)
	return call[Rates](ctx, c, http.MethodGet, "rates", q, nil)
}

// Refusals lists what was stopped lately, newest first; a Limit of 0 is 100.
func (c *Client) Refusals(ctx context.Context, f RefusalFilter) ([]Refusal, error) {
	q := url.Values{}
	set(q, "principal", f.Principal)
	set(q, "kind", f.Kind)
	set(q, "rule", f.Rule)
	if !f.Since.IsZero() {
		set(q, "since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	setInt(q, "limit", int64(f.Limit))
	l, err := call[list[Refusal]](ctx, c, http.MethodGet, "refusals", q, nil)
	return l.Items, err
}

// ZoneMap shows who can talk to whom under the active policy.
func (c *Client) ZoneMap(ctx context.Context) (ZoneMap, error) {
	return call[ZoneMap](ctx, c, http.MethodGet, "zone-map", nil, nil)
}
