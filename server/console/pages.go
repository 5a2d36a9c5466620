package console

import (
	accesspages "github.com/holdfast-iot/holdfast/server/console/access"
	"github.com/holdfast-iot/holdfast/server/console/audit"
	"github.com/holdfast-iot/holdfast/server/console/devices"
	"github.com/holdfast-iot/holdfast/server/console/messages"
	"github.com/holdfast-iot/holdfast/server/console/overview"
	policypages "github.com/holdfast-iot/holdfast/server/console/policy"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/zones"
)

// mounts lists the pages, in the order of the navigation; a new one adds a line.
var mounts = []func(*ui.Mux){
	overview.Mount,
	devices.Mount,
	messages.Mount,
	policypages.Mount,
	zones.Mount,
	audit.Mount,
	accesspages.Mount,
}
