package demo

import (
	"encoding/json"
	"hash/fnv"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/device"
)

// works is the water works that the devices measure and move: what one device
// does shows in what others read. Safe for concurrent use.
type works struct {
	mu     sync.Mutex
	at     time.Time          // until when everything below was worked out
	dose   float64            // set point of the doser, ml/min
	chlor  float64            // residual behind the contact tank, mg/l
	pumps  map[string]*motion // speed in percent; 0 is standing still
	valves map[string]*motion // percent open
}

// motion is something that moves towards where it was told to go.
type motion struct{ is, want float64 }

func openWorks(devices []device.Device, now time.Time) *works {
	w := &works{at: now, dose: 12, chlor: 0.48, pumps: map[string]*motion{}, valves: map[string]*motion{}}
	for _, d := range devices {
		switch d.Type {
		case pumpType:
			w.pumps[string(d.ID)] = &motion{is: 70, want: 70}
		case valveType:
			w.valves[string(d.ID)] = &motion{is: 60, want: 60}
		}
	}
	return w
}

// The types of the fleet that the simulation knows.
const (
	levelType   = "level-sensor"
	flowType    = "flow-meter"
	pumpType    = "pump-controller"
	valveType   = "valve-actuator"
	doserType   = "chlorine-doser"
	gatewayType = "water-gateway"
	cameraType  = "yard-camera"
	leakType    = "leak-sensor"
)

// commandsOf are the commands that each type listens to.
var commandsOf = map[device.TypeName][]string{
	pumpType:  {"start", "stop", "speed", "identify"},
	valveType: {"position"},
	doserType: {"dose", "stop"},
}

// chlorPerMl is the residual that 1 ml/min of dose makes in the end, in mg/l.
const chlorPerMl = 0.04

// advance lets the water flow until now: everything that moves comes nearer to
// its goal by a share of the distance each second.
func (w *works) advance(now time.Time) {
	passed := now.Sub(w.at).Seconds()
	if passed <= 0 {
		return
	}
	w.at = now
	near := func(is *float64, want, seconds float64) { *is += (want - *is) * (1 - math.Exp(-passed/seconds)) }
	near(&w.chlor, w.dose*chlorPerMl, 20)
	for _, p := range w.pumps {
		near(&p.is, p.want, 5)
	}
	for _, v := range w.valves {
		near(&v.is, v.want, 8)
	}
}

// reading is what a device measures now, as JSON.
func (w *works) reading(d *device.Device, now time.Time) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	id := string(d.ID)
	r := map[string]any{"at": now.UTC().Format(time.RFC3339)}
	noise := func(size float64) float64 { return size * wave(id, now, 7*time.Second) }
	switch d.Type {
	case levelType:
		r["level_m"] = round(4 + 1.5*wave(id, now, 10*time.Minute) + noise(0.02))
		r["battery_pct"] = round(80 + 10*wave(id, now, 300*time.Hour))
	case flowType:
		speed := w.speedAt(d.Zone)
		r["flow_m3h"] = round(max(0, 9*speed*(1+noise(0.01))))
		r["pressure_bar"] = round(0.4 + 6*speed*speed/1e4 + noise(0.05) + 0.05)
	case pumpType:
		speed := w.pumps[id].is
		r["running"], r["speed_pct"] = speed > 1, round(speed)
		r["pressure_bar"] = round(0.5 + 6*speed*speed/1e4 + noise(0.05) + 0.05)
		r["power_kw"] = round(160 * speed * speed * speed / 1e6)
	case valveType:
		r["open_pct"] = round(w.valves[id].is)
		r["torque_nm"] = round(80 + 4*math.Abs(w.valves[id].want-w.valves[id].is) + noise(3))
	case doserType:
		r["ml_per_min"], r["residual_mg_l"] = round(w.dose), round(max(0, w.chlor+noise(0.01)))
		r["tank_pct"] = round(60 + 30*wave(id, now, 48*time.Hour))
	case gatewayType:
		r["uplink_ms"], r["cpu_pct"], r["modbus_devices"] = round(45+15*wave(id, now, time.Minute)), round(20+noise(8)), 6
	case cameraType:
		r["motion"] = wave(id, now, 90*time.Second) > 0.8
	default:
		r["band_db"] = round(-60 + 5*wave(id, now, time.Minute))
	}
	return mustJSON(r)
}

// speedAt is the mean speed of a site's pumps, in percent.
func (w *works) speedAt(zone device.ZoneName) float64 {
	site := strings.TrimPrefix(string(zone), "riverside-")
	sum, n := 0.0, 0
	for id, p := range w.pumps {
		if strings.HasPrefix(id, "pump-"+site) {
			sum, n = sum+p.is, n+1
		}
	}
	return sum / max(1, float64(n))
}

// obey does what a command says; what it cannot read it does not do.
func (w *works) obey(id, command string, payload []byte, now time.Time) {
	var c struct {
		Ml      *float64 `json:"ml_per_min"`
		Percent *float64 `json:"percent"`
		Open    *float64 `json:"open_pct"`
	}
	_ = json.Unmarshal(payload, &c) // stop and start have no payload
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	pump, valve := w.pumps[id], w.valves[id]
	switch {
	case command == "dose" && c.Ml != nil:
		w.dose = *c.Ml
	case command == "stop" && pump != nil:
		pump.want = 0
	case command == "stop" && valve == nil:
		w.dose = 0
	case command == "start" && pump != nil:
		pump.want = 70
	case command == "speed" && pump != nil && c.Percent != nil:
		pump.want = *c.Percent
	case command == "position" && valve != nil && c.Open != nil:
		valve.want = *c.Open
	}
}

// wave swings between -1 and 1, each device and period in its own phase.
func wave(id string, now time.Time, period time.Duration) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	phase := float64(h.Sum32()%1000)/1000 + float64(now.UnixMilli()%period.Milliseconds())/float64(period.Milliseconds())
	return math.Sin(2 * math.Pi * phase)
}

// round keeps two decimals.
func round(v float64) float64 { return math.Round(v*100) / 100 }

// mustJSON marshals what is made of texts and finite numbers only.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
