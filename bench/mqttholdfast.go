package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// manifests say for Holdfast what the list of mosquitto says.
const manifests = `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: sensor}
spec:
  publish:
    - {name: data, topic: "fleet/${device.id}/data", qos: 1, payload: {format: any, maxBytes: 1024}}
  subscribe:
    - {name: commands, topic: "fleet/${device.id}/cmd/#", qos: 1}
    - {name: news, topic: "news/#"}
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: collector}
spec:
  publish:
    - {name: news, topic: "news/#"}
  subscribe:
    - {name: data, topic: "fleet/+/data", qos: 1}
`

// holdfastBroker is this project's, on SQLite and the embedded engine, with devices that enrolled over EST.
type holdfastBroker struct {
	*bench
	dir, identities string
}

// newHoldfast makes an installation, applies the policy and enrols the clients. It returns errNoBroker when this
// holdfast has no listener for MQTT.
func (b *bench) newHoldfast(ctx context.Context, ids []string) (*holdfastBroker, error) {
	f := &holdfastBroker{bench: b, dir: filepath.Join(b.dir, "mqtt-holdfast"), identities: filepath.Join(b.dir, "mqtt-holdfast.identities")}
	h, err := b.up(ctx, f.dir, "")
	if err != nil {
		return nil, err
	}
	defer h.stop()
	if _, err := mqttAddress(f.dir); err != nil {
		return nil, err
	}
	if err := f.apply(ctx); err != nil {
		return nil, err
	}
	list, err := enrolAll(ctx, h, ids)
	if err != nil {
		return nil, fmt.Errorf("enrolling the clients: %w", err)
	}
	return f, writeIdentities(f.identities, list)
}

func (f *holdfastBroker) name() string    { return "Holdfast" }
func (f *holdfastBroker) version() string { return "Holdfast of this tree" }
func (f *holdfastBroker) enforces() bool  { return true }

func (f *holdfastBroker) start(ctx context.Context, _ string) (*listening, error) {
	h, err := f.up(ctx, f.dir, "")
	if err != nil {
		return nil, err
	}
	address, err := mqttAddress(f.dir)
	if err == nil {
		err = h.settle(ctx)
	}
	if err != nil {
		h.stop()
		return nil, err
	}
	return &listening{process: h.process, address: address, roots: h.ready.CAFile, identities: f.identities, api: h.ready.API, token: h.ready.AdminTokenFile}, nil
}

// mqttAddress is where a running holdfast listens for MQTT over TLS.
func mqttAddress(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "run", "ready.json"))
	if err != nil {
		return "", err
	}
	var ready struct {
		MQTTS string `json:"mqtts"`
	}
	if err := json.Unmarshal(data, &ready); err != nil {
		return "", err
	}
	if ready.MQTTS == "" {
		return "", fmt.Errorf("holdfast: %w: its ready.json has no mqtts", errNoBroker)
	}
	return strings.TrimPrefix(ready.MQTTS, "mqtts://"), nil
}

// apply makes the manifests the policy, as an operator does.
func (f *holdfastBroker) apply(ctx context.Context) error {
	dir := filepath.Join(f.bench.dir, "manifests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "fleet.yaml"), []byte(manifests), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, f.holdfast, "policy", "apply", dir, "--data", f.dir, "--message", "measuring").CombinedOutput()
	if err != nil {
		return fmt.Errorf("applying the policy: %w\n%s", err, tail(out, 2000))
	}
	return nil
}

// enrolAll enrols collectors and sensors over EST and returns their identities in the order of the ids.
func enrolAll(ctx context.Context, h *instance, ids []string) ([]identity, error) {
	if _, err := h.api.CreateZone(ctx, "plant", adminapi.ZoneInput{}); err != nil {
		return nil, err
	}
	l := &load{address: strings.TrimPrefix(h.ready.DeviceAPI, "https://"), tls: clientTLS(h.roots), conns: 32, want: 200, bodies: make([][]byte, len(ids))}
	list := make([]applicant, len(ids))
	var token string
	for i, id := range ids {
		name := device.TypeName("sensor")
		if i < collectors {
			name = "collector"
		}
		if i == 0 || i == collectors {
			if _, err := h.api.CreateType(ctx, name, device.Develop, adminapi.TypeInput{}); err != nil {
				return nil, err
			}
			_, secret, err := h.api.CreateToken(ctx, adminapi.TokenInput{Kind: enroll.Group, Type: name, Zone: "plant", Quota: len(ids)})
			if err != nil {
				return nil, err
			}
			token = secret.Reveal()
		}
		var err error
		if list[i], err = newApplicant(id); err != nil {
			return nil, err
		}
		l.requests = append(l.requests, estEnrol(list[i], string(name), token))
	}
	if _, err := l.run(ctx, 2*time.Minute); err != nil {
		return nil, err
	}
	out := make([]identity, len(ids))
	for i, a := range list {
		if l.bodies[i] == nil {
			return nil, errors.New("not all clients were enrolled in time")
		}
		cert, err := estIdentity(a, l.bodies[i])
		if err != nil {
			return nil, err
		}
		if out[i], err = newIdentity(a.id, a.key, cert.Certificate); err != nil {
			return nil, err
		}
	}
	return out, nil
}
