package outbound

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// names are the host names of metadata services. They are refused before they
// are looked up, whatever Allow says: a resolver of the cloud may answer with
// an address that this list of ours does not know.
var names = []string{
	"metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.internal", "metadata.internal", "instance-data",
	"instance-data.ec2.internal", "metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com",
}

// badPorts are ports from 1024 up whose protocols could be made to act by the
// lines of an HTTP request (the port blocking list of the Fetch standard).
var badPorts = []uint16{1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211}

// Check tells whether a URL may be asked at all, before any name is looked up:
// scheme, no password in it, a host that is a name or a whole IP address, no
// port of another protocol. It is for the moment when somebody enters the URL;
// each request checks again, and the address is checked when it is connected to.
func (p Policy) Check(u *url.URL) error {
	switch {
	case u == nil:
		return fmt.Errorf("%w: no URL", ErrRefused)
	case u.Scheme != "https" && (u.Scheme != "http" || !p.AllowHTTP):
		return fmt.Errorf("%w: the URL of %q does not start with https://", ErrRefused, u.Host)
	case u.User != nil:
		return fmt.Errorf("%w: the URL of %q holds a user name", ErrRefused, u.Host)
	case u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%w: the URL names no host", ErrRefused)
	}
	if err := p.checkPort(u); err != nil {
		return err
	}
	return p.checkHost(u.Hostname())
}

func (p Policy) checkPort(u *url.URL) error {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return fmt.Errorf("%w: %q has an empty port", ErrRefused, u.Host)
		}
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%w: %q is no port", ErrRefused, text)
	}
	port := uint16(n)
	if port != 80 && port != 443 && !slices.Contains(p.Ports, port) && (port < 1024 || slices.Contains(badPorts, port)) {
		return fmt.Errorf("%w: port %d belongs to another protocol than HTTP", ErrRefused, port)
	}
	return nil
}

// checkHost refuses names of metadata services, and the old ways to write an
// IPv4 address (2130706433, 0x7f.1, 127.1, 0177.0.0.1): some resolvers take
// them for addresses, so no name may end in a number (WHATWG URL, section 3.5).
func (p Policy) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return Judge(addr, p.Allow)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 {
		return fmt.Errorf("%w: no host name", ErrRefused)
	}
	for _, c := range []byte(host) {
		if c >= 0x80 || !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return fmt.Errorf("%w: %q is no host name: write international names in their xn-- form", ErrRefused, host)
		}
	}
	if slices.Contains(names, host) {
		return fmt.Errorf("%w: %q is where a cloud hands out credentials", ErrRefused, host)
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if numeric(last) {
		return fmt.Errorf("%w: %q is neither a name nor a whole IP address", ErrRefused, host)
	}
	return nil
}

// numeric tells whether a label is a number in some notation of inet_aton.
func numeric(label string) bool {
	if strings.HasPrefix(label, "0x") {
		return strings.Trim(label[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
