package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// messageNumbers are the broker's numbers for Prometheus, read when asked for.
type messageNumbers struct{ s *Server }

var (
	mqttSessions      = describe("mqtt_sessions", "Clients connected to this node.")
	mqttSubscriptions = describe("mqtt_subscriptions", "Subscriptions of clients connected to this node.")
	mqttReceived      = describe("mqtt_messages_received_total", "Messages that clients published.")
	mqttSent          = describe("mqtt_messages_sent_total", "Messages sent to clients.")
	mqttDropped       = describe("mqtt_messages_dropped_total", "Messages dropped because a client was slow or takes no packet so large.")
	mqttConnects      = describe("mqtt_connects_total", "Accepted connections.")
	mqttRefusedConns  = describe("mqtt_connections_refused_total", "Connections not accepted.")
	mqttMalformed     = describe("mqtt_malformed_packets_total", "Packets that broke the standard.")
	mqttRefused       = describe("mqtt_refusals_total", "What policy and limits stopped.", "kind")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (n messageNumbers) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{mqttSessions, mqttSubscriptions, mqttReceived, mqttSent, mqttDropped, mqttConnects, mqttRefusedConns, mqttMalformed, mqttRefused} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (n messageNumbers) Collect(out chan<- prometheus.Metric) {
	b := n.s.broker
	if b == nil {
		return
	}
	st := b.Stats()
	gauge := func(d *prometheus.Desc, v int) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(mqttSessions, st.Sessions)
	gauge(mqttSubscriptions, st.Subscriptions)
	count(mqttReceived, st.In)
	count(mqttSent, st.Out)
	count(mqttDropped, st.Dropped)
	count(mqttConnects, st.Connects)
	count(mqttRefusedConns, st.RefusedConnections)
	count(mqttMalformed, st.MalformedPackets)
	for kind, v := range st.Refused {
		count(mqttRefused, v, string(kind))
	}
}
