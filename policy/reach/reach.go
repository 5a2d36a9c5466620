// Package reach tells who can talk to whom under a policy: which devices of which
// zone, and which apps, may send something that which others may receive. It is
// what a map of zones and conduits (IEC 62443-3-2) shows.
//
// It promises to miss no path: when the policy compiled from the same manifests
// lets one publish a topic and another receive it, the edge between their nodes is
// there, unless Cut says that a bound was met. It may show a path that no message
// takes, because it judges neither conditions nor interlocks; it says so where one
// decides. The work is bounded by Limits. It trusts the manifests, which must
// compile, and the fleet that its caller hands in; it decides nothing. Whoever can
// write either could hide a path from the reader of a map, not open one.
package reach

import (
	"cmp"
	"slices"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// Fleet is what the inventory knows.
type Fleet struct {
	Zones  []Zone  // every zone; one that only a group names is added, not production, level 0
	Groups []Group // what exists; groups with the same zone, type and profile are added up

	// Place tells where the device or gateway with an id stands. It is asked about
	// ids that rules name, at most Limits.Lookups times, and must answer the same
	// each time. Without it any id may be anywhere.
	Place func(id string) (zone, deviceType string, known bool)
}

// Zone is a zone of the inventory.
type Zone struct {
	Name          string
	Production    bool
	SecurityLevel int // target security level SL-T, 0 to 4 (IEC 62443-3-3)
}

// Group is the devices of one type in one zone, those in states in which they may
// do nothing too.
type Group struct {
	Zone, Type string
	Profile    string // of the type: device or gateway; empty: device
	Count      int
}

// Limits bound the work; zero fields mean the default.
type Limits struct {
	Steps   int // comparisons of patterns and ways put into edges; default 5,000,000, less than a second
	Edges   int // default 100,000
	Ways    int // kept of each edge; default 8
	Lookups int // of Fleet.Place; default 1,000; what is not looked up may be anywhere
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, to int) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&l.Steps, 5_000_000)
	set(&l.Edges, 100_000)
	set(&l.Ways, 8)
	set(&l.Lookups, 1_000)
	return l
}

// The kinds of nodes.
const (
	ZoneNode    = "zone"
	DeviceNode  = "device"  // a group of devices inside a zone
	GatewayNode = "gateway" // a group of gateways inside a zone
	AppNode     = "app"     // a program that an App document declares
	OutsideNode = "outside" // all programs with a certificate or token but without an App document
)

// Outside is the id of the one node of its kind.
const Outside = "outside"

// Node is somebody on the map.
type Node struct {
	ID            string `json:"id"` // zone:NAME, device:ZONE/TYPE, gateway:ZONE/TYPE, app:NAME or outside
	Kind          string `json:"kind"`
	Name          string `json:"name"`             // of the zone, the device type or the app
	Zone          string `json:"zone,omitempty"`   // of groups and zones
	Parent        string `json:"parent,omitempty"` // of groups: the id of the zone's node
	Count         int    `json:"count"`            // devices of a group or zone; 0 for apps
	Production    bool   `json:"production"`
	SecurityLevel int    `json:"security_level"` // of groups and zones
	Sends         int    `json:"sends"`          // publish rules that concern it, not of zones
	Receives      int    `json:"receives"`       // subscribe rules that concern it, not of zones
}

// end is the node of the coarse map that n belongs to: its zone, or itself.
func (n *Node) end() string {
	if n.Parent != "" {
		return n.Parent
	}
	return n.ID
}

// Rule is a rule or command of a manifest.
type Rule struct {
	Name    string `json:"name"` // as decisions name it: Kind/document/rule
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	When    string `json:"when,omitempty"`
	Payload bool   `json:"payload,omitempty"` // it describes what a payload must be
	Rate    bool   `json:"rate,omitempty"`    // it bounds how often
}

// Way is a rule that lets something be sent together with a rule that lets it be
// received. Ways are shared between edges and must not be changed.
type Way struct {
	// Topic is what both rules have in common, with {sender id}, {receiver id},
	// {sender name}, {sender label site} and so on where it differs between
	// members of a node.
	Topic       string   `json:"topic"`
	Send        *Rule    `json:"send"`
	Sent        string   `json:"sent"` // the pattern as the rule has it
	Receive     *Rule    `json:"receive"`
	Received    string   `json:"received"`
	Interlocks  []*Rule  `json:"interlocks,omitempty"` // commands of the receiving type that some of the topics are
	Guarded     bool     `json:"guarded"`              // one of these interlocks holds for every topic of the way
	Conditional bool     `json:"conditional"`          // something beside the topic decides: When of a rule, or Because
	Because     []string `json:"because,omitempty"`    // sentences: what restricts the way beside the rules' own conditions
	OnlyItself  bool     `json:"only_itself"`          // a member hears only what it sent itself

	sender, receiver string // the one id that the way is for; empty: any
	commands         bool   // the receiving rule can bring commands
}

