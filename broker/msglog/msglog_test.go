package msglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/natsd"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv("MSGLOG_TEST_APPEND"); dir != "" {
		appendForEver(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// openIn opens an embedded log in a folder; the function it returns closes it.
func openIn(t testing.TB, dir string, config Config) (*Log, func()) {
	t.Helper()
	bus, err := natsd.Start(natsd.Config{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	config.Conn, config.OnReconnect = bus.Conn(), bus.OnReconnect
	if config.Node == "" {
		config.Node = "n1"
	}
	l, err := Open(patient(t), config)
	if err != nil {
		t.Fatal(err)
	}
	return l, func() {
		l.Close()
		if err := bus.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func open(t testing.TB) *Log {
	l, end := openIn(t, t.TempDir(), Config{})
	t.Cleanup(end)
	return l
}

func text(topic, payload string) *Message {
	return &Message{Topic: topic, QoS: 1, Time: time.Now().UnixMilli(), Payload: []byte(payload)}
}

// mustAppend stores a message and waits for it.
func mustAppend(t testing.TB, l *Log, m *Message, dedupe string) (uint64, bool) {
	t.Helper()
	type result struct {
		seq uint64
		dup bool
		err error
	}
	c := make(chan result, 1)
	l.Append(m, dedupe, func(seq uint64, dup bool, err error) { c <- result{seq, dup, err} })
	r := <-c
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.seq, r.dup
}

func mustRetain(t testing.TB, l *Log, m *Message) {
	t.Helper()
	c := make(chan error, 1)
	l.SetRetained(m, func(err error) { c <- err })
	if err := <-c; err != nil {
		t.Fatal(err)
	}
}

// rest reads a cursor to the end.
func rest(t testing.TB, c *Cursor) (out []*Message) {
	t.Helper()
	for {
		m, err := c.Next(patient(t))
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 && m.Seq <= out[len(out)-1].Seq {
			t.Fatalf("message %d came after %d", m.Seq, out[len(out)-1].Seq)
		}
		out = append(out, m)
	}
}

func payloads(messages []*Message) (out []string) {
	for _, m := range messages {
		out = append(out, string(m.Payload))
	}
	return out
}

func TestAppendIsInOrderAndLive(t *testing.T) {
	l := open(t)
	const n = 20_000
	var live, done []uint64
	finished := make(chan bool)
	l.Live(func(m *Message) { live = append(live, m.Seq) }, func() { t.Error("missed") })
	for i := range n {
		l.Append(text("a/b", fmt.Sprint(i)), "", func(seq uint64, dup bool, err error) {
			if err != nil || dup {
				t.Errorf("message %d: dup %v, %v", i, dup, err)
			}
			if done = append(done, seq); len(done) == n {
				close(finished)
			}
		})
	}
	<-finished
	for i := range n {
		if live[i] != uint64(i+1) || done[i] != live[i] {
			t.Fatalf("message %d: live %d, done %d", i+1, live[i], done[i])
		}
	}
	if l.Position() != n || !l.Delivered(n) || l.Delivered(n+1) {
		t.Errorf("position %d, delivered %v", l.Position(), l.Delivered(n))
	}
	if last, err := l.Last(patient(t)); err != nil || last != n {
		t.Errorf("last = %d, %v", last, err)
	}
	if got := rest(t, l.Cursor([]From{{"a/+", n - 500}})); len(got) != 500 || string(got[0].Payload) != fmt.Sprint(n-500) {
		t.Errorf("the cursor read %d messages", len(got))
	}
	if err := l.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestDedupe(t *testing.T) {
	l := open(t)
	n := 0
	l.Live(func(*Message) { n++ }, nil)
	first, dup := mustAppend(t, l, text("a", "1"), "id")
	if dup {
		t.Error("the first is a duplicate")
	}
	if again, dup := mustAppend(t, l, text("a", "1"), "id"); !dup || again != first {
		t.Errorf("the second: seq %d, dup %v", again, dup)
	}
	if n != 1 {
		t.Errorf("%d messages were live, want 1", n)
	}
}

func TestCursorMergesFilters(t *testing.T) {
	l := open(t)
	var want []string
	for i := range 1000 {
		topic := []string{"a/1", "a/2", "b", "$SYS/x", "a"}[i%5]
		mustAppendLater(t, l, text(topic, fmt.Sprint(i)))
		if topic != "b" && topic != "$SYS/x" && i >= 100 {
			want = append(want, fmt.Sprint(i))
		}
	}
	mustAppend(t, l, text("other", ""), "")
	c := l.Cursor([]From{{"a/#", 100}, {"+/2", 50}, {"a/1", 100}, {"a/+", 400}})
	var got []string
	for _, m := range rest(t, c) {
		if m.Seq > 100 {
			got = append(got, string(m.Payload))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %d messages, want %d", len(got), len(want))
	}
	mustAppend(t, l, text("a/2", "new"), "")
	if got := payloads(rest(t, c)); fmt.Sprint(got) != "[new]" {
		t.Errorf("after the end = %v", got)
	}
	if got := rest(t, l.Cursor([]From{{"#", 0}})); len(got) != 802 {
		t.Errorf("# read %d messages, want 802", len(got))
	}
	if got := rest(t, l.Cursor([]From{{"#", 0}, {"$SYS/#", 0}})); len(got) != 1002 {
		t.Errorf("# and $SYS/# read %d messages, want 1002", len(got))
	}
	if got := rest(t, l.Cursor(nil)); len(got) != 0 {
		t.Errorf("no filter read %d messages", len(got))
	}
}

func mustAppendLater(t testing.TB, l *Log, m *Message) {
	l.Append(m, "", func(_ uint64, _ bool, err error) {
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRetention(t *testing.T) {
	l, end := openIn(t, t.TempDir(), Config{MaxBytes: 1 << 20})
	defer end()
	for range 3000 {
		mustAppendLater(t, l, &Message{Topic: "a", Payload: make([]byte, 1000)})
	}
	mustAppend(t, l, text("a", "last"), "")
	first, err := l.First(patient(t))
	if err != nil || first < 1500 {
		t.Fatalf("first = %d, %v", first, err)
	}
	c := l.Cursor([]From{{"a", 10}})
	if got := rest(t, c); got[0].Seq != first || string(got[len(got)-1].Payload) != "last" {
		t.Errorf("the cursor began at %d, want %d", got[0].Seq, first)
	}
	if c.Lost() != first-11 {
		t.Errorf("lost = %d, want %d", c.Lost(), first-11)
	}
	if _, err := l.Get(patient(t), 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed message: %v", err)
	}
	if m, err := l.Get(patient(t), 3001); err != nil || string(m.Payload) != "last" || m.Topic != "a" || m.Seq != 3001 {
		t.Errorf("the last message = %+v, %v", m, err)
	}
}

func TestLongTopicsAndLargeMessagesAreRefused(t *testing.T) {
	l := open(t)
	long := make([]byte, MaxSubject+1)
	for i := range long {
		long[i] = 'a'
	}
	c := make(chan error, 1)
	l.Append(text(string(long), ""), "", func(_ uint64, _ bool, err error) { c <- err })
	if err := <-c; !errors.Is(err, ErrTopicTooLong) {
		t.Errorf("a long topic: %v", err)
	}
	l.Append(&Message{Topic: "a", Payload: make([]byte, 9<<20)}, "", func(_ uint64, _ bool, err error) { c <- err })
	if err := <-c; err == nil {
		t.Error("a message of 9 MiB was stored")
	}
	topic := string(long[:MaxSubject])
	seq, _ := mustAppend(t, l, text(topic, "x"), "")
	if got := rest(t, l.Cursor([]From{{topic, seq - 1}})); len(got) != 1 || got[0].Topic != topic {
		t.Errorf("the longest topic was not found: %d messages", len(got))
	}
	mustRetain(t, l, text(topic, "x"))
	n := 0
	if err := l.Retained(patient(t), "#", func(*Message) bool { n++; return true }); err != nil || n != 1 {
		t.Errorf("%d retained, %v", n, err)
	}
}

func TestBackPressure(t *testing.T) {
	l, end := openIn(t, t.TempDir(), Config{MaxPending: 4, MaxPendingBytes: 1000})
	defer end()
	done := 0
	for range 500 {
		mustAppendLater(t, l, &Message{Topic: "a", Payload: make([]byte, 400)})
		if n, bytes := l.appends.pending(); n > 4 || bytes > 2000 {
			t.Fatalf("%d messages and %d bytes are under way", n, bytes)
		}
		done++
	}
	mustAppend(t, l, text("a", ""), "")
}

func TestClosing(t *testing.T) {
	l, end := openIn(t, t.TempDir(), Config{})
	n := 0
	for range 1000 {
		l.Append(text("a", ""), "", func(_ uint64, _ bool, err error) {
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			n++
		})
	}
	l.Close()
	if n != 1000 {
		t.Errorf("done was called %d times, want 1000", n)
	}
	late := make(chan error, 1)
	l.Append(text("a", ""), "", func(_ uint64, _ bool, err error) { late <- err })
	if err := <-late; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := l.Last(patient(t)); !errors.Is(err, ErrClosed) || l.Healthy() == nil {
		t.Errorf("closed: %v", err)
	}
	end()
}

func TestWrongStream(t *testing.T) {
	bus, err := natsd.Start(natsd.Config{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.Background())
	for _, name := range []string{"", "a b", "a.b"} {
		if _, err := Open(patient(t), Config{Conn: bus.Conn(), Node: name}); err == nil {
			t.Errorf("a node may be called %q", name)
		}
	}
	if _, err := bus.Conn().Request("$JS.API.STREAM.CREATE.HF_LOG", []byte(`{"name":"HF_LOG","subjects":["x.>"],"storage":"file","retention":"limits"}`), patience); err != nil {
		t.Fatal(err)
	}
	_, err = Open(patient(t), Config{Conn: bus.Conn(), Node: "n"})
	if err == nil || err.Error() != `opening the message log: creating the stream HF_LOG: it exists and stores ["x.>"], not ["in.>"]: it was not made by this program` {
		t.Errorf("error = %v", err)
	}
}

func TestRetained(t *testing.T) {
	l := open(t)
	for i := range 1000 {
		l.SetRetained(text(fmt.Sprintf("a/%d", i), fmt.Sprint(i)), func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	mustRetain(t, l, text("a/5", ""))
	mustRetain(t, l, text("a/6", "new"))
	mustRetain(t, l, text("a", "parent"))
	mustRetain(t, l, text("$SYS/v", "system"))
	m := text("a/7", "expired")
	m.Expiry, m.HasExpiry, m.Time = 5, true, m.Time-6000
	mustRetain(t, l, m)
	count := func(filter string) (n int) {
		if err := l.Retained(patient(t), filter, func(m *Message) bool {
			if !m.Retained || !mqtt.Match(filter, m.Topic) {
				t.Errorf("%s got %+v", filter, m)
			}
			n++
			return true
		}); err != nil {
			t.Error(err)
		}
		return n
	}
	for filter, want := range map[string]int{"#": 999, "a/#": 999, "a/+": 998, "+/v": 0, "$SYS/#": 1, "a/6": 1, "a/5": 0, "a/7": 0, "b": 0} {
		if n := count(filter); n != want {
			t.Errorf("%s yields %d retained messages, want %d", filter, n, want)
		}
	}
	n := 0
	if err := l.Retained(patient(t), "a/#", func(*Message) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("stopping after 3: %d, %v", n, err)
	}
}

func TestSessions(t *testing.T) {
	l := open(t)
	ctx := patient(t)
	if row, rev, err := l.Session(ctx, "c/1"); row != nil || rev != 0 || err != nil {
		t.Errorf("no session: %q %d %v", row, rev, err)
	}
	rev, err := l.SaveSession(ctx, "c/1", []byte("one"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SaveSession(ctx, "c/1", []byte("two"), 0, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("creating again: %v", err)
	}
	rev2, err := l.SaveSession(ctx, "c/1", []byte("two"), rev, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SaveSession(ctx, "c/1", []byte("three"), rev, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("an old revision: %v", err)
	}
	if err := l.DeleteSession(ctx, "c/1", rev); !errors.Is(err, ErrConflict) {
		t.Errorf("deleting an old revision: %v", err)
	}
	if row, rev, err := l.Session(ctx, "c/1"); string(row) != "two" || rev != rev2 || err != nil {
		t.Errorf("session: %q %d %v", row, rev, err)
	}
	if err := l.DeleteSession(ctx, "c/1", rev2); err != nil {
		t.Error(err)
	}
	if row, rev, err := l.Session(ctx, "c/1"); row != nil || rev != 0 || err != nil {
		t.Errorf("deleted session: %q %d %v", row, rev, err)
	}
	if _, err := l.SaveSession(ctx, "c/1", []byte("again"), 0, 0); err != nil {
		t.Errorf("creating after deleting: %v", err)
	}
	want := map[string]string{"c/1": "again"}
	for _, id := range []string{"a.b", "*", ">", "%", "x y", "ü", "c%2F1"} {
		if _, err := l.SaveSession(ctx, id, []byte(id), 0, 0); err != nil {
			t.Error(err)
		}
		want[id] = id
	}
	got := map[string]string{}
	if err := l.Sessions(ctx, func(id string, row []byte, rev uint64) bool { got[id] = string(row); return true }); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sessions = %v, want %v", got, want)
	}
	if _, err := l.SaveSession(ctx, "", []byte("x"), 0, 0); err == nil {
		t.Error("saved a session without a client id")
	}
}

// TestCursorFindsWhatIsBeingDelivered reads the log from inside receive: a session
// that leaves a live message to its cursor must find it there.
func TestCursorFindsWhatIsBeingDelivered(t *testing.T) {
	l := open(t)
	var got []string
	c := l.Cursor([]From{{"a", 0}})
	rest(t, c)
	l.Live(func(*Message) { got = payloads(rest(t, c)) }, nil)
	for _, payload := range []string{"1", "2"} {
		mustAppend(t, l, text("a", payload), "")
		if fmt.Sprint(got) != "["+payload+"]" {
			t.Errorf("found %v, want %s", got, payload)
		}
	}
}
