package console

import (
	"github.com/holdfast-iot/holdfast/server/console/audit"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// mounts lists the pages, in the order of the navigation; a new one adds a line.
var mounts = []func(*ui.Mux){
	audit.Mount,
}
