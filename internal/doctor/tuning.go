package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// OpenFiles is the hard limit of open files that deploy/limits.d and the systemd
// unit set.
const OpenFiles = 65536

// Setting is a kernel setting of deploy/sysctl.d.
type Setting struct {
	// Name and Value are as sysctl has them.
	Name, Value string
	// Optional says that not every kernel has it.
	Optional bool
	// Effect is what a lesser value does, in words that follow "otherwise".
	Effect string
	// enough says whether a value that was found will do.
	enough func(found string) bool
	// wanted is Value in words.
	wanted string
}

// Settings are the kernel settings, in the order of the file.
func Settings() []Setting {
	return []Setting{
		{Name: "net.ipv4.ip_local_port_range", Value: "16384 65535", wanted: "16384 65535 (49,152 ports)",
			Effect: "connections to one address at one port (a CDN, a proxy, a relay) fail with \"no free local port\" sooner",
			enough: func(found string) bool {
				n, err := parseNumbers(found)
				return err == nil && len(n) == 2 && n[1]-n[0] >= 65535-16384
			}},
		{Name: brokerPort, Value: "25672", wanted: "25672 in it",
			Effect: "an outgoing connection may sit on the port that a RabbitMQ on this machine wants for its cluster, which then doesn't start",
			enough: func(found string) bool { return portListed(found, 25672) }},
		{Name: "net.ipv4.tcp_tw_reuse", Value: "1", wanted: "1",
			Effect: "after a fan-out its ports stay taken for a minute, and a second one to the same addresses may find none",
			enough: func(found string) bool { return found == "1" }},
		{Name: "net.ipv4.tcp_max_tw_buckets", Value: "65536", wanted: "65536 or more",
			Effect: "a fan-out with more closed connections than that drops their memory early, and late packets of old connections may end new ones",
			enough: atLeast(65536)},
		{Name: "net.core.somaxconn", Value: "4096", wanted: "4096 or more",
			Effect: "when an incident sends everybody to the feeds at once, connections beyond that are dropped and come a second late",
			enough: atLeast(4096)},
		{Name: "net.ipv4.tcp_max_syn_backlog", Value: "4096", wanted: "4096 or more",
			Effect: "as with somaxconn, for connections that are just beginning",
			enough: atLeast(4096)},
		{Name: "net.netfilter.nf_conntrack_max", Value: "262144", Optional: true, wanted: "262144 or more",
			Effect: "a full table of the firewall drops packets, which looks like receivers that time out",
			enough: atLeast(262144)},
	}
}

const brokerPort = "net.ipv4.ip_local_reserved_ports"

func atLeast(least int64) func(string) bool {
	return func(found string) bool {
		n, err := parseNumbers(found)
		return err == nil && n[0] >= least
	}
}

// portListed reads a list such as "25672,30000-30010".
func portListed(list string, port int) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(entry string) bool {
		first, last, isRange := strings.Cut(strings.TrimSpace(entry), "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			return false
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				return false
			}
		}
		return from <= port && port <= to
	})
}
