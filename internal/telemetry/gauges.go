package telemetry

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

// Snapshot is what gauges show, as of one scrape.
type Snapshot struct {
	// Engine is what the dispatcher does; nil if none runs.
	Engine *dispatcher.Snapshot
	// Queues are those of the queue, and the intake.
	Queues []queue.Depth
	// FDUsed and FDBudget count connections against their limit.
	FDUsed, FDBudget int
	// PortShortages counts the connects that found no free local port.
	PortShortages int64
	// BrokerConnected is true if the queue can be used; the embedded one can.
	BrokerConnected bool
}

// gauges turns snapshots into metrics.
type gauges struct {
	clock     func() time.Time
	source    *atomic.Pointer[func() Snapshot]
	groups    map[string]bool
	providers map[string]bool
	queues    map[string]bool

	depth, oldest, lanes, waiting, inFlight, tokens, breaker, failovers, fdUsed, fdBudget, portShortages, connected *prometheus.Desc
}

func newGauges(opt Options, source *atomic.Pointer[func() Snapshot]) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	g := &gauges{
		clock: opt.Clock, source: source,
		groups: make(map[string]bool), providers: make(map[string]bool),
		queues: map[string]bool{"intake": true, "invalid": true, "parked": true},

		depth:         desc("tocsin_queue_depth", "Batches (events for the intake) ready or held.", "queue"),
		oldest:        desc("tocsin_queue_oldest_seconds", "Age of the oldest ready entry; 0 without one.", "queue"),
		lanes:         desc("tocsin_lanes", "Lanes by what keeps them from starting.", "pool", "state"),
		waiting:       desc("tocsin_lane_waiting", "Deliveries that wait in lanes.", "pool"),
		inFlight:      desc("tocsin_inflight", "Deliveries being sent.", "channel"),
		tokens:        desc("tocsin_bucket_tokens", "Tokens of a configured provider; below 0 in debt.", "provider"),
		breaker:       desc("tocsin_breaker_state", "Breaker of a configured provider: 0 closed, 1 half-open, 2 open.", "provider"),
		failovers:     desc("tocsin_failovers_total", "Deliveries that a configured provider took over from one that was down.", "provider"),
		fdUsed:        desc("tocsin_fd_used", "Outbound connections, idle ones too."),
		fdBudget:      desc("tocsin_fd_budget", "Outbound connections there may be."),
		portShortages: desc("tocsin_port_shortages_total", "Connects that found no free local port, and wait."),
		connected:     desc("tocsin_broker_connected", "1 if the queue can be used, 0 if not."),
	}
	for _, name := range opt.Groups {
		g.groups[name] = true
		g.queues[name+".urgent"], g.queues[name+".normal"] = true, true
	}
	for _, name := range opt.Providers {
		g.providers[name] = true
	}
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.depth, g.oldest, g.lanes, g.waiting, g.inFlight, g.tokens, g.breaker,
		g.failovers, g.fdUsed, g.fdBudget, g.portShortages, g.connected} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	source := g.source.Load()
	if source == nil {
		return
	}
	s := (*source)()
	as := func(kind prometheus.ValueType) emit {
		return func(d *prometheus.Desc, value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
		}
	}
	gauge := as(prometheus.GaugeValue)
	gauge(g.fdUsed, float64(s.FDUsed))
	gauge(g.fdBudget, float64(s.FDBudget))
	as(prometheus.CounterValue)(g.portShortages, float64(s.PortShortages))
	connected := 0.0
	if s.BrokerConnected {
		connected = 1
	}
	gauge(g.connected, connected)
	g.collectQueues(s.Queues, gauge)
	if s.Engine != nil {
		g.collectEngine(s.Engine, gauge, as(prometheus.CounterValue))
	}
}

type emit func(d *prometheus.Desc, value float64, labels ...string)

func (g *gauges) collectQueues(queues []queue.Depth, gauge emit) {
	depth, oldest := make(map[string]int), make(map[string]float64)
	now := g.clock()
	for _, q := range queues {
		name := known(g.queues, q.Queue)
		depth[name] += q.Ready + q.Held
		age := 0.0
		if !q.Oldest.IsZero() {
			age = max(now.Sub(q.Oldest), 0).Seconds()
		}
		oldest[name] = max(oldest[name], age)
	}
	for name, n := range depth {
		gauge(g.depth, float64(n), name)
		gauge(g.oldest, oldest[name], name)
	}
}

func (g *gauges) collectEngine(s *dispatcher.Snapshot, gauge, counter emit) {
	type lane struct{ pool, state string }
	lanes, waiting, inFlight := make(map[lane]int), make(map[string]int), make(map[string]int)
	for name, group := range s.Groups {
		pool := known(g.groups, name)
		for state, n := range group.Lanes {
			lanes[lane{pool, state}] += n
		}
		waiting[pool] += group.Waiting
		channel, _, _ := strings.Cut(name, ":")
		inFlight[kinds[index(kinds[:], channel)]] += group.InFlight
	}
	for l, n := range lanes {
		gauge(g.lanes, float64(n), l.pool, l.state)
	}
	for pool, n := range waiting {
		gauge(g.waiting, float64(n), pool)
	}
	for channel, n := range inFlight {
		gauge(g.inFlight, float64(n), channel)
	}
	for name := range g.providers { // those without any too, so that an increase shows
		counter(g.failovers, float64(s.TakenOver[name]), name)
	}
	for name, p := range s.Providers {
		if g.providers[name] {
			gauge(g.tokens, p.Tokens, name)
			gauge(g.breaker, breakerStates[p.Breaker], name)
		}
	}
}

var breakerStates = map[string]float64{"closed": 0, "half-open": 1, "open": 2}

func known(names map[string]bool, name string) string {
	if names[name] {
		return name
	}
	return other
}
