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
	// Effect is what a lesser value does.
	Effect string

	rule rule
}

// rule is what makes a value that was found as good as the wanted one.
type rule uint8

const (
	exactly rule = iota
	atLeast
	// spans: a range of as many numbers; lists: a list with the number in it.
	spans
	lists
)

// Settings are the kernel settings, in the order of the file.
func Settings() []Setting {
	return []Setting{
		{Name: "net.ipv4.ip_local_port_range", Value: "16384 65535", rule: spans,
			Effect: "connections to one address at one port (a CDN, a proxy, a relay) wait for a free local port sooner"},
		{Name: brokerPort, Value: "25672", rule: lists,
			Effect: "an outgoing connection may sit on the port that a RabbitMQ on this machine wants for its cluster, which then doesn't start"},
		{Name: "net.ipv4.tcp_tw_reuse", Value: "1",
			Effect: "after a fan-out its ports stay taken for a minute, and a second one to the same addresses may find none"},
		{Name: "net.ipv4.tcp_max_tw_buckets", Value: "262144", rule: atLeast,
			Effect: "connections that end while so many wait out their minute are forgotten early; late packets may then disturb new ones"},
		{Name: "net.core.somaxconn", Value: "4096", rule: atLeast,
			Effect: "when an incident sends everybody to the feeds at once, connections beyond that are dropped and come a second late"},
		{Name: "net.ipv4.tcp_max_syn_backlog", Value: "4096", rule: atLeast,
			Effect: "when an incident sends everybody to the feeds at once, connections that are just beginning are dropped and come a second late"},
		{Name: "net.netfilter.nf_conntrack_max", Value: "262144", Optional: true, rule: atLeast,
			Effect: "a full table of the firewall drops packets, which looks like receivers that time out"},
	}
}

// brokerPort is for a machine that has the broker too.
const brokerPort = "net.ipv4.ip_local_reserved_ports"

// wanted says in words what will do.
func (s Setting) wanted() string {
	switch s.rule {
	case atLeast:
		return s.Value + " or more"
	case spans:
		return s.Value + ", or as many"
	case lists:
		return s.Value + " in it"
	}
	return s.Value
}

// enough says whether a value that was found will do.
func (s Setting) enough(found string) bool {
	if s.rule == exactly {
		return found == s.Value
	}
	wanted, err := parseNumbers(s.Value)
	if err != nil {
		return false
	}
	if s.rule == lists {
		return portListed(found, int(wanted[0]))
	}
	n, err := parseNumbers(found)
	switch {
	case err != nil || len(n) != len(wanted):
		return false
	case s.rule == spans:
		return n[1]-n[0] >= wanted[1]-wanted[0]
	}
	return n[0] >= wanted[0]
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
