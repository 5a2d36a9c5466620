package manifest_test

import (
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// problemCase is a document with something wrong: its first problem must be want
// without the file and line when want begins with a colon.
type problemCase struct{ kind, spec, want string }

func (c problemCase) text() string {
	if c.kind == "" {
		return c.spec
	}
	return "apiVersion: holdfast.dev/v1\nkind: " + c.kind + "\nmetadata: {name: a}\nspec:\n" + c.spec + "\n"
}

var problemCases = []problemCase{
	// documents
	{"", "apiVersion: holdfast.dev/v1\nkind: DeviceTyp\nmetadata: {name: a}", "2:7: `DeviceTyp` is no kind of document: did you mean `DeviceType`?"},
	{"", "apiVersion: v1\nkind: Zone\nmetadata: {name: a}", "1:13: the version `v1` is not known: write holdfast.dev/v1"},
	{"", "kind: Zone\nmetadata: {name: a}", "1:1: the document has no `apiVersion`: add it"},
	{"", "apiVersion: holdfast.dev/v1\nkind: Zone\nmetadata: {names: a}", "3:11: `metadata` has no `name`: add it"},
	{"", "apiVersion: holdfast.dev/v1\nkind: App\nmetadata: {name: Ab}", "3:18: `Ab` is no name: use a-z and 0-9, with - . _ in between"},
	{"", "[1]", "1:1: expected keys with values for the document, found a list"},
	{"", "apiVersion: holdfast.dev/v1\nkind: Zone\nmetadata: {name: a}\n---\napiVersion: holdfast.dev/v1\nkind: Zone\nmetadata: {name: a}", "7:18: the document `Zone a` stands twice, first at a.yaml:3:18: keep one of them, or rename one"},
	{"Zone", "  publish: []\n  publish: []", "6:3: the key `publish` stands twice, first on line 5: keep one of them"},
	{"Zone", "  comands: []", "5:3: unknown key `comands` in the spec of Zone: there is `publish` and `subscribe`"},
	{"DeviceType", "  comands: []", "5:3: unknown key `comands` in the spec of DeviceType: did you mean `commands`?"},
	{"Audience", "  1: []", "5:3: expected a key, found `1`: put a key that looks like a number or a word of YAML in quotes"},
	// rules
	{"Zone", "  publish: {topic: a}", "5:12: expected a list for `publish`, found keys with values: begin each with `- `, or write [ and ] around them"},
	{"Zone", "  publish: [{topcis: [a]}]", "5:14: unknown key `topcis` in a `publish` rule: did you mean `topics`?"},
	{"Zone", "  publish: [{qos: 1}]", "5:13: the rule has no `topics`: add topics, such as topics: [\"water/${device.id}/#\"]"},
	{"Zone", "  publish: [{topic: a, topics: [b]}]", "5:21: the rule has both `topic` and `topics`: keep one of them"},
	{"Zone", "  publish: [{topics: []}]", "5:22: `topics` is an empty list: list at least one, or leave the key out"},
	{"Zone", "  publish: [{topics: [a, a]}]", "5:26: `a` stands twice in `topics`: keep one of them"},
	{"Zone", "  publish: [{topic: 12}]", "5:21: expected text, found `12`: put it in quotes"},
	{"Zone", "  publish: [{topic: a, qos: 3}]", "5:29: `3` is out of range: write 0 to 2"},
	{"Zone", "  publish: [{topic: a, qos: one}]", "5:29: expected a whole number, found the text `one`"},
	{"Zone", "  publish: [{topic: a, retain: on}]", "5:32: expected true or false, found the text `on`"},
	{"Zone", "  publish: [{topic: a, shared: true}]", "5:24: unknown key `shared` in a `publish` rule: there is"},
	{"Zone", "  publish: [{name: x, topic: a}]\n  subscribe: [{name: x, topic: a}]", "6:22: the name `x` stands twice, first at a.yaml:5:20"},
	{"Zone", "  publish: [{topic: a, when: ''}]", "5:30: `when` is empty: write a condition such as message.size < 512, or leave the key out"},
	{"MessagePolicy", "  denyPublish: [{topic: a, qos: 1}]", "5:28: unknown key `qos` in a `denyPublish` rule: there is `name`, `topic`, `topics` and `when`"},
	// patterns
	{"Zone", "  publish: [{topic: 'a/${devcie.id}'}]", "5:24: unknown variable `${devcie.id}` here: did you mean `${device.id}`?"},
	{"Zone", "  publish: [{topic: 'a/${device.lables.site}'}]", "5:24: unknown variable `${device.lables.site}` here: did you mean `${device.labels.site}`?"},
	{"Zone", "  publish: [{topic: 'a/${device.labels.Site}'}]", "5:24: the variable `${device.labels.Site}` names no label: a label is a letter a-z"},
	{"Zone", "  publish: [{topic: 'a/${device.id'}]", "5:24: the topic has ${ without }: end the variable with }"},
	{"Zone", "  publish: [{topic: '${app.name}'}]", "5:22: unknown variable `${app.name}` here: there is"},
	{"App", "  publish: [{topic: '${device.id}'}]", "5:22: unknown variable `${device.id}` here: there is `${app.name}`"},
	{"MessagePolicy", "  select: {kinds: [app]}\n  publish: [{topic: '${device.id}'}]", "6:22: unknown variable `${device.id}` here"},
	{"Zone", "  publish: [{topic: 'a/#/b'}]", "5:22: `a/#/b` is no topic filter: # is not the whole last level"},
	{"Zone", "  publish: [{topic: '${device.id}+'}]", "5:22: `${device.id}+` is no topic filter: + is not a whole level"},
	{"Zone", "  subscribe: [{topic: '$share/g/a'}]", "5:24: `$share/g/a` is a shared subscription, not a topic"},
	{"Zone", "  publish: [{topic: ''}]", "5:22: the topic is empty"},
	{"Zone", "  publish: [{topic: \"a\\x01\"}]", "5:21: the text has the control character U+0001 at byte 2: take it away"},
	// client ids
	{"DeviceType", "  clientIds: ['*']", "5:16: the client id `*` may be that of another device: begin with the id"},
	{"DeviceType", "  clientIds: ['${device.id}*']", "5:16: the client id `${device.id}*` may be that of another device: put a character after the id"},
	{"DeviceType", "  clientIds: ['s-${device.id}']", "5:16: the client id `s-${device.id}` may be that of another"},
	{"DeviceType", "  clientIds: ['${device.id}${device.zone}']", "5:16: the client id `${device.id}${device.zone}` may be that"},
	{"DeviceType", "  clientIds: ['${device.zone}']", "5:16: the client id `${device.zone}` may be that of another"},
	// commands
	{"DeviceType", "  commands: [{name: c, topic: 'a/+/${device.id}'}]", "5:32: the command topic `a/+/${device.id}` has a wildcard"},
	{"DeviceType", "  commands: [{name: c, topic: 'a/x-${device.id}'}]", "5:32: the level `x-${device.id}` of the command topic mixes a variable with text"},
	{"DeviceType", "  commands: [{name: c, topic: '${device.zone}/a'}]", "5:32: the command topic has 0 levels that are `${device.id}`, not one"},
	{"DeviceType", "  commands: [{name: c, topic: '${gateway.id}/${device.id}'}]", "5:32: unknown variable `${gateway.id}` here"},
	{"DeviceType", "  commands: [{topic: '${device.id}'}]", "5:14: a command has no `name`: add it"},
	{"DeviceType", "  commands: [{name: c, topic: '${device.id}', refuseIn: [maintenence]}]", "5:58: `maintenence` is no state or condition of a device: did you mean `maintenance`?"},
	{"DeviceType", "  commands: [{name: c, topic: '${device.id}', rate: {bytes: 1KiB/s}}]", "5:54: unknown key `bytes` in `rate`"},
	// payloads
	{"Zone", "  publish: [{topic: a, payload: {}}]", "5:33: `payload` is empty"},
	{"Zone", "  publish: [{topic: a, payload: {format: yaml}}]", "5:42: `yaml` is no payload format: there is `any`, `json` and `text`"},
	{"Zone", "  publish: [{topic: a, payload: {format: text, closed: true}}]", "5:42: `fields` and `closed` are for JSON, and the format is text: write format: json"},
	{"Zone", "  publish: [{topic: a, payload: {maxBytes: 0}}]", "5:44: `0` is out of range: write 1 to 268435455"},
	{"Zone", "  publish: [{topic: a, payload: {maxBytes: 64kb}}]", "5:44: `64kb` is no size: did you mean `64KiB`?"},
	{"Zone", "  publish: [{topic: a, payload: {minBytes: 9, maxBytes: 8}}]", "5:44: `minBytes` 9 is more than `maxBytes` 8: exchange them"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: a, type: number}]}}]", "5:50: `a` is no path into JSON: write it with a slash before each name"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a~2, type: number}]}}]", "5:50: `/a~2` is no path into JSON: write ~0 for ~"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a/*, type: number}]}}]", "5:50: the path `/a/*` has *"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: numbr}]}}]", "5:60: `numbr` is no type of a field: did you mean `number`?"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: number, min: 5, max: 1}]}}]", "5:73: `min` 5 is more than `max` 1: exchange them"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: number, min: .inf}]}}]", "5:73: expected a number, found `.inf`"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: number, min: 0x10}]}}]", "5:73: expected a number, found `0x10`"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: integer, min: 0.5}]}}]", "5:74: `min` of a field of type integer has a fraction"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: boolean, min: 0}]}}]", "5:74: `min` is for numbers, strings and arrays, and the type is boolean"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: string, min: -1}]}}]", "5:73: `min` of a field of type string is a length"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: number, oneOf: [a]}]}}]", "5:75: `oneOf` lists texts, and the type is number"},
	{"Zone", "  publish: [{topic: a, payload: {fields: [{path: /a, type: string}, {path: /a, type: number}]}}]", "5:69: the field `/a` stands twice"},
	// rates and limits
	{"Zone", "  publish: [{topic: a, rate: {messages: 10}}]", "5:41: expected a rate, found `10`: write how many per s, min, h or d"},
	{"Zone", "  publish: [{topic: a, rate: {messages: 10/week}}]", "5:41: `10/week` is no rate"},
	{"Zone", "  publish: [{topic: a, rate: {messages: 0/s}}]", "5:41: the rate `0/s` is out of range: write 1/d to 1000000000/s"},
	{"Zone", "  publish: [{topic: a, rate: {burst: 3}}]", "5:38: `burst` without `messages` bounds nothing"},
	{"Zone", "  publish: [{topic: a, rate: {}}]", "5:30: `rate` is empty"},
	{"DeviceType", "  limits: {inflight: 70000}", "5:22: `70000` is out of range: write 1 to 65535"},
	{"DeviceType", "  limits: {sessionExpiry: 1w}", "5:27: `1w` is no duration: write days, hours, minutes or seconds"},
	{"DeviceType", "  limits: {sessionExpiry: 99999d}", "5:27: `99999d` is out of range: write 1s to 366d"},
	{"DeviceType", "  limits: {packetSize: 1}", "5:24: `1` is out of range: write 128 to 268435455"},
	{"DeviceType", "  limits: {dailyBytes: 99999999TiB}", "5:24: `99999999TiB` is out of range"},
	{"DeviceType", "  total: {inflight: 3}", "5:11: unknown key `inflight` in `total`"},
	// marks, audiences, apps, selectors
	{"DeviceType", "  marks: [{path: /a/*, as: personal}, {path: /a/*, as: secret}]", "5:39: the path `/a/*` stands twice"},
	{"App", "  audience: nobody", "5:13: there is no Audience `nobody`: declare it; its spec may be empty"},
	{"App", "  audience: operater", "5:13: there is no Audience `operater`: did you mean `operator`?"},
	{"", "apiVersion: holdfast.dev/v1\nkind: Audience\nmetadata: {name: operator}", "3:18: the audience `operator` is built in"},
	{"Audience", "  sees: [{mark: a, do: hash, keep: 2}]", "5:36: `keep` is for mask, and this is hash"},
	{"Audience", "  sees: [{mark: a, do: generalize}]", "5:10: `generalize` needs `step` or `unit`"},
	{"Audience", "  sees: [{mark: a, do: generalize, step: 0}]", "5:42: `step` is not more than 0"},
	{"Audience", "  sees: [{mark: a, do: hide}]", "5:24: `hide` is no transform: there is"},
	{"MessagePolicy", "  select: {}", "5:11: `select` is empty"},
	{"MessagePolicy", "  select: {kinds: []}", "5:19: `kinds` is an empty list"},
	{"MessagePolicy", "  select: {types: [pump]}", "5:20: there is no DeviceType `pump`: declare it"},
	{"MessagePolicy", "  select: {kinds: [app], zones: [north]}", "5:33: `zones` chooses no app"},
	{"MessagePolicy", "  select: {labels: {}}", "5:20: `labels` is empty"},
	{"MessagePolicy", "  select: {labels: {Site: x}}", "5:21: the label key \"Site\" is not valid"},
	// tests
	{"PolicyTest", "  cases: []", "5:10: the test has no cases"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, expect: allow}]", "5:11: the case has 0 actions, not one: write one of publish, receive, subscribe, connect"},
	{"PolicyTest", "  cases: [{name: x, as: {}, connect: d, expect: allow}]", "5:25: this says nobody"},
	{"PolicyTest", "  cases: [{name: x, as: {app: s}, connect: s, expect: allow}]", "5:31: there is no App `s`"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d, state: activ}, connect: d, expect: allow}]", "5:44: `activ` is no state of a device: did you mean `active`?"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, connect: d, expect: alow}]", "5:58: `alow` is no expectation: did you mean `allow`?"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, connect: d, expect: {deny: DeviceType/a/b}}]", "5:65: there is no rule `DeviceType/a/b`: write Kind/name/rule"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, at: yesterday, connect: d, expect: deny}]", "5:42: `yesterday` is no time"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, publish: {topic: 'a/#'}, expect: deny}]", "5:55: `a/#` is no topic: the topic name has a wildcard"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, publish: {topic: a, payload: 1, text: b}, expect: deny}]", "5:76: the message has more than one payload"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, publish: {topic: a, payload: {n: 0x1f}}, expect: deny}]", "5:71: `0x1f` is no number of JSON"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, publish: {topic: a, base64: '*'}, expect: deny}]", "5:66: `*` is no base64"},
	{"PolicyTest", "  cases: [{name: x, as: {device: d}, subscribe: 'a#', expect: deny}]", "5:49: `a#` is no topic filter"},
}

func TestProblems(t *testing.T) {
	for _, c := range problemCases {
		_, problems := manifest.Load([]manifest.File{{Name: "a.yaml", Data: []byte(c.text())}})
		if len(problems) == 0 {
			t.Errorf("%s %s: accepted, want %s", c.kind, c.spec, c.want)
			continue
		}
		if got := problems[0].String(); !strings.HasPrefix(got, "a.yaml:"+c.want) {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.kind, c.spec, got, c.want)
		}
	}
}
