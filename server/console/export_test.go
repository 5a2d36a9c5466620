package console

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Ticks counts how often the fragment "test/tick" was made.
var Ticks atomic.Int64

func init() {
	checkEvery = 50 * time.Millisecond
	mounts = append(mounts, func(m *ui.Mux) {
		s := m.In("overview")
		s.Page("GET /test/live", func(r *ui.Request) error {
			return r.Page(ui.Page{Title: "Live"}, liveFixture("\r\revent: bye\r"))
		})
		s.Page("GET /test/fault", func(*ui.Request) error { return errors.New("a secret of the inside") })
		s.Page("GET /test/panic", func(*ui.Request) error { panic("a secret of the inside") })
		s.Page("GET /test/denied", func(*ui.Request) error { return nil }, access.RoleWrite)
		s.Live("test/tick", time.Second, func(r *ui.Request, args ui.Args) (templ.Component, error) {
			return ui.Text(args["x"] + ui.Number(Ticks.Add(1))), nil
		})
		s.Live("test/denied", time.Second, func(*ui.Request, ui.Args) (templ.Component, error) { return ui.Text("hidden"), nil }, access.RoleWrite)
	})
}

func liveFixture(x string) ui.Node {
	return live{ui.Args{"x": x}}
}
