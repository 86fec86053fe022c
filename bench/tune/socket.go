package tune

import "github.com/tocsin/tocsin/bench/scenario"

// What the engine does with every socket is no setting. Here the floor does it otherwise.

// bare is a scenario's work done by raw sockets.
func bare(t Trial) Trial {
	t.Floor = "raw"
	return t
}

// flags is a value that adds flags to the floor's.
func flags(name string, add ...string) Value {
	return Value{name, func(t *Trial) { t.Tuning.Floor = append(t.Tuning.Floor, add...) }}
}

// writes has kept connections, where the peer delays its acknowledgements.
func writes() Sweep {
	return Sweep{ID: "writes", Title: "writes for each request, and TCP_NODELAY, 2,000 kept connections, 5 updates (w2, raw sockets)", Default: "1, NODELAY",
		Trial:   bare(Trial{Scenario: "w2", Result: "w2", Size: scenario.Size{Targets: 2_000, Hosts: 2_000, Updates: 5}}),
		Seconds: 3, Values: []Value{flags("1, NODELAY"), flags("1, Nagle", "--nagle"), flags("2, NODELAY", "--apart"), flags("2, Nagle", "--apart", "--nagle")},
		Keep: "a request that takes more than one segment would wait for an acknowledgement of the first"}
}

// linger ends each connection after its answer.
func linger(id, title string, t Trial, seconds float64, notes ...string) Sweep {
	return Sweep{ID: id, Title: title, Unit: "SO_LINGER", Default: "in order", Trial: t, Seconds: seconds, Notes: notes,
		Values: []Value{flags("in order", "--end", "order"), flags("0 (reset)", "--end", "reset")},
		Keep:   "a reset is an error to the peer, and may overtake what it still has to read"}
}

func lingerHosts() Sweep {
	return linger("linger", "how connections end, 10,000 hosts (w1, raw sockets)", bare(wide()), 2)
}

// lingerPorts starts a sender where one has just ended that had a connection for nearly
// every port.
func lingerPorts() Sweep {
	t := bare(shared(3_000, 1))
	t.Tuning.Floor = []string{"--per-host", "3000"}
	t.Again = true
	t.Kernel = []Setting{{localPorts, "32768 36863"}, {twReuse, "1"}}
	return linger("linger_ports", "how connections end, 3,000 to one address from 4,096 ports, after a restart (w5, raw sockets)", t, 6, loopbackNote,
		"a reset spares a port the minute that it waits: it need not be found among those that may be taken again")
}

// bindEarly has hardly more ports than hosts: without the option a port is taken for all
// hosts, with it for one.
func bindEarly() Sweep {
	t := bare(wide())
	t.Kernel = []Setting{{localPorts, "32768 43007"}}
	const source = "127.255.0.1"
	return Sweep{ID: "bind_address_no_port", Title: "when the local port is chosen, 10,000 hosts, 10,240 ports (w1, raw sockets)", Unit: "with egress.source", Default: "connecting (IP_BIND_ADDRESS_NO_PORT)",
		Trial: t, Seconds: 5, Notes: []string{loopbackNote},
		Values: []Value{flags("no source"), flags("connecting (IP_BIND_ADDRESS_NO_PORT)", "--source", source), flags("binding", "--source", source, "--early")}}
}
