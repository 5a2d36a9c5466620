package demo

import "time"

// At is the configuration with another clock.
func (c Config) At(now func() time.Time) Config {
	c.now = now
	return c
}
