package demo

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/mqtt"
)

func TestStoryLines(t *testing.T) {
	var out, log bytes.Buffer
	tale := &teller{out: &out, log: slog.New(slog.NewTextHandler(&log, nil))}
	tale.line("refused", "%s speaks", "level-1")
	tale.detail("answer", "%v", &answer{packet: "PUBACK", code: mqtt.NotAuthorized, text: "no rule"})
	tale.detail("rule", "%s", strings.Repeat("fünf ", 100))
	fives, indent := strings.TrimSpace(strings.Repeat("fünf ", 20)), strings.Repeat(" ", 24)
	want := "  refused   level-1 speaks\n" +
		"              answer    PUBACK 0x87 not authorized: no rule\n" +
		"              rule      " + fives + "\n" + indent + fives + "\n" + indent + fives + " …\n"
	if out.String() != want || log.Len() != 0 {
		t.Errorf("%s\nnot\n%s\n%s", out.String(), want, log.String())
	}
	tale.out = nil
	tale.detail("answer", "%v", &answer{packet: "CONNACK", code: mqtt.Banned})
	if !strings.Contains(log.String(), "CONNACK 0x8A banned") {
		t.Error(log.String())
	}
}
