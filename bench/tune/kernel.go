package tune

// Settings of the kernel that are swept.
const (
	localPorts = "net.ipv4.ip_local_port_range"
	twReuse    = "net.ipv4.tcp_tw_reuse"
	twBuckets  = "net.ipv4.tcp_max_tw_buckets"
	somaxconn  = "net.core.somaxconn"
)

// The defaults of Linux.
const (
	linuxPorts = "32768 60999"
	onLoopback = "2" // tcp_tw_reuse
)

// loopbackNote is what every sweep of the kernel says.
const loopbackNote = "in a network namespace of its own, over loopback"

func portRange() Sweep {
	return Sweep{ID: "ip_local_port_range", Title: "local ports, 3,000 requests to one address held open for 1 s (w4)", Unit: localPorts, Default: linuxPorts,
		Trial: crowd(3_000), Seconds: 11, Observe: failures, Values: settings(localPorts, "32768 33791", "32768 36863", linuxPorts, "16384 65535"), Notes: []string{loopbackNote}}
}

func sourcePorts() Sweep {
	t := crowd(1_500)
	t.Kernel = []Setting{{localPorts, "32768 33791"}}
	return Sweep{ID: "source_ports", Title: "local addresses with 1,024 ports each, 1,500 requests to one address held open for 1 s (w4)", Unit: "addresses (egress.source)",
		Trial: t, Seconds: 6, Observe: failures, Values: addresses(1, 2, 4), Notes: []string{loopbackNote}}
}

// reuse starts an engine where one has just ended that had a connection for nearly every
// port.
func reuse() Sweep {
	t := crowd(3_000)
	t.Again = true
	t.Kernel = []Setting{{localPorts, "32768 36863"}}
	return Sweep{ID: "tcp_tw_reuse", Title: "ports that wait out their minute after a restart, 3,000 requests to one address from 4,096 ports (w4)", Unit: twReuse, Default: onLoopback,
		Trial: t, Seconds: 22, Observe: failures, Values: settings(twReuse, "0", "1", onLoopback),
		Notes: []string{loopbackNote + ", where 2 (there only) is the same as 1 (everywhere)"}}
}

func buckets() Sweep {
	t := crowd(3_000)
	t.Again = true
	t.Kernel = []Setting{{localPorts, "32768 36863"}, {twReuse, "1"}}
	return Sweep{ID: "tcp_max_tw_buckets", Title: "ports that may wait out their minute at once, 3,000 requests to one address after a restart (w4)", Unit: twBuckets, Default: "131072",
		Trial: t, Seconds: 22, Observe: failures, Values: settings(twBuckets, "128", "1024", "131072", "262144"),
		Notes: []string{loopbackNote}, Keep: "fewer only forget connections early, and late packets may disturb new ones"}
}

func backlog() Sweep {
	t := wide()
	t.Tuning.Env = []string{"TOCSIN_EGRESS_GATE=1024"}
	return Sweep{ID: "somaxconn", Title: "connections that wait to be taken by a listener, 1,024 dials at once (w1)", Unit: somaxconn, Default: "4096",
		Trial: t, Seconds: 8, Values: settings(somaxconn, "128", "512", "1024", "4096"),
		Notes: []string{loopbackNote + "; the listener is the sink's"}}
}
