package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are what the scripts know beside testscript's own.
//
//	serve NAME [flags]        start `holdfast up` on the folder NAME and wait until it is ready
//	down NAME                 SIGTERM: it must end in 10 s with code 0 and take ready.json away
//	kill9 NAME                kill -9
//	logged NAME WORDS         wait until the server's log has the words
//	json FILE PATH VAR        set VAR to what PATH (a.0.b) leads to; FILE may be stdout
//	key FILE [ALGORITHM]      make a key with openssl: P-256 (default), P-384, Ed25519 or RSA:BITS
//	csr FILE KEY NAME [args]  write a request for NAME with openssl, in base64
//	est CODE PATH CSR OUT …   POST a request to $EST/PATH with curl; the status must be CODE
//	status CODE args…         curl; the status must be CODE, or refused: no TLS. The answer is stdout
//	certs FILE PREFIX         unpack an EST answer into PREFIX.pem and PREFIX-ca.pem; sets PREFIX_SERIAL
//	ocsp WORD CERT ISSUER …   ask with openssl until the answer is WORD
//	until SECONDS cmd args…   run a program until it succeeds
//	short VAR                 make a folder whose path leaves room for a unix socket's name
//	rewrite FILE OUT HOW N    change, remove, repeat or swap line N
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"serve": cmdServe, "down": cmdDown, "kill9": cmdKill, "logged": cmdLogged, "json": cmdJSON, "key": cmdKey, "csr": cmdCSR,
	"est": cmdEST, "status": cmdStatus, "certs": cmdCerts, "ocsp": cmdOCSP, "until": cmdUntil, "rewrite": cmdRewrite, "short": cmdShort,
}

type serversKey struct{}

func servers(ts *testscript.TestScript) map[string]*process {
	return ts.Value(serversKey{}).(map[string]*process)
}

// usage ends the script unless the command was used as it is meant.
func usage(ts *testscript.TestScript, neg, ok bool, how string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", how)
	}
}

// scriptEnv is the environment of the script, for programs started by commands.
func scriptEnv(ts *testscript.TestScript) []string {
	env := []string{"HOME=" + ts.Getenv("WORK"), "PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	for _, name := range []string{"HOLDFAST_DATABASE", "HOLDFAST_KEY", "HOLDFAST_CONFIG"} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 0, "serve NAME [flags]")
	name, all := args[0], servers(ts)
	if old := all[name]; old != nil {
		ts.Fatalf("%s runs already", name)
	}
	p, err := up(ts.MkAbs(name), scriptEnv(ts), args[1:]...)
	ts.Check(err)
	all[name] = p
	ts.Defer(func() {
		if all[name] == p {
			p.kill()
			ts.Logf("[log of %s]\n%s", name, p.log)
		}
	})
	for key, value := range map[string]string{"API": p.API, "EST": p.DeviceAPI + "/.well-known/est", "PKI": p.PKI, "CA": p.CAFile, "METRICS": p.Metrics, "MQTTS": p.MQTTS, "MQTT_PORT": p.MQTTS[strings.LastIndexByte(p.MQTTS, ':')+1:], "WSS": p.WSS} {
		ts.Setenv(key, value)
		ts.Setenv(strings.ToUpper(name)+"_"+key, value)
	}
	ts.Setenv("HOLDFAST_DATA", p.data)
}

// running takes a server out of the list.
func running(ts *testscript.TestScript, name string) *process {
	p := servers(ts)[name]
	if p == nil {
		ts.Fatalf("%s does not run", name)
	}
	delete(servers(ts), name)
	return p
}

func cmdDown(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "down NAME")
	ts.Check(running(ts, args[0]).stop())
}

func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "kill9 NAME")
	running(ts, args[0]).kill()
}

