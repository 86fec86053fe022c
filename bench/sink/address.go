package sink

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/tocsin/tocsin/internal/peer"
)

// Addresses says who lives where in 127/8.
type Addresses struct {
	// Hosts is how many addresses there are: target n lives at host
	// 1 + (n-1) mod Hosts.
	Hosts int
	// Hot is how many targets, from the first on, all live at host 1; those after
	// them share the hosts from the second on.
	Hot int
	// Shared takes the addresses for hosts of many targets, 127.0.1.1 and up,
	// instead of those for hosts of one, 127.1.0.1 and up.
	Shared bool
}

func (a Addresses) valid() bool {
	return a.Hosts >= 1 && (a.Hot == 0 || a.Hosts >= 2) && a.Hosts <= peer.MaxTargets && (!a.Shared || a.Hosts <= peer.MaxShared)
}

// host returns the number of a target's host.
func (a Addresses) host(target int) int {
	switch {
	case a.Hot == 0:
		return (target-1)%a.Hosts + 1
	case target <= a.Hot:
		return 1
	}
	return (target-a.Hot-1)%(a.Hosts-1) + 2
}

// address returns that of a host.
func (a Addresses) address(host int) netip.Addr {
	if !a.Shared {
		return peer.Host(host)
	}
	return peer.SharedHost(host)
}

// URL returns the webhook of a target; scheme is http or https.
func (a Addresses) URL(scheme string, target, port int) string {
	return fmt.Sprintf("%s://%s:%d/t/%d", scheme, a.address(a.host(target)), port, target)
}

// local returns the number of the host that a connection came in for, 0 for none.
func (a Addresses) local(c net.Conn) int {
	to, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	n := int(number4(to.AddrPort().Addr().Unmap())) - int(number4(a.address(1))) + 1
	if n < 1 || n > a.Hosts {
		return 0
	}
	return n
}

// number4 is 0 for what is no IPv4 address.
func number4(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
