package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func (o *ownCert) apiTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: o.get, NextProtos: []string{"h2", "http/1.1"}}
}

// health adds /healthz (the process answers) and /readyz (all that it needs does).
func (s *Server) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		checks, ok := s.checks(ctx)
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(checks)
	})
}

// checks says what is well; the reasons of failures are in the log only.
func (s *Server) checks(ctx context.Context) (map[string]string, bool) {
	checks, ok := map[string]string{}, true
	put := func(name string, err error) {
		checks[name] = "ok"
		if err != nil {
			s.log.Warn("not ready", "check", name, "err", err)
			checks[name], ok = "failing", false
		}
	}
	put("database", s.store.Ping(ctx))
	put("messages", errors.Join(s.bus.Healthy(), s.messages.Healthy()))
	var err error
	if s.authority.Load().active == nil {
		err = fmt.Errorf("no issuing key")
	}
	put("issuing", err)
	return checks, ok
}

func (s *Server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.handler())
	s.health(mux)
	return mux
}

// Status shows the state of this node and the fleet.
func (s *Server) Status(ctx context.Context) (adminapi.Status, error) {
	st := adminapi.Status{Version: Version, Node: s.cfg.Node, Started: s.started, Database: "postgres", Messaging: "cluster", TrustDomain: s.cfg.TrustDomain, Warnings: s.warnings}
	if s.cfg.Database.Empty() {
		st.Database = "sqlite"
	}
	if s.bus.Embedded() {
		st.Messaging = "embedded"
	}
	r := s.endpoints.Load()
	st.Endpoints = map[string]string{"api": r.API, "device_api": r.DeviceAPI, "mqtts": r.MQTTS, "wss": r.WSS, "pki": r.PKI, "metrics": r.Metrics}
	version, warnings := s.policyStatus()
	st.Policy, st.Warnings = version, append(slices.Clone(st.Warnings), warnings...)
	counts, err := s.watching.states.get(ctx, "", s.now, rememberStates, s.store.CountByState)
	if err != nil {
		return st, err
	}
	st.Devices = maps.Clone(counts)
	st.AuditSize, err = s.store.LogSize(ctx)
	return st, err
}
