package audit

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOCSF(t *testing.T) {
	for _, c := range []struct {
		action string
		class  int
		act    int
	}{
		{"device.enroll", 3004, 6}, {"device.create", 3004, 1}, {"device.revoke", 3004, 7}, {"zone.delete", 3004, 4}, {"device.quarantine", 3004, 12}, {"device.ponder", 3004, 99},
		{"user.login", 3002, 1}, {"session.logout", 3002, 2}, {"audit.export", 6003, 2}, {"server.enable", 6003, 99}, {"api.strange", 6003, 99},
	} {
		e := testEvent(1)
		e.Action = c.action
		for _, source := range []string{"192.0.2.1", ""} {
			e.Actor.Source = source
			var got map[string]any
			if err := json.Unmarshal(OCSF(e, 42), &got); err != nil {
				t.Fatal(err)
			}
			number := func(key string) int { n, _ := got[key].(float64); return int(n) }
			if number("class_uid") != c.class || number("activity_id") != c.act || number("type_uid") != c.class*100+c.act || number("category_uid") != c.class/1000 ||
				int64(number("time")) != e.Time.UnixMilli() || number("status_id") != 2 || number("severity_id") != 2 {
				t.Errorf("%s: %v", c.action, got)
			}
			for _, required := range map[int][]string{3004: {"entity"}, 3002: {"user", "service"}, 6003: {"actor", "api", "src_endpoint"}}[c.class] {
				if got[required] == nil {
					t.Errorf("%s: %s is missing", c.action, required)
				}
			}
			if m := got["metadata"].(map[string]any); m["version"] != "1.4.0" || m["sequence"] != 42.0 || m["uid"] != e.ID || m["product"] == nil {
				t.Errorf("%s: %v", c.action, m)
			}
		}
	}
}

func TestSyslogGolden(t *testing.T) {
	e := testEvent(1)
	e.Details = map[string]string{"x": `a"b]c\d`}
	want := `<108>1 2026-03-04T05:06:08.234567Z host.example holdfast - device.enroll [audit@32473 index="7" id="01J0000001" node="node-1" action="device.enroll" outcome="refused" ` +
		`actorKind="token" actorID="boot-7" source="2001:db8::1" subjectKind="device" subjectID="d1" reason="the token \"x\\y\" is used up" request="r-1"]` +
		`[details@32473 x="a\"b\]c\\d"] ` + "\xef\xbb\xbf" + `device.enroll refused: token boot-7 on device d1 (the token "x\y" is used up)`
	if got := string(Syslog(e, 7, "host.example")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// syslogForm is the grammar of RFC 5424 section 6 as far as these messages use it.
var syslogForm = regexp.MustCompile(`^<10[789]>1 \S+Z [!-~]{1,255} holdfast - [!-~]{1,32} (\[[a-z]+@32473( [!#-<>-\\^-~]{1,32}="([^"\\\]]|\\["\\\]])*")*\])+ \x{feff}[^\x00-\x1f]*$`)

func TestSyslogIsWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := string(Syslog(drawEvent(t), rapid.Int64Min(0).Draw(t, "index"), rapid.String().Draw(t, "host")))
		if !syslogForm.MatchString(got) {
			t.Fatalf("%q", got)
		}
	})
	if got := string(Syslog(testEvent(2), 0, "\n \x00")); !strings.Contains(got, "Z - holdfast - ca.rotate [") {
		t.Errorf("%q", got)
	}
}

// TestGoldenOCSF keeps the whole form of one event of each class: an exporter's reader depends on it.
func TestGoldenOCSF(t *testing.T) {
	var b strings.Builder
	for i, action := range []string{"device.enroll", "user.login", "audit.export"} {
		e := testEvent(i * 5)
		e.Action = action
		b.Write(append(OCSF(e, int64(i)), '\n'))
	}
	golden(t, "testdata/ocsf.jsonl", []byte(b.String()))
}

// golden compares with a file; with HOLDFAST_GOLDEN=write in the environment it writes the file instead.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if os.Getenv("HOLDFAST_GOLDEN") == "write" {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs from what is made now:\n%s", name, got)
	}
}
