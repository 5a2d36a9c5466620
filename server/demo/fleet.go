package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/examples"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// way is how devices of a type get their first certificate.
type way string

const (
	byGroupToken way = "group-token"
	byOneTime    way = "one-time-token"
	byIDevID     way = "idevid"
	byApproval   way = "waiting-room"
)

// ways lists them with the words of the story.
var ways = []struct {
	way  way
	with string
}{
	{byGroupToken, "with a group token for their zone"},
	{byOneTime, "with a one-time token each"},
	{byIDevID, "with their manufacturer's certificates (IDevID), matched by serial number"},
	{byApproval, "with a token and an operator's approval"},
}

type zoneManifest struct {
	Name device.ZoneName `json:"name"`
	adminapi.ZoneInput
}

type typeManifest struct {
	Name      device.TypeName `json:"name"`
	Stage     device.Stage    `json:"stage"` // where the demo moves it to
	Enrolment way             `json:"enrolment"`
	SignOff   *struct {
		Statement string `json:"statement"`
		Evidence  string `json:"evidence"`
	} `json:"sign_off"`
	adminapi.TypeInput
}

// fleet is the manifests of the example.
type fleet struct {
	zones   []zoneManifest
	types   []typeManifest
	devices []device.Device
}

// kind is the type of a device of the fleet; loadFleet made sure that it exists.
func (f *fleet) kind(d *device.Device) *typeManifest {
	for i := range f.types {
		if f.types[i].Name == d.Type {
			return &f.types[i]
		}
	}
	return &typeManifest{}
}

func loadFleet() (*fleet, error) { return readFleet(examples.RiversideWater()) }

// readFleet reads manifests and checks that they fit together.
func readFleet(from fs.FS) (*fleet, error) {
	f := &fleet{}
	for name, to := range map[string]any{"zones.json": &f.zones, "types.json": &f.types} {
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("reading the fleet: %w", err)
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(to); err != nil {
			return nil, fmt.Errorf("reading the fleet: %s: %w", name, err)
		}
	}
	text, err := fs.ReadFile(from, "devices.csv")
	if err != nil {
		return nil, fmt.Errorf("reading the fleet: %w", err)
	}
	rows, bad := device.ReadCSV(bytes.NewReader(text), 1000)
	if len(bad) > 0 {
		return nil, fmt.Errorf("reading the fleet: devices.csv line %d: %s", bad[0].Line, bad[0].Message)
	}
	for _, r := range rows {
		f.devices = append(f.devices, r.Device)
	}
	return f, f.check()
}

func (f *fleet) check() error {
	zones := map[device.ZoneName]bool{}
	for _, z := range f.zones {
		zones[z.Name] = true
	}
	for i := range f.devices {
		d := &f.devices[i]
		t := f.kind(d)
		if t.Name == "" || !zones[d.Zone] {
			return fmt.Errorf("reading the fleet: device %s has a type or zone that the manifests do not", d.ID)
		}
		if t.Enrolment == byIDevID && d.Serial == "" {
			return fmt.Errorf("reading the fleet: device %s enrols by its serial number and has none", d.ID)
		}
	}
	for _, t := range f.types {
		switch t.Enrolment {
		case byGroupToken, byOneTime, byIDevID, byApproval:
		default:
			return fmt.Errorf("reading the fleet: type %s enrols by %q, which the demo does not know", t.Name, t.Enrolment)
		}
		if (t.Stage == device.Deploy) != (t.SignOff != nil) {
			return fmt.Errorf("reading the fleet: type %s needs a sign-off exactly when its stage is deploy", t.Name)
		}
	}
	return nil
}

// prototype is a type without a sign-off, production a zone that refuses it.
func (f *fleet) prototype() device.TypeName {
	for _, t := range f.types {
		if t.SignOff == nil {
			return t.Name
		}
	}
	return ""
}

func (f *fleet) production() device.ZoneName {
	for _, z := range f.zones {
		if z.Production {
			return z.Name
		}
	}
	return ""
}
