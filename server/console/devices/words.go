package devices

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func toneIf(ok bool, t ui.Tone) ui.Tone {
	if ok {
		return t
	}
	return ui.Neutral
}

func more(f *fleet) string {
	if f.more {
		return ui.Number(f.total) + "+"
	}
	return ui.Number(f.total)
}

func connectedTone(f *fleet) ui.Tone { return toneIf(f.connected > 0, ui.Good) }

func waitingNote(f *fleet) string {
	if f.waiting == 0 {
		return "nobody waits"
	}
	return "look at their keys"
}

// rate writes a limit the way people set it: "5 a second", "30 an hour".
func rate(perSecond float64, burst int) string {
	if perSecond == 0 {
		return ""
	}
	text := ""
	for _, unit := range []struct {
		name    string
		seconds float64
	}{{"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86400}} {
		n := perSecond * unit.seconds
		if n >= 0.999 || unit.name == "day" {
			article := "a "
			if unit.name == "hour" {
				article = "an "
			}
			text = strconv.FormatFloat(float64(int64(n*10+0.5))/10, 'f', -1, 64) + " " + article + unit.name
			break
		}
	}
	if burst > 1 {
		text += fmt.Sprintf(", %d at once", burst)
	}
	return text
}

// payload says what a message of a rule has to look like.
func payload(p adminapi.PermittedRule) string {
	var parts []string
	if p.Format != "" && p.Format != "any" {
		parts = append(parts, strings.ToUpper(p.Format))
	}
	if p.MaxBytes > 0 {
		parts = append(parts, "up to "+ui.Bytes(int64(p.MaxBytes)))
	}
	if p.Fields > 0 {
		parts = append(parts, ui.Count(int64(p.Fields), "checked field", "checked fields"))
	}
	return strings.Join(parts, ", ")
}

// span writes a type's durations: "90 days", "30 min".
func span(d adminapi.Duration) string {
	if d == 0 {
		return "none"
	}
	return ui.Span(time.Duration(d))
}

// grouped sets the digits of a fingerprint apart, so that two people can read it to each
// other.
func grouped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += 4 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s[i:min(i+4, len(s))])
	}
	return b.String()
}

// refusalWords names what was stopped.
var refusalWords = map[string]string{
	"connect-refused": "Connection refused", "publish-refused": "Publish refused", "command-refused": "Command stopped by an interlock",
	"payload-refused": "Payload refused", "rate-exceeded": "Too many messages", "subscribe-refused": "Subscription refused",
	"subscription-lost": "Subscription lost", "delivery-refused": "Delivery refused", "view-refused": "View refused", "will-refused": "Last will refused",
	"malformed": "Malformed packet", "protocol-error": "Protocol error", "flapping": "Connects too often", "source-blocked": "Source blocked",
	"certificate-expired": "Certificate expired", "session-closed": "Session closed by the server",
}

func refusalWord(kind string) string {
	if w := refusalWords[kind]; w != "" {
		return w
	}
	return kind
}
