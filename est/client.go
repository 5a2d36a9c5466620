package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// How long Wait sleeps between two requests.
const (
	minWait     = time.Second      // even if the server asks for less
	defaultWait = 30 * time.Second // when the server names no time
)

// Client enrols over EST. Its fields are set once, before use; then it is safe for concurrent use. Answers other than
// success come back as *Pending or *Problem, perhaps wrapped.
type Client struct {
	BaseURL string // "https://host" or "https://host:port", nothing after it
	Label   string // ValidLabel, or empty for none
	// HTTP carries the requests. Its tls.Config holds the trust anchors and the client certificate: for the first request
	// to a server whose CA is not known yet (RFC 7030 section 4.1.1) the caller compares what CACerts returned with a
	// fingerprint that it has from elsewhere. It should have a timeout. Redirects are followed within the same origin only.
	HTTP *http.Client
	// Credential is sent with simpleenroll, simplereenroll and serverkeygen, and never with the other operations.
	Credential Credential
	// OnPending, when set, is called by EnrollWait before each wait.
	OnPending func(wait time.Duration)
}

// CACerts fetches the certificates of the CA (RFC 7030 section 4.1). They are worth what the TLS connection is worth.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	res, err := c.do(ctx, OpCACerts, nil)
	if err != nil {
		return nil, err
	}
	return res.certs(OpCACerts)
}

// CSRAttrs fetches what the server wishes to see in a CSR (RFC 7030 section 4.5); nil when it has no wishes.
func (c *Client) CSRAttrs(ctx context.Context) ([]Attribute, error) {
	res, err := c.do(ctx, OpCSRAttrs, nil)
	if p, refused := errors.AsType[*Problem](err); refused && p.Status == http.StatusNotFound && p.Code == "http-404" {
		return nil, nil // RFC 7030 section 4.5.2: a server without this operation has no wishes
	}
	if err != nil {
		return nil, err
	}
	if res.status == http.StatusNoContent {
		return nil, nil
	}
	if res.media != TypeCSRAttrs {
		return nil, res.unexpected(OpCSRAttrs)
	}
	return ParseCSRAttrs(res.body)
}

// Enroll sends a PKCS#10 request in DER (RFC 7030 section 4.2.1) and returns the certificate for its key, followed by
// what else the server sent. A response without a certificate for that key is an error. Nothing else is verified.
func (c *Client) Enroll(ctx context.Context, csrDER []byte) ([]*x509.Certificate, error) {
	return c.enroll(ctx, OpEnroll, csrDER)
}

// Reenroll is Enroll for a renewal or a change of key (RFC 7030 section 4.2.2): subject and subjectAltName of the request
// are those of the certificate that HTTP presents.
func (c *Client) Reenroll(ctx context.Context, csrDER []byte) ([]*x509.Certificate, error) {
	return c.enroll(ctx, OpReenroll, csrDER)
}

// EnrollWait is Enroll that, as long as the server answers 202, sends the request again when the server says. It ends with
// a certificate, a refusal, or the context.
func (c *Client) EnrollWait(ctx context.Context, csrDER []byte) ([]*x509.Certificate, error) {
	return Wait(ctx, c.OnPending, func() ([]*x509.Certificate, error) { return c.Enroll(ctx, csrDER) })
}

