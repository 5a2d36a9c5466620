package outbound

import (
	"fmt"
	"net/netip"
	"slices"
)

// metadata are the addresses at which clouds hand credentials to the machines
// that they run. A wide prefix in Allow does not open them: each needs a prefix
// of its own full length.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google, DigitalOcean, OpenStack
	netip.MustParseAddr("169.254.169.253"), // AWS, its DNS
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server: a public address
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

// special4 are the IPv4 blocks that are not of the public Internet (the IANA
// IPv4 Special-Purpose Address Registry, RFC 6890), with multicast and class E.
var special4 = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

// special6 are the blocks inside the global unicast space 2000::/3 that are not
// of the public Internet, or that carry an IPv4 address to a relay: Teredo and
// the other protocol assignments, documentation, 6to4. All of IPv6 outside of
// 2000::/3 is refused without a list.
var special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")

var (
	global6 = netip.MustParsePrefix("2000::/3")
	nat64   = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// Judge tells why an address may not be reached, or returns nil. IPv4-mapped
// IPv6 addresses are judged as the IPv4 address that the kernel would connect
// to, and so are NAT64 addresses (RFC 6052), which a translator in the network
// forwards to the IPv4 address inside.
func Judge(addr netip.Addr, allow []netip.Prefix) error {
	if addr.Zone() != "" {
		return fmt.Errorf("%w: %v names a network interface of this machine", ErrRefused, addr)
	}
	addr = addr.Unmap()
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.IsSingleIP() && p.Contains(addr) }) {
		return nil
	}
	plain := addr
	if nat64.Contains(addr) {
		b := addr.As16()
		plain = netip.AddrFrom4([4]byte(b[12:]))
	}
	if slices.Contains(metadata, plain) {
		return fmt.Errorf("%w: %v is where a cloud hands out credentials", ErrRefused, addr)
	}
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) || p.Contains(plain) }) {
		return nil
	}
	if reason := special(plain); reason != "" {
		return fmt.Errorf("%w: %v is %s", ErrRefused, addr, reason)
	}
	return nil
}

// special says in words what is special about an address, or nothing.
func special(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "no address"
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.IsMulticast():
		return "a multicast address"
	case a.IsPrivate():
		return "a private address"
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if a.Is4() && slices.ContainsFunc(special4, in) || a.Is6() && (!global6.Contains(a) || slices.ContainsFunc(special6, in)) {
		return "not an address of the public Internet"
	}
	return ""
}
