package tune

import (
	"runtime"
	"slices"
	"strconv"

	"github.com/tocsin/tocsin/bench/scenario"
	"github.com/tocsin/tocsin/internal/egress"
)

// Table returns every sweep, in the order in which they run. files is the hard limit of
// open files.
func Table(files int) []Sweep {
	return []Sweep{
		gate("dial_gate", "dials and handshakes under way at once, HTTP (w1)", wide(), 7),
		gate("handshake_gate", "dials and handshakes under way at once, TLS (w3)", handshakes(), 11),
		window(),
		admission(),
		held(),
		openFiles(files),
		idle(files),
		sessions(),
		keyExchange(),
		sources(),
		sourcePorts(),
		bindEarly(),
		writes(),
		lingerHosts(),
		lingerPorts(),
		portRange(),
		reuse(),
		buckets(),
		backlog(),
		environment("gogc", "GOGC: how much garbage may gather (w1)", "GOGC", "%", "150", "50", "100", "150", "200", "400"),
		environment("gomemlimit", "GOMEMLIMIT: from where on Go collects harder (w1)", "GOMEMLIMIT", "", "off", "32MiB", "64MiB", "128MiB", "256MiB", "off"),
		processors(runtime.NumCPU()),
	}
}

// NotSwept says what is no setting, and why.
func NotSwept() []string {
	return []string{
		"not swept: the limit of requests under way. It follows from the limit of open files (open_files) and is no setting of its own",
		"not swept: how long idle connections are kept (egress.idle_time): 75 s is longer than the pauses within an incident that are worth a connection, shorter than most servers keep theirs",
	}
}

// wide is w1 at its full size.
func wide() Trial {
	return Trial{Scenario: "w1", Result: "w1", Size: scenario.Size{Targets: 10_000, Hosts: 10_000}}
}

// handshakes is w3 with as many hosts as a few seconds allow.
func handshakes() Trial {
	return Trial{Scenario: "w3", Result: "w3.cold", Size: scenario.Size{Targets: 1_000, Hosts: 1_000}}
}

// crowd is w4 with targets that all stand behind one address: each request that is held
// open has a local port of its own.
func crowd(targets int) Trial {
	n := strconv.Itoa(targets)
	return Trial{Scenario: "w4", Result: "w4", Size: scenario.Size{Targets: targets, Hosts: 1},
		Tuning: scenario.Tuning{Env: []string{"TOCSIN_WEBHOOK_WINDOW=" + n, "TOCSIN_WEBHOOK_CONNECTIONS=" + n}}}
}

// shared is w5 with hosts that many targets share.
func shared(targets, hosts int) Trial {
	return Trial{Scenario: "w5.embedded", Result: "w5.embedded", Size: scenario.Size{Targets: targets, Hosts: hosts}}
}

// variables are values of environment variables.
func variables(values []string, names ...string) []Value {
	var all []Value
	for _, value := range values {
		all = append(all, Value{value, func(t *Trial) {
			for _, name := range names {
				t.Tuning.Env = append(t.Tuning.Env, name+"="+value)
			}
		}})
	}
	return all
}

// settings are values of one setting of the kernel.
func settings(name string, values ...string) []Value {
	var all []Value
	for _, value := range values {
		all = append(all, Value{value, func(t *Trial) { t.Kernel = append(t.Kernel, Setting{name, value}) }})
	}
	return all
}

func gate(id, title string, t Trial, seconds float64) Sweep {
	return Sweep{ID: id, Title: title, Unit: "dials (egress.gate)", Default: "256", Trial: t, Seconds: seconds,
		Values: variables([]string{"32", "64", "128", "256", "512", "1024"}, "TOCSIN_EGRESS_GATE")}
}

func window() Sweep {
	return Sweep{ID: "host_window", Title: "requests under way at once to one of 100 hosts (w5)", Unit: "webhook.window and .connections", Default: "64",
		Trial: shared(20_000, 100), Seconds: 4, Keep: "it protects receivers",
		Values: variables([]string{"4", "16", "64", "256"}, "TOCSIN_WEBHOOK_WINDOW", "TOCSIN_WEBHOOK_CONNECTIONS")}
}

func admission() Sweep {
	return Sweep{ID: "admission", Title: "deliveries that the engine holds at once (w5, 300 hosts)", Unit: "deliveries (admission)", Default: "50000",
		Trial: shared(30_000, 300), Seconds: 7,
		Keep:   "with fewer than requests that may be open, slow peers hold up all others (admission_held)",
		Values: variables([]string{"1000", "5000", "20000", "50000", "200000"}, "TOCSIN_ADMISSION")}
}

// held is the other side of the admission: what waits for slow peers has a place in it.
func held() Sweep {
	return Sweep{ID: "admission_held", Title: "deliveries that the engine holds at once, with peers that answer after 1 s (w4)", Unit: "deliveries (admission)", Default: "50000",
		Trial: Trial{Scenario: "w4", Result: "w4", Size: scenario.Size{Targets: 4_000, Hosts: 4_000}}, Seconds: 8,
		Values: variables([]string{"1000", "5000", "50000"}, "TOCSIN_ADMISSION")}
}

