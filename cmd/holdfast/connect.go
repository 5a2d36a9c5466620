package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// readyFile is what a running server writes to DATA/run/ready.json.
type readyFile struct {
	Console        string `json:"console"`
	API            string `json:"api"`
	DeviceAPI      string `json:"device_api"`
	PKI            string `json:"pki"`
	Metrics        string `json:"metrics"`
	CAFile         string `json:"ca_file"`
	AdminTokenFile string `json:"admin_token_file"`
	PID            int    `json:"pid"`
}

// connection is a client with what is known of the server.
type connection struct {
	*adminapi.Client
	deviceAPI string // base URL of EST, "" when not known
	caFile    string // "" for the system's authorities
}

// connect makes a client from the global flags; it sends nothing yet.
func (a *app) connect() (*connection, error) {
	c := &connection{caFile: a.caFile}
	target, tokenFile := a.server, a.tokenFile
	if target == "" {
		ready, err := a.ready()
		if err != nil {
			return nil, err
		}
		target, c.deviceAPI = ready.API, ready.DeviceAPI
		if tokenFile == "" {
			tokenFile = ready.AdminTokenFile
		}
		if c.caFile == "" {
			c.caFile = ready.CAFile
		}
	}
	if u, err := url.Parse(target); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, &usageError{fmt.Sprintf("the server's address %q is not an https URL", target), "use --server https://HOST:PORT"}
	}
	if tokenFile == "" {
		return nil, &usageError{"the API token is missing", "give the file that holds it with --token-file"}
	}
	token, err := readSmall(tokenFile, 4096)
	if err != nil {
		return nil, fixing("give the file that holds the API token with --token-file, as a user who may read it", fmt.Errorf("reading the API token: %w", err))
	}
	client, err := httpsClient(c.caFile)
	if err != nil {
		return nil, err
	}
	c.Client = &adminapi.Client{BaseURL: target, Token: adminapi.NewBearer(string(bytes.TrimSpace(token))), HTTP: client}
	return c, nil
}

// ready reads what the server on this machine wrote when it was ready.
func (a *app) ready() (readyFile, error) {
	var r readyFile
	text, err := readSmall(filepath.Join(a.data, "run", "ready.json"), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fixing("start one with `holdfast up --data "+a.data+"`, or name one with --data, or with --server, --token-file and --ca",
			fmt.Errorf("no server is running on the data folder %s", a.data))
	}
	if err != nil {
		return r, fixing("run this as the user that runs the server", fmt.Errorf("finding the server: %w", err))
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("finding the server: reading ready.json: %w", err)
	}
	return r, nil
}

// httpsClient trusts the authorities in caFile, or the system's. It has no
// timeout for a whole call, because imports and exports take their time.
func httpsClient(caFile string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := readPool(caFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:     config,
			ForceAttemptHTTP2:   true,
		},
		// A redirect would carry the token to a place that nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func readPool(caFile string) (*x509.CertPool, error) {
	text, err := readSmall(caFile, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fixing("give a PEM file, such as `holdfast ca bundle` writes", fmt.Errorf("reading the authorities: %s holds no certificate", caFile))
	}
	return pool, nil
}

// readSmall reads a file of at most limit bytes; "-" is not special.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, path, limit)
}

func readBounded(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, nil
}

// input reads the file of a command's argument; "-" is standard input.
func (a *app) input(path string, limit int64) ([]byte, error) {
	if path == "-" {
		return readBounded(a.in, "standard input", limit)
	}
	return readSmall(path, limit)
}
