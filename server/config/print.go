package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// hidden are fields whose value says where secrets are: shown as set or not.
var hidden = map[string]bool{"nats.credentials": true}

func (f field) safe() string {
	if shown := f.show(); hidden[f.key] && shown != "" || strings.Contains(shown, "@") {
		return "[set]"
	}
	return f.show()
}

// String lists every key with its value, a line each, without secrets.
func (c Config) String() string {
	var b strings.Builder
	for _, f := range fieldsOf(&c) {
		fmt.Fprintf(&b, "%s: %s\n", f.key, f.safe())
	}
	return b.String()
}

// Format and GoString keep every verb from walking the fields.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }
func (c Config) GoString() string           { return c.String() }

// LogValue is the configuration as a group of attributes, without secrets.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, f := range fieldsOf(&c) {
		attrs = append(attrs, slog.String(f.key, f.safe()))
	}
	return slog.GroupValue(attrs...)
}