// openFiles has peers that answer after a second, so that each request holds a
// connection and the limit bounds how many are under way.
func openFiles(files int) Sweep {
	s := Sweep{ID: "open_files", Title: "limit of open files, with peers that answer after 1 s (w4)", Unit: "files (RLIMIT_NOFILE)", Default: strconv.Itoa(files),
		Trial:   Trial{Scenario: "w4", Result: "w4", Size: scenario.Size{Targets: 4_000, Hosts: 4_000}},
		Seconds: 15, Observe: atTheEdge, Values: limits(files, 1024, 2048, 4096, 8192),
		Notes: []string{"as many requests are under way as there are connections: at a lower limit the others wait, none fails"}}
	return s
}

// limits are those limits of open files that are below the hard one, and that.
func limits(files int, values ...int) []Value {
	var all []Value
	for _, n := range append(values, files) {
		if n > files || len(all) > 0 && all[len(all)-1].Name == strconv.Itoa(n) {
			continue
		}
		all = append(all, Value{strconv.Itoa(n), func(t *Trial) { t.Tuning.Files = n }})
	}
	return all
}

// idle has hosts that are told again and again. What is kept of their connections
// follows from the limit of open files: 90 % of the budget.
func idle(files int) Sweep {
	s := Sweep{ID: "idle_connections", Title: "idle connections kept, of 2,000 hosts that are told 5 times (w2)", Unit: "connections",
		Trial:   Trial{Scenario: "w2", Result: "w2", Size: scenario.Size{Targets: 2_000, Hosts: 2_000, Updates: 5}},
		Seconds: 7, Observe: atTheEdge,
		Notes: []string{"set by the limit of open files: nine tenths of the connections that it allows are kept"}}
	for _, v := range limits(files, 512, 1024, 1536, 2048, 4096) {
		n, _ := strconv.Atoi(v.Name)
		v.Name = strconv.Itoa(egress.BudgetOf(n) * 9 / 10)
		s.Values = append(s.Values, v)
		s.Default = v.Name
	}
	return s
}

func sessions() Sweep {
	t := handshakes()
	t.Result, t.Size = "w3.resumed", scenario.Size{Targets: 5_000, Hosts: 5_000}
	return Sweep{ID: "tls_sessions", Title: "TLS sessions kept to be resumed, 5,000 hosts (w3)", Unit: "sessions (egress.sessions)", Default: "16384",
		Trial: t, Seconds: 23, Observe: resumed, Values: variables([]string{"1", "4096", "16384"}, "TOCSIN_EGRESS_SESSIONS"),
		Notes: []string{"1 is off. Hosts come in turn: a cache that is smaller than their number has forgotten each when it comes again"}}
}

func keyExchange() Sweep {
	return Sweep{ID: "key_exchange", Title: "key exchange of TLS, new sessions (w3)", Default: "X25519MLKEM768", Trial: handshakes(), Seconds: 4,
		Keep: "what goes out today could be read by whoever keeps it until quantum computers are there",
		Values: []Value{{"X25519MLKEM768", nil},
			{"X25519", func(t *Trial) { t.Tuning.Env = append(t.Tuning.Env, "GODEBUG=tlsmlkem=0,tlssecpmlkem=0") }}}}
}

func sources() Sweep {
	return Sweep{ID: "source", Title: "local addresses to connect from, distinct hosts (w1)", Unit: "addresses (egress.source)", Default: "the system's",
		Trial: wide(), Seconds: 5, Values: append([]Value{{"the system's", nil}}, addresses(1, 2, 4)...)}
}

// addresses are so many of the loopback's, that no sink listens to.
func addresses(counts ...int) []Value {
	var all []Value
	for _, n := range counts {
		list := "127.255.0.1"
		for i := 2; i <= n; i++ {
			list += ",127.255.0." + strconv.Itoa(i)
		}
		all = append(all, Value{strconv.Itoa(n), func(t *Trial) { t.Tuning.Env = append(t.Tuning.Env, "TOCSIN_EGRESS_SOURCE="+list) }})
	}
	return all
}

func processors(n int) Sweep {
	s := environment("gomaxprocs", "GOMAXPROCS: threads that run Go at once (w1)", "GOMAXPROCS", "threads", strconv.Itoa(n),
		slices.Compact([]string{"1", strconv.Itoa(n), strconv.Itoa(2 * n)})...)
	s.Keep = "more than there are processors take time from others on the machine only"
	return s
}

func environment(id, title, name, unit, given string, values ...string) Sweep {
	return Sweep{ID: id, Title: title, Unit: unit, Default: given, Trial: wide(), Values: variables(values, name), Seconds: 1.3 * float64(len(values))}
}
