package people

import (
	"net/netip"
	"strings"
)

// network is where a source is, roughly: an IPv4 /24 or an IPv6 /48.
func network(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	n, _ := a.Prefix(bits) // in range
	return n.String()
}

// place is a network with a family of browsers on a family of systems: what
// changes when somebody else signs in, and seldom otherwise.
func place(at Where) string {
	browser, system := families(at.Agent)
	return network(at.Source) + "|" + browser + "|" + system
}

// The marks of browsers and systems in a User-Agent, the ones that others also
// carry last. What programs claim here proves nothing.
var (
	browsers = [][2]string{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"}, {"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"holdfast", "holdfast"}, {"curl/", "curl"}}
	systems = [][2]string{{"Windows", "Windows"}, {"iPhone", "iOS"}, {"iPad", "iOS"}, {"Android", "Android"}, {"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"darwin", "macOS"},
		{"Linux", "Linux"}, {"linux", "Linux"}, {"windows", "Windows"}}
)

// families name the browser and the system of a User-Agent: "Firefox", "Windows".
func families(agent string) (browser, system string) {
	if len(agent) > 512 {
		agent = agent[:512]
	}
	find := func(marks [][2]string) string {
		for _, m := range marks {
			if strings.Contains(agent, m[0]) {
				return m[1]
			}
		}
		return "other"
	}
	return find(browsers), find(systems)
}

// Device is how a User-Agent is shown to people: "Firefox on Windows".
func Device(agent string) string {
	browser, system := families(agent)
	switch {
	case browser == "other" && system == "other":
		return "an unknown browser"
	case browser == "other":
		return "an unknown browser on " + system
	case system == "other":
		return browser
	}
	return browser + " on " + system
}
