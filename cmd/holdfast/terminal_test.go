package main

import (
	"bytes"
	"fmt"
	"image"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/boombuler/barcode/qr"
)

// terminal is a pseudo-terminal of 100 columns: what the program has open, and
// what a person sees and types.
type terminal struct {
	program, person *os.File
	mu              sync.Mutex
	more            *sync.Cond // there is more on the screen, or no time left
	screen          bytes.Buffer
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	control := func(request uintptr, arg unsafe.Pointer) {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(arg)); e != 0 {
			t.Fatal(e)
		}
	}
	var unlock, number int32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	size := [4]uint16{50, 100}
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	c := &terminal{program: program, person: person}
	c.more = sync.NewCond(&c.mu)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(c, person)
	}()
	t.Cleanup(func() {
		program.Close()
		<-read
		person.Close()
	})
	return c
}

func (c *terminal) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more.Broadcast()
	return c.screen.Write(b)
}

func (c *terminal) seen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.screen.String(), "\r\n", "\n")
}

// shows waits until the screen has the words.
func (c *terminal) shows(t *testing.T, words string) {
	t.Helper()
	late := false
	timer := time.AfterFunc(20*time.Second, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.more.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !strings.Contains(c.screen.String(), words) {
		if late {
			t.Fatalf("the screen does not show %q:\n%s", words, c.screen.String())
		}
		c.more.Wait()
	}
}

func TestFirstContactOnATerminal(t *testing.T) {
	for answer, code := range map[string]int{"yes": 0, "y": 1} {
		w := newWorld(t)
		c := openTerminal(t)
		done := make(chan int, 1)
		a := newApp(c.program, c.program, c.program, append(w.env(), "TERM=xterm"))
		a.now = w.now
		approved := false
		a.sleep = w.approveOn(c, &approved)
		go func() { done <- a.execute(root(a), []string{"login", "--server", w.srv.URL, "--yes"}) }()
		c.shows(t, "Type yes to go on: ")
		for _, words := range []string{w.fingerprint(), "Compare the fingerprint"} {
			c.shows(t, words)
		}
		if _, err := c.person.WriteString(answer + "\n"); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got != code {
			t.Errorf("after %q: %d\n%s", answer, got, c.seen())
		}
		if code == 0 {
			c.shows(t, "Or scan this:")
			c.shows(t, "▀")
			if p := w.only(); !strings.Contains(p.CA, "BEGIN CERTIFICATE") {
				t.Errorf("the profile is %+v", p)
			}
		} else if _, err := os.Stat(w.profilesFile()); !os.IsNotExist(err) {
			t.Error("a profile was written")
		}
	}
}

func TestColoursAndWidths(t *testing.T) {
	env, _ := recorded(t, map[string]string{"GET /roles": `{"items":[{"name":"a","description":"` + strings.Repeat("long words ", 40) + `"}]}`})
	for set, colours := range map[string]bool{"TERM=xterm": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		c := openTerminal(t)
		a := newApp(c.program, c.program, c.program, append(env, set))
		if code := a.execute(root(a), []string{"role", "list"}); code != 0 {
			t.Errorf("%d\n%s", code, c.seen())
		}
		c.shows(t, "long words")
		if strings.Contains(c.seen(), "\x1b[") != colours {
			t.Errorf("%s: %q", set, c.seen())
		}
		if !colours && !fits(c.seen(), 100) {
			t.Errorf("wider than the terminal:\n%s", c.seen())
		}
	}
}

// TestQRIsWhatItSays reads the drawing back, module by module.
func TestQRIsWhatItSays(t *testing.T) {
	text := "https://holdfast.example.com/device?code=BCDF-GHJK"
	art, width := qrArt(text)
	code, err := qr.Encode(text, qr.L, qr.Auto)
	if err != nil {
		t.Fatal(err)
	}
	n := code.Bounds().Dx()
	if width != n+8 {
		t.Fatalf("%d cells for %d modules", width, n)
	}
	lines := strings.Split(strings.TrimSuffix(art, "\n"), "\n")
	if len(lines) != (width+1)/2 {
		t.Errorf("%d lines", len(lines))
	}
	for y, line := range lines {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[38;5;16;48;5;231m"), reset)
		cells := []rune(line)
		if len(cells) != width {
			t.Fatalf("line %d has %d cells", y, len(cells))
		}
		for x, cell := range cells {
			for half := range 2 {
				got := cell == '█' || cell == []rune("▀▄")[half]
				at := image.Pt(x-4, 2*y+half-4)
				want := false
				if at.In(code.Bounds()) {
					grey, _, _, _ := code.At(at.X, at.Y).RGBA()
					want = grey < 0x8000
				}
				if got != want {
					t.Fatalf("the module %v is %v", at, got)
				}
			}
		}
	}
	if art, width := qrArt(strings.Repeat("x", 5000)); art != "" || width != 0 {
		t.Error("too long a text was drawn")
	}
}
