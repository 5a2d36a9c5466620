package mqtt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is one entry of test/vectors/mqtt/*.json.
type vector struct {
	Name    string         `json:"name"`
	Version Version        `json:"version"` // protocol version byte: 4 or 5; 0 when a CONNECT must say it
	Sender  string         `json:"sender,omitempty"`
	Hex     string         `json:"hex"`
	Type    string         `json:"type,omitempty"`
	Fields  map[string]any `json:"fields,omitempty"` // those worth comparing
	Error   int            `json:"error,omitempty"`  // reason code
}

// decodeOne reads one packet from b.
func decodeOne(b []byte, v Version, s Sender) (Packet, error) {
	r := NewReader(bytes.NewReader(b))
	r.SetVersion(v)
	r.SetSender(s)
	r.AllowControlCharacters(true)
	p, err := r.ReadPacket()
	if err == nil && r.Buffered() != 0 {
		return nil, errors.New("bytes were left over")
	}
	return p, err
}

// describe names the fields of a packet as the vectors do.
func describe(p Packet) map[string]any {
	m := map[string]any{}
	var props *Properties
	switch p := p.(type) {
	case *Connect:
		m["client_id"], m["clean_start"], m["keep_alive"] = p.ClientID, p.CleanStart, p.KeepAlive
		m["user_name"], m["password"] = p.UserName, string(p.Password)
		if p.Will != nil {
			m["will_topic"], m["will_payload"], m["will_qos"] = p.Will.Topic, string(p.Will.Payload), p.Will.QoS
		}
		props = &p.Props
	case *Connack:
		m["session_present"], m["code"], props = p.SessionPresent, p.Code, &p.Props
	case *Publish:
		m["topic"], m["payload"], m["qos"], m["id"] = string(p.Topic), string(p.Payload), p.QoS, p.ID
		m["dup"], m["retain"], props = p.Dup, p.Retain, &p.Props
	case *Puback:
		m["id"], m["code"], props = p.ID, p.Code, &p.Props
	case *Pubrec:
		m["id"], m["code"], props = p.ID, p.Code, &p.Props
	case *Pubrel:
		m["id"], m["code"], props = p.ID, p.Code, &p.Props
	case *Pubcomp:
		m["id"], m["code"], props = p.ID, p.Code, &p.Props
	case *Subscribe:
		m["id"], props = p.ID, &p.Props
		for i, s := range p.Subscriptions {
			m[fmt.Sprintf("filter_%d", i)] = s.Filter
			m[fmt.Sprintf("qos_%d", i)] = s.QoS
			m[fmt.Sprintf("retain_handling_%d", i)] = s.RetainHandling
		}
	case *Suback:
		m["id"], m["codes"], props = p.ID, fmt.Sprintf("%x", appendCodes(nil, p.Codes)), &p.Props
	case *Unsubscribe:
		m["id"], m["filters"], props = p.ID, strings.Join(p.Filters, " "), &p.Props
	case *Unsuback:
		m["id"], m["codes"], props = p.ID, fmt.Sprintf("%x", appendCodes(nil, p.Codes)), &p.Props
	case *Disconnect:
		m["code"], props = p.Code, &p.Props
	case *Auth:
		m["code"], props = p.Code, &p.Props
	}
	if props != nil {
		describeProps(m, props)
	}
	return m
}

func describeProps(m map[string]any, props *Properties) {
	for id := range propertyTable {
		if n, ok := props.Number(Number(id)); ok && propertyTable[id].kind.number() {
			m[fmt.Sprintf("property_%02x", id)] = n
		}
		if b, ok := props.Blob(Blob(id)); ok && propertyTable[id].kind.blob() {
			m[fmt.Sprintf("property_%02x", id)] = string(b)
		}
	}
	for i, u := range props.User {
		m[fmt.Sprintf("user_%d", i)] = string(u.Key) + "=" + string(u.Value)
	}
	for i, s := range props.SubscriptionIDs {
		m[fmt.Sprintf("subscription_id_%d", i)] = s
	}
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("../test/vectors/mqtt/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the vectors: %v, %d files", err, len(files))
	}
	var all []vector
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var vs []vector
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, vs...)
	}
	return all
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(v.Hex, " ", ""))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return b
}

func TestVectors(t *testing.T) {
	senders := map[string]Sender{"": Either, "client": Client, "server": Server}
	seen := map[string]bool{}
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			raw := v.bytes(t)
			p, err := decodeOne(raw, v.Version, senders[v.Sender])
			if v.Error != 0 {
				var e *Error
				if !errors.As(err, &e) || int(e.Code) != v.Error {
					t.Fatalf("got %v %v, want error 0x%02X", p, err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Type().String() != v.Type {
				t.Fatalf("type %s, want %s", p.Type(), v.Type)
			}
			seen[fmt.Sprintf("%s in %s", v.Type, v.Version)] = true
			got := describe(p)
			for k, want := range v.Fields {
				if g, ok := got[k]; !ok || fmt.Sprintf("%v", plain(g)) != fmt.Sprintf("%v", want) {
					t.Errorf("%s is %v, want %v", k, plain(g), want)
				}
			}
			ver := v.Version
			if c, ok := p.(*Connect); ok {
				ver = c.Version
			}
			if out, err := p.AppendTo(nil, ver); err != nil || !bytes.Equal(out, raw) {
				t.Errorf("written again: %x %v, want %x", out, err, raw)
			}
			for n := range len(raw) {
				want := io.ErrUnexpectedEOF
				if n == 0 {
					want = io.EOF
				}
				if _, err := decodeOne(raw[:n], v.Version, Either); !errors.Is(err, want) {
					t.Errorf("cut to %d bytes: %v, want %v", n, err, want)
				}
			}
		})
	}
	for _, ver := range []Version{V311, V5} {
		for ty := CONNACK; ty <= AUTH; ty++ {
			if !seen[fmt.Sprintf("%s in %s", ty, ver)] && (ver == V5 || ty != AUTH) {
				t.Errorf("no vector for %s in %s", ty, ver)
			}
		}
	}
}

// plain turns named integers into what JSON numbers look like.
func plain(v any) any {
	switch v := v.(type) {
	case ReasonCode:
		return int(v)
	case QoS:
		return int(v)
	}
	return v
}
