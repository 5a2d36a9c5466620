package est

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Request is one request to enrol, renew or have a key generated, as it came over the wire.
type Request struct {
	Op         Op                  // OpEnroll, OpReenroll or OpServerKeyGen
	Label      string              // empty when the path has none; otherwise ValidLabel
	CSR        []byte              // one DER SEQUENCE of at most MaxRequest bytes, otherwise unchecked
	Peer       []*x509.Certificate // as presented in TLS, leaf first, unverified; empty without a client certificate
	Credential Credential          // zero when the client sent none
	Source     netip.Addr          // where the request came from; invalid when unknown
	RequestID  string              // names the request in logs and problem documents

	// TLSUnique is the tls-unique channel binding (RFC 5929) that RFC 7030 section 3.5 puts into the challenge password,
	// in base64; nil on TLS 1.3, where TLSExporter (tls-exporter of RFC 9266, 32 bytes) takes its place.
	TLSUnique   []byte
	TLSExporter []byte
}

// Issued is what a backend answers.
type Issued struct {
	Chain      []*x509.Certificate // the issued certificate first, then its issuer
	PrivateKey PrivateKey          // for OpServerKeyGen only; the handler erases it after writing
}

// Backend decides. Its methods are called concurrently, with the context of the request. An error that is or wraps
// *Problem or *Pending is shown to the client; any other becomes a plain 500 and goes to Config.OnError. An answer means
// that what it says is durable: the client acts on it at once.
type Backend interface {
	// CACerts returns the certificates that a client may take as trust anchors and intermediates, 1 to MaxCertificate.
	CACerts(ctx context.Context, label string) ([]*x509.Certificate, error)
	// CSRAttrs returns the DER of CsrAttrs (RFC 7030 section 4.5.2), or nothing when there are no wishes.
	CSRAttrs(ctx context.Context, label string) ([]byte, error)
	// Enroll serves simpleenroll, simplereenroll and serverkeygen, as req.Op says.
	Enroll(ctx context.Context, req Request) (Issued, error)
}

// Config adjusts a handler. The zero value works.
type Config struct {
	// OnError is told of errors that the client must not see, and of answers that could not be written; nil ignores them.
	OnError func(r *http.Request, err error)
	// RequestID names a request; nil draws 128 random bits.
	RequestID func(r *http.Request) string
	// Source tells where a request came from; nil takes the address of the connection.
	Source func(r *http.Request) netip.Addr
	// AllowAnonymous passes requests with neither a client certificate nor a credential to the backend, for a waiting
	// room that is open to all. Otherwise they are answered with 401.
	AllowAnonymous bool
	// LeafOnly sends the issued certificate alone, to the letter of RFC 7030 section 4.2.3. Otherwise its issuer follows,
	// which spares a device the second request before its first TLS connection.
	LeafOnly bool
}

// Handler serves the operations of RFC 7030 under Path. Mount it at Path without stripping it.
func Handler(b Backend, cfg Config) http.Handler {
	if cfg.OnError == nil {
		cfg.OnError = func(*http.Request, error) {}
	}
	if cfg.RequestID == nil {
		cfg.RequestID = func(*http.Request) string { return rand.Text() }
	}
	if cfg.Source == nil {
		cfg.Source = remoteAddr
	}
	return &handler{b, cfg}
}

type handler struct {
	backend Backend
	cfg     Config
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// ServeHTTP routes, serves and, where that gives an error, refuses.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := h.cfg.RequestID(r)
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	op, label, err := route(r.URL)
	if err == nil {
		err = checkMethod(w, op, r.Method)
	}
	if err == nil {
		err = h.serve(w, r, op, label, id)
	}
	if err != nil {
		h.refuse(w, r, id, err)
	}
}

// route reads operation and label from the path.
func route(u *url.URL) (Op, string, error) {
	rest, ok := strings.CutPrefix(u.Path, Path)
	parts := strings.Split(rest, "/")
	label, name := "", parts[len(parts)-1]
	if len(parts) == 2 {
		label = parts[0]
	}
	// RawPath is set when the path was escaped in an unusual way, such as an encoded slash: nothing here needs that.
	if !ok || len(parts) > 2 || u.RawPath != "" || !Op(name).known() {
		return "", "", &Problem{Status: http.StatusNotFound, Code: "unknown-operation", Title: "No such operation",
			Detail: "The path does not name an operation of RFC 7030.",
			Fix: "Use " + Path + "OPERATION or " + Path + "LABEL/OPERATION, where OPERATION is cacerts, simpleenroll, " +
				"simplereenroll, csrattrs or serverkeygen."}
	}
	if len(parts) == 2 && !ValidLabel(label) {
		return "", "", &Problem{Status: http.StatusNotFound, Code: "unknown-label", Title: "No such label",
			Detail: "The label in the path cannot name a device type.",
			Fix:    "Use the name of a device type: letters, digits, dot, hyphen and underscore, at most 64."}
	}
	return Op(name), label, nil
}

func checkMethod(w http.ResponseWriter, op Op, method string) error {
	switch {
	case op == OpFullCMC:
		return &Problem{Status: http.StatusNotImplemented, Code: "full-cmc", Title: "Full CMC is not supported",
			Detail: "This server does not serve the fullcmc operation.",
			Fix:    "Use simpleenroll or simplereenroll."}
	case op.posts() && method != http.MethodPost:
		w.Header().Set("Allow", "POST")
	case !op.posts() && method != http.MethodGet && method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
	default:
		return nil
	}
	return &Problem{Status: http.StatusMethodNotAllowed, Code: "method", Title: "Wrong method",
		Detail: "The operation " + string(op) + " does not take this method.",
		Fix:    "Use " + w.Header().Get("Allow") + "."}
}

