package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tell is how mosquitto's programs connect as somebody.
func (s *site) tell(who identity, version string) []string {
	host, port, _ := net.SplitHostPort(s.p.MQTTS)
	args := []string{"-h", host, "-p", port, "-V", version, "-i", who.id, "--cafile", filepath.Join(who.dir, "ca.pem")}
	if who.cert != nil {
		args = append(args, "--cert", filepath.Join(who.dir, "cert.pem"), "--key", filepath.Join(who.dir, "key.pem"))
	} else {
		args = append(args, "-u", who.user, "-P", who.password)
	}
	return args
}

// program runs a program with a limit of time and returns what it wrote.
func program(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// listener is a mosquitto_sub that runs.
type listener struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // what it wrote, line by line; closed at its end
	early []string    // messages that came before it had subscribed: of a session that lasts
	stop  context.CancelFunc
}

// listen starts mosquitto_sub and waits until it has subscribed.
func listen(t *testing.T, args ...string) *listener {
	t.Helper()
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	l := &listener{t: t, cmd: exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", "mosquitto_sub", "-d"}, args...)...), lines: make(chan string, 4096), stop: stop}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := l.cmd.StdoutPipe()
	l.cmd.Stderr = l.cmd.Stdout
	if err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(l.end)
	for line := range l.lines {
		if strings.HasPrefix(line, "Subscribed (mid:") {
			return l
		}
		l.early = append(l.early, line)
	}
	t.Fatalf("%s ended before it had subscribed:\n%s", l.cmd, strings.Join(l.early, "\n"))
	return nil
}

// until reads lines to the one that begins with the words, and returns it.
func (l *listener) until(words string) string {
	l.t.Helper()
	var all []string
	for {
		var line string
		var ok bool
		if len(l.early) > 0 {
			line, ok, l.early = l.early[0], true, l.early[1:]
		} else if line, ok = <-l.lines; !ok {
			break
		}
		if strings.HasPrefix(line, words) {
			return line
		}
		all = append(all, line)
	}
	l.t.Fatalf("%s ended before it wrote %q:\n%s", l.cmd, words, strings.Join(all, "\n"))
	return ""
}

// end stops the program.
func (l *listener) end() {
	l.stop()
	for range l.lines {
	}
	_ = l.cmd.Wait() // it was killed
}

// mosquitto runs Debian's programs: both versions, every QoS, every way to show
// who one is.
func mosquitto(t *testing.T, s *site) {
	for _, who := range []identity{s.device("mosq"), s.appCert("mosq-app"), s.appToken("mosq-token")} {
		for _, version := range []string{"mqttv311", "mqttv5"} {
			for qos := range 3 {
				base := fmt.Sprintf("%s/%s/%s/%d", who.own(), who.id, version, qos)
				l := listen(t, append(s.tell(who, version), "-q", fmt.Sprint(qos), "-t", base+"/down/#", "-F", "got %q %r %p")...)
				for n := range copies {
					// the sender's client id is under the device's own
					from := who.as(fmt.Sprintf("%s/%s-%d-%d", who.id, version, qos, n))
					if out, err := program(t, "mosquitto_pub", append(s.tell(from, version), "-q", fmt.Sprint(qos), "-t", fmt.Sprintf("%s/up/%d", base, n), "-m", fmt.Sprint("number ", n))...); err != nil {
						t.Fatalf("mosquitto_pub: %v\n%s", err, out)
					}
				}
				for n := range copies {
					if got, want := l.until("got "), fmt.Sprintf("got %d 0 number %d", qos, n); got != want {
						t.Errorf("%s as %s: %q, want %q", version, who.id, got, want)
					}
				}
				l.end()
			}
		}
	}
	mosquittoFeatures(t, s, s.device("mosq-2"))
}

func mosquittoFeatures(t *testing.T, s *site, who identity) {
	base := who.own()
	for _, version := range []string{"mqttv311", "mqttv5"} {
		pub := func(args ...string) {
			t.Helper()
			if out, err := program(t, "mosquitto_pub", append(s.tell(who.as(who.id+"/pub"), version), args...)...); err != nil {
				t.Fatalf("mosquitto_pub %v: %v\n%s", args, err, out)
			}
		}
		pub("-q", "1", "-r", "-t", base+"/kept", "-m", "retained "+version)
		sub := append(s.tell(who.as(who.id+"/lasting-"+version), version), "-q", "1", "-t", base+"/+", "-c", "-F", "got %r %t %p")
		if version == "mqttv5" {
			sub = append(sub, "-x", "300")
		}
		l := listen(t, sub...)
		if got := l.until("got "); got != "got 1 "+base+"/kept retained "+version {
			t.Errorf("%s: retained: %q", version, got)
		}
		// A will, of a client that is killed.
		mortal := listen(t, append(s.tell(who.as(who.id+"/mortal"), version), "-t", base+"/x/y", "--will-topic", base+"/will", "--will-payload", "gone", "--will-qos", "1")...)
		mortal.end()
		if got := l.until("got "); got != "got 0 "+base+"/will gone" {
			t.Errorf("%s: will: %q", version, got)
		}
		l.end()
		pub("-q", "2", "-t", base+"/missed", "-m", "while away")
		l = listen(t, sub...)
		if got := l.until("got 0 " + base + "/missed"); !strings.HasSuffix(got, "while away") {
			t.Errorf("%s: missed: %q", version, got)
		}
		l.end()
		pub("-q", "1", "-r", "-n", "-t", base+"/kept")
	}
	// Requests and answers, and user properties (MQTT 5).
	out, err := program(t, "mosquitto_rr", append(s.tell(s.appToken("mosq-rr"), "mqttv5"), "-q", "1", "-t", "plant/rpc/up", "-e", "plant/rpc/answer", "-m", "what time is it", "-W", "15")...)
	if err != nil || strings.TrimSpace(out) != "what time is it" {
		t.Errorf("mosquitto_rr: %v\n%s", err, out)
	}
	l := listen(t, append(s.tell(who, "mqttv5"), "-t", base+"/user", "-F", "got %P %C %p")...)
	if out, err := program(t, "mosquitto_pub", append(s.tell(who.as(who.id+"/pub"), "mqttv5"), "-q", "1", "-t", base+"/user", "-m", "x",
		"-D", "publish", "user-property", "colour", "blue", "-D", "publish", "content-type", "text/plain")...); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	if got := l.until("got "); got != "got colour:blue text/plain x" {
		t.Errorf("user properties: %q", got)
	}
	// What is refused is told.
	out, err = program(t, "mosquitto_pub", append(s.tell(who.as(who.id+"/pub"), "mqttv5"), "-d", "-q", "1", "-t", "plant/plant/another/up", "-m", "x")...)
	if !strings.Contains(out, "RC:135") {
		t.Errorf("a message on another's topic: %v\n%s", err, out)
	}
}

// jsPlan is what the script js/client.js does for one identity.
type jsPlan struct {
	ID       string `json:"id"`
	Server   string `json:"server"`
	Version  int    `json:"version"`
	Base     string `json:"base"`
	Dir      string `json:"dir"` // ca.pem, and perhaps cert.pem and key.pem
	Cert     bool   `json:"cert"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Copies   int    `json:"copies"`
}

// javaScript runs mqtt.js: both versions and transports, every QoS, every way to
// show who one is, and what it has beside.
func javaScript(t *testing.T, s *site) {
	var plans []jsPlan
	for _, who := range []identity{s.device("js"), s.appCert("js-app"), s.appToken("js-token")} {
		for name, server := range map[string]string{"mqtts": "mqtts://" + s.p.MQTTS, "wss": s.p.WSS} {
			for _, version := range []int{4, 5} {
				id := fmt.Sprintf("%s/%s-%d", who.id, name, version)
				plans = append(plans, jsPlan{ID: id, Server: server, Version: version, Base: fmt.Sprintf("%s/%s/%s-%d", who.own(), who.id, name, version),
					Dir: who.dir, Cert: who.cert != nil, User: who.user, Password: who.password, Copies: copies})
			}
		}
	}
	text, err := json.Marshal(plans)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "js/client.js")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("js/client.js: %v\n%s", err, out)
	}
	for _, p := range plans {
		if !strings.Contains(string(out), "done "+p.ID+"\n") {
			t.Errorf("%s was not done:\n%s", p.ID, out)
		}
	}
}