func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2 && servers(ts)[args[0]] != nil, "logged NAME WORDS")
	ts.Check(poll(20*time.Second, func() error {
		if strings.Contains(servers(ts)[args[0]].log.String(), args[1]) {
			return nil
		}
		return fmt.Errorf("the log of %s does not say %q", args[0], args[1])
	}))
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "json FILE PATH VAR")
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &value); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	for step := range strings.SplitSeq(args[1], ".") {
		var ok bool
		switch at := value.(type) {
		case map[string]any:
			value, ok = at[step]
		case []any:
			n, err := strconv.Atoi(step)
			if ok = err == nil && 0 <= n && n < len(at); ok {
				value = at[n]
			}
		}
		if !ok {
			ts.Fatalf("%s has no %q of %q", args[0], step, args[1])
		}
	}
	if s, ok := value.(string); ok {
		ts.Setenv(args[2], s)
		return
	}
	text, err := json.Marshal(value)
	ts.Check(err)
	ts.Setenv(args[2], string(text))
}

// do runs a program in the script's folder and environment.
func do(ts *testscript.TestScript, program string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(program)
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(scriptEnv(ts), "HOLDFAST_DATA="+ts.Getenv("HOLDFAST_DATA"))
	out, err := cmd.CombinedOutput()
	ts.Logf("[%s %s]\n%s", program, strings.Join(args, " "), bytes.ToValidUTF8(out[:min(len(out), 4000)], []byte(".")))
	return out, err
}

func must(ts *testscript.TestScript, program string, args ...string) []byte {
	out, err := do(ts, program, args...)
	if err != nil {
		ts.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func cmdKey(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1 || len(args) == 2, "key FILE [ALGORITHM]")
	gen := []string{"genpkey", "-algorithm"}
	switch algorithm := append(args, "P-256")[1]; {
	case algorithm == "Ed25519":
		gen = append(gen, "ED25519")
	case strings.HasPrefix(algorithm, "RSA:"):
		gen = append(gen, "RSA", "-pkeyopt", "rsa_keygen_bits:"+algorithm[4:])
	default:
		gen = append(gen, "EC", "-pkeyopt", "ec_paramgen_curve:"+algorithm)
	}
	must(ts, "openssl", append(gen, "-out", args[0])...)
}

func cmdCSR(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 3, "csr FILE KEY NAME [openssl arguments]")
	subject := "/CN=" + args[2]
	if args[2] == "" {
		subject = "/"
	}
	must(ts, "openssl", append([]string{"req", "-new", "-key", args[1], "-subj", subject, "-outform", "DER", "-out", args[0] + ".der"}, args[3:]...)...)
	must(ts, "openssl", "base64", "-in", args[0]+".der", "-out", args[0])
}

func cmdEST(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 4, "est CODE PATH CSR OUT [curl arguments]")
	fetch(ts, args[0], args[3], append([]string{"--cacert", ts.Getenv("CA"), "-H", "Content-Type: application/pkcs10",
		"-H", "Content-Transfer-Encoding: base64", "--data-binary", "@" + args[2], ts.Getenv("EST") + "/" + args[1]}, args[4:]...))
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "status CODE curl arguments")
	fetch(ts, args[0], "body.out", args[1:])
}

// fetch runs curl and compares the status. The headers are in headers.out.
func fetch(ts *testscript.TestScript, want, body string, args []string) {
	args = append([]string{"-sS", "--max-time", "60", "-D", "headers.out", "-o", body, "-w", "%{http_code}"}, args...)
	_ = os.Remove(ts.MkAbs(body))
	out, err := do(ts, "curl", args...)
	got, answer := string(out[max(0, len(out)-3):]), []byte(nil)
	if err == nil {
		answer, err = os.ReadFile(ts.MkAbs(body))
		if errors.Is(err, os.ErrNotExist) {
			err = nil // an answer without a body
		}
	}
	_, _ = ts.Stdout().Write(answer)
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case want == "refused":
		// 35: the handshake failed; with TLS 1.3 a client learns it later: 55 writing, 56 reading.
		if !failed || !slices.Contains([]int{35, 55, 56}, exit.ExitCode()) {
			ts.Fatalf("TLS was not refused: %v, status %s\n%s", err, got, answer)
		}
	case err != nil:
		ts.Fatalf("curl: %v\n%s", err, out)
	case got != want:
		ts.Fatalf("status %s, want %s\n%s", got, want, answer)
	}
}