// Edge says that some member of a node may send something that some member of
// another, or the same, may receive.
type Edge struct {
	From         string `json:"from"`
	To           string `json:"to"`
	Ways         []*Way `json:"ways"`          // in the order of the rules, at most Limits.Ways
	More         int    `json:"more"`          // ways that are not shown
	CrossesZones bool   `json:"crosses_zones"` // between devices of different zones
	Command      bool   `json:"command"`       // some way meets an interlock of the receiver
	Guarded      bool   `json:"guarded"`       // every way is guarded
	Conditional  bool   `json:"conditional"`   // every way is conditional
	OnlyItself   bool   `json:"only_itself"`   // every way is a member's to itself
}

// Topics lists the topics of the ways, each once.
func (e *Edge) Topics() (topics []string) {
	for _, w := range e.Ways {
		if !slices.Contains(topics, w.Topic) {
			topics = append(topics, w.Topic)
		}
	}
	return topics
}

// Flow joins the edges between two places of the coarse map, which are zones, apps
// and outside. From and To may be the same.
type Flow struct {
	From          string `json:"from"` // id of a node
	To            string `json:"to"`
	Edges         int    `json:"edges"`
	SendRules     int    `json:"send_rules"`    // different ones
	ReceiveRules  int    `json:"receive_rules"` // different ones
	Command       bool   `json:"command"`       // as of edges
	Guarded       bool   `json:"guarded"`
	Conditional   bool   `json:"conditional"`
	OnlyItself    bool   `json:"only_itself"`
	send, receive map[*Rule]bool
}

// Graph is who can talk to whom. Nobody may change it, and then it is safe for
// concurrent use.
type Graph struct {
	Nodes        []Node        `json:"nodes"` // zones first, each with its groups after it; then apps, then outside
	Edges        []Edge        `json:"edges"` // in the order of their nodes
	Flows        []Flow        `json:"flows"` // in the order of their nodes
	Observations []Observation `json:"observations"`
	More         int           `json:"more"`              // observations that are not shown
	Cut          bool          `json:"cut"`               // edges are missing because a limit was met
	FlowsCut     bool          `json:"flows_cut"`         // and flows may be missing too
	CutWhy       string        `json:"cut_why,omitempty"` // which limit, as a sentence
}

// Build makes the graph of a policy for a fleet. The manifests must be valid: what
// policy.Compile refuses may give a graph that misses paths.
func Build(m *manifest.Set, fleet Fleet, limits Limits) *Graph {
	b := newBuilder(m, &fleet, limits.withDefaults())
	b.persons()
	b.offers()
	b.join()
	return b.finish()
}

// Node finds a node by its id, or gives nil.
func (g *Graph) Node(id string) *Node {
	for i := range g.Nodes {
		if g.Nodes[i].ID == id {
			return &g.Nodes[i]
		}
	}
	return nil
}

// Into lists the edges by which something outside a zone may reach it.
func (g *Graph) Into(zone string) []Edge {
	return g.edges(func(from, to *Node) bool { return to.Zone == zone && from.Zone != zone })
}

// OutOf lists the edges by which a zone may reach something outside it.
func (g *Graph) OutOf(zone string) []Edge {
	return g.edges(func(from, to *Node) bool { return from.Zone == zone && to.Zone != zone })
}

// Between lists the edges behind the flow from one node of the coarse map to another.
func (g *Graph) Between(from, to string) []Edge {
	return g.edges(func(a, b *Node) bool { return a.end() == from && b.end() == to })
}

func (g *Graph) edges(want func(from, to *Node) bool) (out []Edge) {
	nodes := make(map[string]*Node, len(g.Nodes))
	for i := range g.Nodes {
		nodes[g.Nodes[i].ID] = &g.Nodes[i]
	}
	for i := range g.Edges {
		if e := &g.Edges[i]; want(nodes[e.From], nodes[e.To]) {
			out = append(out, *e)
		}
	}
	return out
}

// order gives each node its place in the list.
func order(nodes []Node) func(a, b string) int {
	at := make(map[string]int, len(nodes))
	for i := range nodes {
		at[nodes[i].ID] = i
	}
	return func(a, b string) int { return cmp.Compare(at[a], at[b]) }
}