// ServerKeyGen asks the server to generate the key (RFC 7030 section 4.4); the request's own key only carries it. The
// returned key belongs to the first certificate, which is checked; the caller erases it.
func (c *Client) ServerKeyGen(ctx context.Context, csrDER []byte) (PrivateKey, []*x509.Certificate, error) {
	res, err := c.do(ctx, OpServerKeyGen, csrDER)
	if err != nil {
		return nil, nil, err
	}
	defer clear(res.body)
	key, certs, err := ParseServerKeyGen(res.contentType, res.body)
	if err != nil {
		return nil, nil, fmt.Errorf("calling serverkeygen: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		key.Erase()
		return nil, nil, errors.New("calling serverkeygen: the server sent a key of an unknown form") // the inner error could quote it
	}
	signer, ok := private.(crypto.Signer)
	if !ok || !leafFirst(certs, signer.Public(), nil) {
		key.Erase()
		return nil, nil, errors.New("calling serverkeygen: the server sent a key and no certificate for it")
	}
	return key, certs, nil
}

// Wait repeats call for as long as it returns *Pending, sleeping as long as that asks for, at least 1 s (a Client fills in
// 30 s where the server does not say). Before each sleep it calls pending, unless nil. It ends with the result of call or
// the cause of ctx.
func Wait[T any](ctx context.Context, pending func(time.Duration), call func() (T, error)) (T, error) {
	for {
		v, err := call()
		p, again := errors.AsType[*Pending](err)
		if !again {
			return v, err
		}
		wait := max(p.RetryAfter, minWait)
		if pending != nil {
			pending(wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return v, fmt.Errorf("waiting for approval: %w", context.Cause(ctx))
		}
	}
}

func (c *Client) enroll(ctx context.Context, op Op, csrDER []byte) ([]*x509.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, fmt.Errorf("calling %s: reading the CSR: %w", op, err)
	}
	res, err := c.do(ctx, op, csrDER)
	if err != nil {
		return nil, err
	}
	certs, err := res.certs(op)
	if err != nil {
		return nil, err
	}
	if !leafFirst(certs, csr.PublicKey, csr.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("calling %s: the response holds no certificate for the key of the request", op)
	}
	return certs, nil
}

// leafFirst moves the certificate of the key to the front, since a certs-only message is a set. The key is compared by
// value, or by its encoding where this program does not know the algorithm. It reports whether there is one.
func leafFirst(certs []*x509.Certificate, key crypto.PublicKey, spki []byte) bool {
	equal, _ := key.(interface{ Equal(crypto.PublicKey) bool })
	for i, cert := range certs {
		same := spki != nil && bytes.Equal(cert.RawSubjectPublicKeyInfo, spki)
		if same || equal != nil && cert.PublicKey != nil && equal.Equal(cert.PublicKey) {
			copy(certs[1:i+1], certs[:i])
			certs[0] = cert
			return true
		}
	}
	return false
}

// response is a success with its body, read within bounds.
type response struct {
	status      int
	contentType string
	media       string
	params      map[string]string
	body        []byte
}

func (r *response) unexpected(op Op) error {
	return fmt.Errorf("calling %s: the server answered status %d with content type %q", op, r.status, printable(r.contentType, 100))
}

func (r *response) certs(op Op) ([]*x509.Certificate, error) {
	if !isCertsOnly(r.media, r.params) {
		return nil, r.unexpected(op)
	}
	certs, err := ParseCerts(r.body)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", op, err)
	}
	return certs, nil
}

// do sends one request and sorts its answer into success, *Pending and *Problem.
func (c *Client) do(ctx context.Context, op Op, csrDER []byte) (*response, error) {
	req, err := c.request(ctx, op, csrDER)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", op, err)
	}
	client := *c.HTTP
	client.CheckRedirect = sameOrigin(c.HTTP.CheckRedirect)
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", op, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("calling %s: reading the response: %w", op, err)
	}
	if len(body) > MaxResponse {
		return nil, fmt.Errorf("calling %s: the response is longer than %d bytes", op, MaxResponse)
	}
	switch {
	case res.StatusCode == http.StatusAccepted && op.posts():
		wait, told := parseRetryAfter(res.Header)
		if !told {
			wait = defaultWait
		}
		return nil, &Pending{RetryAfter: wait}
	case res.StatusCode == http.StatusOK, res.StatusCode == http.StatusNoContent && op == OpCSRAttrs:
		r := &response{status: res.StatusCode, contentType: res.Header.Get("Content-Type"), body: body}
		r.media, r.params, _ = mime.ParseMediaType(r.contentType)
		return r, nil
	}
	return nil, fmt.Errorf("calling %s: %w", op, ParseProblem(res.StatusCode, res.Header, body))
}

func (c *Client) request(ctx context.Context, op Op, csrDER []byte) (*http.Request, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the base URL: %w", err)
	case base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" ||
		base.Path != "" && base.Path != "/":
		return nil, errors.New("reading the base URL: it is not https://HOST or https://HOST:PORT")
	case c.Label != "" && !ValidLabel(c.Label):
		return nil, errors.New("building the path: the label is not 1 to 64 of A-Z a-z 0-9 . _ -, or names an operation")
	case c.HTTP == nil:
		return nil, errors.New("the client has no http.Client, whose TLS configuration says whom to trust")
	}
	path := Path + string(op)
	if c.Label != "" {
		path = Path + c.Label + "/" + string(op)
	}
	target := (&url.URL{Scheme: "https", Host: base.Host, Path: path}).String()
	if !op.posts() {
		return http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	}
	body := encode(csrDER)
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("the CSR is longer than %d bytes in base64", MaxRequest)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", TypePKCS10)
	req.Header.Set("Content-Transfer-Encoding", "base64")
	return req, c.Credential.authorize(req.Header)
}

// sameOrigin refuses redirects that leave the origin or, as browsers and net/http do, turn a POST into a GET (RFC 7030
// section 3.2.1 wants a person's consent for the former).
func sameOrigin(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		first := via[0]
		switch {
		case req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host:
			return errors.New("refusing a redirect to another origin")
		case req.Method != first.Method:
			return errors.New("refusing a redirect that changes the method")
		case len(via) >= 5:
			return errors.New("refusing more than 5 redirects")
		case next != nil:
			return next(req, via)
		}
		return nil
	}
}