func cmdCerts(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "certs FILE PREFIX")
	must(ts, "openssl", "base64", "-d", "-in", args[0], "-out", args[0]+".p7")
	text := string(must(ts, "openssl", "pkcs7", "-inform", "DER", "-in", args[0]+".p7", "-print_certs"))
	for i, name := range []string{".pem", "-ca.pem"} {
		_, after, found := strings.Cut(text, "-----BEGIN CERTIFICATE-----")
		block, rest, whole := strings.Cut(after, "-----END CERTIFICATE-----")
		if !found || !whole {
			ts.Fatalf("%s has no certificate number %d", args[0], i+1)
		}
		text = rest
		ts.Check(os.WriteFile(ts.MkAbs(args[1]+name), []byte("-----BEGIN CERTIFICATE-----"+block+"-----END CERTIFICATE-----\n"), 0o600))
	}
	serial := string(must(ts, "openssl", "x509", "-in", args[1]+".pem", "-noout", "-serial"))
	_, serial, _ = strings.Cut(strings.TrimSpace(serial), "=")
	ts.Setenv(args[1]+"_SERIAL", strings.ToLower(serial))
}

func cmdOCSP(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 3, "ocsp good|revoked|unknown CERT ISSUER [openssl arguments]")
	ask := append([]string{"ocsp", "-issuer", args[2], "-cert", args[1], "-url", ts.Getenv("PKI") + "/ocsp", "-CAfile", ts.Getenv("CA"), "-VAfile", args[2]}, args[3:]...)
	var out []byte
	err := poll(10*time.Second, func() (err error) {
		if out, err = do(ts, "openssl", ask...); err == nil && !strings.Contains(string(out), args[1]+": "+args[0]) {
			err = errors.New("another status")
		}
		return err
	})
	_, _ = ts.Stdout().Write(out)
	if err != nil {
		ts.Fatalf("OCSP does not say %s: %v\n%s", args[0], err, out)
	}
}

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "until SECONDS program arguments")
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	var out []byte
	err = poll(time.Duration(seconds)*time.Second, func() (err error) {
		out, err = do(ts, args[1], args[2:]...)
		return err
	})
	_, _ = ts.Stdout().Write(out)
	if err != nil {
		ts.Fatalf("%s %s: still %v after %d s\n%s", args[1], strings.Join(args[2:], " "), err, seconds, out)
	}
}

func cmdShort(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "short VAR")
	dir, err := os.MkdirTemp("", "hf")
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	ts.Setenv(args[0], dir)
}

func cmdRewrite(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 4, "rewrite FILE OUT change|remove|repeat|swap LINE")
	lines := strings.SplitAfter(ts.ReadFile(args[0]), "\n")
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	if n < 1 || n+1 >= len(lines) {
		ts.Fatalf("%s has no line %d with one after it", args[0], n)
	}
	before, at, after := lines[:n-1], lines[n-1], lines[n:]
	var middle []string
	switch args[2] {
	case "change":
		changed := strings.Replace(at, `"outcome":"success"`, `"outcome":"failure"`, 1)
		if changed == at {
			ts.Fatalf("line %d has no outcome to change: %s", n, at)
		}
		middle = []string{changed}
	case "repeat":
		middle = []string{at, at}
	case "swap":
		middle, after = []string{after[0], at}, after[1:]
	}
	text := strings.Join(before, "") + strings.Join(middle, "") + strings.Join(after, "")
	ts.Check(os.WriteFile(filepath.Clean(ts.MkAbs(args[1])), []byte(text), 0o600))
}
