package adminapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/holdfast-iot/holdfast/access"
)

// As returns a client of h that acts as id without a socket: the console's. Every
// request passes the same checks as one from outside. id is as of now: who keeps
// the client keeps its rights.
func As(h http.Handler, id access.Identity) *Client {
	return &Client{BaseURL: "https://in.process", HTTP: &http.Client{Transport: inProcess{h, id}}}
}

// inProcess is a transport that calls a handler.
type inProcess struct {
	h  http.Handler
	id access.Identity
}

// RoundTrip runs the handler in a goroutine and returns when it wrote its header.
// The handler ends when the request's context does or the body is closed.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), identityKey{}, t.id))
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), t.id.Actor.Source
	if in.Body == nil {
		in.Body = http.NoBody
	}
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: pw, begun: make(chan struct{})}
	go func() {
		defer func() {
			v := recover()
			w.WriteHeader(http.StatusOK)
			if v != nil { // ended early on purpose: the reader sees it
				pw.CloseWithError(io.ErrUnexpectedEOF)
				return
			}
			pw.Close()
		}()
		t.h.ServeHTTP(w, in)
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		cancel()
		pr.CloseWithError(ctx.Err())
		return nil, ctx.Err()
	}
	return &http.Response{Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &pipeBody{pr, cancel}, ContentLength: -1, Request: r}, nil
}

type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipeWriter is an answer whose reader is in the same process.
type pipeWriter struct {
	header, sent http.Header
	status       int
	once         sync.Once
	begun        chan struct{}
	body         *io.PipeWriter
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// FlushError has nothing to do: the pipe keeps nothing back.
func (w *pipeWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// carryOut does what a second person approved, as who asked for it and with the
// rights that they have now, and returns what came of it.
func (a *api) carryOut(ctx context.Context, req access.Approval) (done bool, outcome string) {
	id, err := a.cfg.Approvals.Requester(ctx, req)
	if err != nil {
		return false, a.problem(ctx, err).Detail
	}
	ctx = context.WithValue(context.WithValue(context.WithoutCancel(ctx), identityKey{}, id), carriedOutKey{}, true)
	r, err := http.NewRequestWithContext(ctx, req.Method, "https://in.process"+req.Path, bytes.NewReader(req.Body))
	if err != nil {
		return false, "the request cannot be repeated"
	}
	r.RequestURI = req.Path
	if req.ContentType != "" {
		r.Header.Set("Content-Type", req.ContentType)
	}
	w := httptest.NewRecorder()
	a.route(w, r)
	if w.Code/100 == 2 {
		return true, http.StatusText(w.Code)
	}
	return false, readProblem(w.Result()).Error()
}
