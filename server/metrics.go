package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus reads. Labels come from fixed sets only: nothing
// that an outsider chooses becomes a series.
type metrics struct {
	registry       *prometheus.Registry
	issued         *prometheus.CounterVec // by profile
	enrolments     *prometheus.CounterVec // by result
	refusals       *prometheus.CounterVec // by code
	ocsp           *prometheus.CounterVec // by result
	sessionsClosed prometheus.Counter
	auditSize      prometheus.Gauge
}

func newMetrics(s *Server) *metrics {
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "holdfast", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		issued:         counters("certificates_issued_total", "Certificates issued.", "profile"),
		enrolments:     counters("enrolment_requests_total", "EST requests by result.", "result"),
		refusals:       counters("refusals_total", "Refused requests by code.", "code"),
		ocsp:           counters("ocsp_requests_total", "OCSP requests by result.", "result"),
		sessionsClosed: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "holdfast", Name: "sessions_closed_by_revocation_total", Help: "Connections closed because their certificate is no longer accepted."}),
		auditSize:      prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "holdfast", Name: "audit_log_size", Help: "Entries of the audit log sequenced by this node."}),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "holdfast", Name: name, Help: help}, f)
	}
	m.registry.MustRegister(m.issued, m.enrolments, m.refusals, m.ocsp, m.sessionsClosed, m.auditSize,
		gauge("device_sessions", "Open authenticated connections on the device listener.", func() float64 { return float64(s.sessions.count()) }),
		gauge("revoked_certificates", "Certificates that this node refuses.", func() float64 { return float64(s.revoked.size()) }),
		messageNumbers{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
