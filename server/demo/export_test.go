package demo

import "time"

// At is the configuration with another clock.
func (c Config) At(now func() time.Time) Config {
	c.now = now
	return c
}

// Controlling is the configuration with a faster control loop.
func (c Config) Controlling(every time.Duration) Config {
	c.control = every
	return c
}
