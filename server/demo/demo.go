// Package demo is a simulated fleet that uses a server as real devices do.
package demo

import (
	"context"
	"log/slog"
)

// Config says which server the fleet uses.
type Config struct {
	API, DeviceAPI string // base URLs
	CAFile         string // PEM
	Token          string // admin token
	Dir            string // where the devices keep their keys
	Log            *slog.Logger
}

// Run enrols the fleet and keeps it going until ctx ends.
func Run(ctx context.Context, cfg Config) error { <-ctx.Done(); return nil }