// serve writes the answer of one operation, or returns an error having written nothing.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, op Op, label, id string) error {
	switch op {
	case OpCACerts:
		certs, err := h.backend.CACerts(r.Context(), label)
		if err != nil {
			return err
		}
		body, err := RenderCerts(certs)
		if err != nil {
			return err
		}
		h.write(w, r, TypeCertsOnly, body)
		return nil
	case OpCSRAttrs:
		return h.csrAttrs(w, r, label)
	}
	req, err := h.parse(w, r, op, label, id)
	if err != nil {
		return err
	}
	issued, err := h.backend.Enroll(r.Context(), req)
	defer issued.PrivateKey.Erase()
	if err != nil {
		return err
	}
	return h.issued(w, r, op, issued)
}

func (h *handler) csrAttrs(w http.ResponseWriter, r *http.Request, label string) error {
	der, err := h.backend.CSRAttrs(r.Context(), label)
	if err != nil {
		return err
	}
	if len(der) == 0 { // RFC 7030 section 4.5.2
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	body, err := RenderCSRAttrs(der)
	if err != nil {
		return err
	}
	h.write(w, r, TypeCSRAttrs, body)
	return nil
}

// issued writes a certificate, and the key for serverkeygen. More of the chain than the issuer is to be had at cacerts.
func (h *handler) issued(w http.ResponseWriter, r *http.Request, op Op, issued Issued) error {
	keep := 2
	if h.cfg.LeafOnly {
		keep = 1
	}
	chain := issued.Chain[:min(keep, len(issued.Chain))]
	if op != OpServerKeyGen {
		body, err := RenderCerts(chain)
		if err != nil {
			return err
		}
		h.write(w, r, TypeCertsOnly, body)
		return nil
	}
	media, body, err := RenderServerKeyGen(issued.PrivateKey, chain)
	if err != nil {
		return err
	}
	defer clear(body)
	h.write(w, r, media, body)
	return nil
}

// parse reads everything the backend needs to know. The cheap refusals come before the body is read.
func (h *handler) parse(w http.ResponseWriter, r *http.Request, op Op, label, id string) (Request, error) {
	req := Request{Op: op, Label: label, Source: h.cfg.Source(r), RequestID: id}
	if r.TLS != nil {
		req.Peer = r.TLS.PeerCertificates
		req.TLSUnique = r.TLS.TLSUnique
	}
	var err error
	if req.Credential, err = ParseCredential(r.Header); err != nil {
		return Request{}, err
	}
	if len(req.Peer) == 0 && req.Credential.IsZero() && !h.cfg.AllowAnonymous {
		return Request{}, Unauthorized("The request carries neither credentials nor a client certificate.")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return Request{}, &Problem{Status: http.StatusUnsupportedMediaType, Code: "content-encoding", Title: "Compressed request",
			Detail: "The body is compressed.", Fix: "Send the body without Content-Encoding."}
	}
	body, err := readBody(w, r)
	if err != nil {
		return Request{}, err
	}
	req.CSR, err = ParseBody(r.Header.Get("Content-Type"), r.Header.Get("Content-Transfer-Encoding"), body)
	if err != nil {
		return Request{}, err
	}
	if r.TLS != nil && r.TLS.HandshakeComplete {
		// Without TLS 1.3 or the extended master secret there is no exporter: the binding stays nil.
		req.TLSExporter, _ = r.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	}
	return req, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxRequest {
		return nil, tooLarge()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, badBody("The body could not be read to its end.", "Send the request again.")
	}
	return body, nil
}

// write sends a successful answer. What cannot be written is told to the program: the client may not know its certificate.
func (h *handler) write(w http.ResponseWriter, r *http.Request, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	if !strings.HasPrefix(media, "multipart/") {
		w.Header().Set("Content-Transfer-Encoding", "base64")
	}
	h.send(w, r, http.StatusOK, body)
}

func (h *handler) send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		h.cfg.OnError(r, fmt.Errorf("writing the response: %w", err))
	}
}

// refuse is the one map from errors to the wire.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, id string, err error) {
	if pending, ok := errors.AsType[*Pending](err); ok {
		w.Header().Set("Retry-After", seconds(pending.RetryAfter))
		h.send(w, r, http.StatusAccepted, nil)
		return
	}
	p, ok := errors.AsType[*Problem](err)
	if !ok || p == nil || p.Status < 400 || p.Status > 599 || !codeForm.MatchString(p.Code) {
		h.cfg.OnError(r, err)
		p = &Problem{Status: http.StatusInternalServerError, Code: "internal", Title: "Internal error",
			Detail: "The server could not complete the request.",
			Fix:    "Try again later; if it persists, give the request_id to the operator."}
	} else if p.Status >= 500 && p.Status != http.StatusNotImplemented {
		h.cfg.OnError(r, err)
	}
	shown := *p
	shown.RequestID = id
	body, err := RenderProblem(&shown)
	if err != nil {
		h.cfg.OnError(r, err)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header()["Www-Authenticate"] = []string{`Basic realm="est"`, `Bearer realm="est"`}
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(p.RetryAfter))
	}
	w.Header().Set("Content-Type", TypeProblem)
	h.send(w, r, p.Status, body)
}
