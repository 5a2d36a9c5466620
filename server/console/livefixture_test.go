package console

import (
	"context"
	"io"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/server/console/ui"
)

type live struct{ args ui.Args }

// Render shows the fragment as a page does.
func (l live) Render(ctx context.Context, w io.Writer) error {
	return ui.Live("test/tick", l.args).Render(templ.WithChildren(ctx, ui.Text("first")), w)
}
