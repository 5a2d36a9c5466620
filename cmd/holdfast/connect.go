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
	"os"
	"path/filepath"
	"strings"
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
	caFile    string // "" for a profile's authorities, or the system's
}

// connect makes a client for the server that the command is for; it sends nothing
// yet. What is typed wins over the environment, and both over what is remembered:
//
//  1. --server, --profile or --data on the command line
//  2. HOLDFAST_SERVER, else HOLDFAST_PROFILE, else HOLDFAST_DATA
//  3. the current profile
//  4. the server on this machine, in the default data folder
func (a *app) connect() (*connection, error) {
	c, err := a.reach()
	a.connected = c
	return c, err
}

func (a *app) reach() (*connection, error) {
	if err := a.onePlace(); err != nil {
		return nil, err
	}
	switch {
	case a.typed("server"):
		return a.toServer()
	case a.typed("profile"):
		return a.toProfile(a.profile)
	case a.typed("data"):
		return a.toData()
	case a.server != "":
		return a.toServer()
	case a.profile != "":
		return a.toProfile(a.profile)
	case a.env["HOLDFAST_DATA"] != "":
		return a.toData()
	}
	all, err := a.readProfiles()
	if err != nil {
		return nil, err
	}
	if all.Current != "" {
		return a.toProfile(all.Current)
	}
	c, err := a.toData()
	if errors.Is(err, errNoServer) {
		looked := "no profile is current (" + a.profilesPath() + ")"
		if a.profilesPath() == "" {
			looked = "there is no home folder for profiles"
		}
		return nil, fixing("log in with `holdfast login --server URL`, or name a server with --server, --profile or --data",
			fmt.Errorf("it is not known which server is meant: neither --server, --profile, --data nor HOLDFAST_SERVER, HOLDFAST_PROFILE, HOLDFAST_DATA is given, %s, and %w", looked, err))
	}
	return c, err
}

func (a *app) onePlace() error {
	var given []string
	for _, name := range []string{"server", "profile", "data"} {
		if a.typed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return &usageError{strings.Join(given, " and ") + " each name a server", "give one of them"}
	}
	return nil
}

// toServer is for a server given by its address: with a given token, or with the
// sign-in of a profile of the same server.
func (a *app) toServer() (*connection, error) {
	server, err := serverURL(a.server)
	if err != nil {
		return nil, err
	}
	token, given, err := a.givenToken(true)
	if err != nil {
		return nil, err
	}
	if given && a.caFile != "" {
		return a.withToken(server, token, "", a.caFile)
	}
	all, err := a.readProfiles()
	if err != nil {
		return nil, err
	}
	name, known := all.forServer(server)
	switch {
	case given:
		return a.withToken(server, token, all.ByName[name].CA, "")
	case known:
		return a.withProfile(name, all.ByName[name])
	}
	return nil, &usageError{"the API token is missing", "log in with `holdfast login --server " + server + "`, or give the file that holds a token with --token-file"}
}

// toProfile is for a server that somebody logged in to.
func (a *app) toProfile(name string) (*connection, error) {
	all, err := a.readProfiles()
	if err != nil {
		return nil, err
	}
	p, ok := all.ByName[name]
	if !ok {
		return nil, noProfile(name, all)
	}
	token, given, err := a.givenToken(!a.typed("profile"))
	if err != nil {
		return nil, err
	}
	if given {
		return a.withToken(p.Server, token, p.CA, "")
	}
	return a.withProfile(name, p)
}

// toData is for a server on this machine.
func (a *app) toData() (*connection, error) {
	ready, err := a.ready()
	if err != nil {
		return nil, err
	}
	token, given, err := a.givenToken(!a.typed("data"))
	if err == nil && !given {
		if ready.AdminTokenFile == "" {
			return nil, fixing("log in with `holdfast login --data "+quote(a.data)+"`", fmt.Errorf("the server on the data folder %s has no admin token", a.data))
		}
		token, err = readToken(ready.AdminTokenFile)
	}
	if err != nil {
		return nil, err
	}
	caFile := a.caFile
	if caFile == "" {
		caFile = ready.CAFile
	}
	c, err := a.withToken(ready.API, token, "", caFile)
	if err == nil {
		c.deviceAPI = ready.DeviceAPI
	}
	return c, err
}

// givenToken is the token of --token-file, or of the environment if that counts.
func (a *app) givenToken(environment bool) (token adminapi.Bearer, given bool, err error) {
	switch {
	case a.typed("token-file"):
		token, err = readToken(a.tokenFile)
	case environment && a.env["HOLDFAST_TOKEN"] != "":
		text := strings.TrimSpace(a.env["HOLDFAST_TOKEN"])
		if text == "" || !tokenText(text) {
			return token, false, &usageError{"HOLDFAST_TOKEN does not hold a token", "set it to the API token alone"}
		}
		token = adminapi.NewBearer(text)
	case environment && a.tokenFile != "":
		token, err = readToken(a.tokenFile)
	default:
		return token, false, nil
	}
	return token, true, err
}

func readToken(file string) (adminapi.Bearer, error) {
	token, err := readSmall(file, maxTokenText)
	if err != nil {
		return adminapi.Bearer{}, fixing("give the file that holds the API token with --token-file, as a user who may read it, or log in with `holdfast login`", fmt.Errorf("reading the API token: %w", err))
	}
	text := string(bytes.TrimSpace(token))
	if text == "" || !tokenText(text) {
		return adminapi.Bearer{}, fixing("give the file that holds the API token, and nothing else, with --token-file", fmt.Errorf("reading the API token: %s holds none", file))
	}
	return adminapi.NewBearer(text), nil
}

func (a *app) withToken(server string, token adminapi.Bearer, ca, caFile string) (*connection, error) {
	client, err := httpsClient(caFile)
	if ca != "" {
		client, err = pinnedClient([]byte(ca))
	}
	if err != nil {
		return nil, err
	}
	return &connection{Client: &adminapi.Client{BaseURL: server, Token: token, HTTP: client}, caFile: caFile}, nil
}

func (a *app) withProfile(name string, p profile) (*connection, error) {
	if p.Tokens.empty() {
		return nil, mustLogIn(name, "profile "+name+" has no sign-in")
	}
	client, err := pinnedClient([]byte(p.CA))
	if a.typed("ca") {
		client, err = httpsClient(a.caFile)
	}
	if err != nil {
		return nil, err
	}
	client.Transport = &bearer{a: a, name: name, inner: client.Transport, renews: !a.hurried, have: p.Tokens}
	a.loggedIn = name
	return &connection{Client: &adminapi.Client{BaseURL: p.Server, HTTP: client}}, nil
}

// errNoServer is inside the error for a data folder without a running server.
var errNoServer = errors.New("no server is running on the data folder")

// ready reads what the server on this machine wrote when it was ready.
func (a *app) ready() (readyFile, error) {
	var r readyFile
	text, err := readSmall(filepath.Join(a.data, "run", "ready.json"), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fixing("start one with `holdfast up --data "+a.data+"`, or name one with --data, --profile or --server",
			fmt.Errorf("%w %s", errNoServer, a.data))
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
	if caFile == "" {
		return clientFor(nil), nil
	}
	pool, err := readPool(caFile)
	if err != nil {
		return nil, err
	}
	return clientFor(pool), nil
}

// pinnedClient trusts the authorities in PEM, or the system's if there are none.
func pinnedClient(ca []byte) (*http.Client, error) {
	if len(ca) == 0 {
		return clientFor(nil), nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("reading the authorities: the profile holds no certificate")
	}
	return clientFor(pool), nil
}

func clientFor(roots *x509.CertPool) *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
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
	}
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
