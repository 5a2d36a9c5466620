package console

import (
	"github.com/holdfast-iot/holdfast/server/console/audit"
	"github.com/holdfast-iot/holdfast/server/console/devices"
	"github.com/holdfast-iot/holdfast/server/console/overview"
	policypages "github.com/holdfast-iot/holdfast/server/console/policy"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/zones"
)

// mounts lists the pages, in the order of the navigation; a new one adds a line.
var mounts = []func(*ui.Mux){
	overview.Mount,
	devices.Mount,
	policypages.Mount,
	zones.Mount,
	audit.Mount,
}
