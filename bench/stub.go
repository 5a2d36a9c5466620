package main

import "context"

func (b *bench) ocsp(ctx context.Context) (string, error)      { return "", nil }
func (b *bench) audit(ctx context.Context) (string, error)     { return "", nil }
func (b *bench) inventory(ctx context.Context) (string, error) { return "", nil }
func (b *bench) start(ctx context.Context) (string, error)     { return "", nil }
