package telemetry

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// Options bound the labels and describe the build.
type Options struct {
	// Version and Commit are shown by tocsin_build_info.
	Version, Commit string
	// Groups are those configured, as in "webhook" or "smtp:main".
	Groups []string
	// Providers are those configured by name.
	Providers []string
	// Sources are those of the intake that are configured by name.
	Sources []string
	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
	// Log takes what goes wrong while metrics are gathered; nil discards it.
	Log *slog.Logger
}

// other is the label of what was not configured.
const other = "other"

// Values that labels may have. An index into each list stands for the value.
var (
	sources = [...]string{"amqp", "http", "alerts", "pagerduty", "statuspage", "mapping", other}
	results = [...]string{"accepted", "duplicate", "stale", "invalid", "unavailable", other}
	kinds   = [...]string{incident.ChannelWebhook, incident.ChannelSMTP, incident.ChannelSMPP,
		incident.ChannelRSS, incident.ChannelWebSub, other}
)

const (
	outcomeCount = int(dispatcher.Dead) + 1
	classCount   = int(channels.NotSent) + 1
)

// Metrics holds every metric, resolved by label beforehand. Its methods are safe
// for concurrent use and quick enough for the scheduler; they implement
// [dispatcher.Meter].
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger

	events   [len(sources)][len(results)]prometheus.Counter
	planned  prometheus.Counter
	refused  map[string]prometheus.Counter // by source; not changed after New
	attempts [len(kinds)][classCount]prometheus.Counter
	outcomes [len(kinds)][outcomeCount]prometheus.Counter
	seconds  [len(kinds)]prometheus.Observer
	lag      prometheus.Gauge
	due      prometheus.Gauge

	source atomic.Pointer[func() Snapshot]
}

var _ dispatcher.Meter = (*Metrics)(nil)

// latencyBuckets run from a local peer's answer to the longest life of an update,
// in seconds.
var latencyBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400}

// New registers all metrics in a registry of their own.
func New(opt Options) *Metrics {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	m := &Metrics{registry: prometheus.NewRegistry(), log: opt.Log}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newGauges(opt, &m.source),
	)
	m.resolve(opt)

	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tocsin_build_info",
		Help: "Always 1; the labels say what was built."}, []string{"version", "commit", "goversion"})
	m.registry.MustRegister(build)
	build.WithLabelValues(opt.Version, opt.Commit, runtime.Version()).Set(1)
	return m
}

// resolve registers what is counted and keeps the counter of each combination of
// labels, so that all of them are exposed from the beginning, as zeros.
func (m *Metrics) resolve(opt Options) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	events := counter("tocsin_events_received_total", "Events by intake and what became of them.", "source", "result")
	for i, source := range sources {
		for j, result := range results {
			m.events[i][j] = events.WithLabelValues(source, result)
		}
	}
	m.planned = counter("tocsin_updates_planned_total", "Updates whose audience was planned to the end.").WithLabelValues()

	refused := counter("tocsin_callers_refused_total", "Requests that were not let in, by the source they meant to be.", "source")
	m.refused = make(map[string]prometheus.Counter)
	for _, source := range append([]string{"tokens", "several", other}, opt.Sources...) {
		m.refused[source] = refused.WithLabelValues(source)
	}

	attempts := counter("tocsin_attempts_total", "Attempts by channel and what came back.", "channel", "class")
	outcomes := counter("tocsin_deliveries_total", "Deliveries that ended, by channel and outcome.", "channel", "outcome")
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tocsin_delivery_seconds",
		Help: "From the acceptance of the update to the peer's answer.", Buckets: latencyBuckets}, []string{"channel"})
	m.registry.MustRegister(seconds)
	for i, kind := range kinds {
		for class := range classCount {
			m.attempts[i][class] = attempts.WithLabelValues(kind, channels.Class(class).String())
		}
		for _, o := range dispatcher.Outcomes()[1:] { // open is no end
			m.outcomes[i][o] = outcomes.WithLabelValues(kind, o.String())
		}
		m.seconds[i] = seconds.WithLabelValues(kind)
	}
	m.lag = gauge("tocsin_ledger_lag_seconds", "Age of the oldest due delivery that waits in the ledger; 0 without one.")
	m.due = gauge("tocsin_waiting_due", "Deliveries that wait in the ledger and are due.")
}

// EventAccepted counts an event that reached the acceptor.
func (m *Metrics) EventAccepted(source, result string) { m.event(source, result) }

// EventRefused counts an event that was turned away at its intake: "invalid" or
// "unavailable".
func (m *Metrics) EventRefused(source, reason string) { m.event(source, reason) }

func (m *Metrics) event(source, result string) {
	m.events[index(sources[:], source)][index(results[:], result)].Inc()
}

// CallerRefused counts a request that was not let in, under a configured source, or
// under "tokens" or "several" as the caller package has them.
func (m *Metrics) CallerRefused(source string) {
	count, known := m.refused[source]
	if !known {
		count = m.refused[other]
	}
	count.Inc()
}

// UpdatePlanned counts an update whose plan is finished.
func (m *Metrics) UpdatePlanned() { m.planned.Inc() }

// Attempt counts one send.
func (m *Metrics) Attempt(channel string, class channels.Class) {
	if int(class) >= classCount {
		class = 0
	}
	m.attempts[index(kinds[:], channel)][class].Inc()
}

// Outcome counts n deliveries that ended so.
func (m *Metrics) Outcome(channel string, o dispatcher.Outcome, n int) {
	if o == dispatcher.Open || int(o) >= outcomeCount || n <= 0 {
		return
	}
	m.outcomes[index(kinds[:], channel)][o].Add(float64(n))
}

// Ended returns how many deliveries ended since the process began, by channel and
// outcome; what there was none of is absent.
func (m *Metrics) Ended() map[string]map[dispatcher.Outcome]int {
	ended := make(map[string]map[dispatcher.Outcome]int)
	for i, kind := range kinds {
		for _, o := range dispatcher.Outcomes()[1:] {
			var read dto.Metric
			if err := m.outcomes[i][o].Write(&read); err != nil || read.GetCounter().GetValue() == 0 {
				continue // only a counter with a broken label can't be read
			}
			if ended[kind] == nil {
				ended[kind] = make(map[dispatcher.Outcome]int)
			}
			ended[kind][o] = int(read.GetCounter().GetValue())
		}
	}
	return ended
}

// Latency observes the time from an update's acceptance to the acknowledgement
// of a delivery by its peer.
func (m *Metrics) Latency(channel string, d time.Duration) {
	m.seconds[index(kinds[:], channel)].Observe(max(d, 0).Seconds())
}

// Backlog shows what waits in the ledger.
func (m *Metrics) Backlog(b dispatcher.Backlog, now time.Time) {
	m.due.Set(float64(b.Due))
	lag := 0.0
	if b.Due > 0 && !b.OldestDue.IsZero() {
		lag = max(now.Sub(b.OldestDue), 0).Seconds()
	}
	m.lag.Set(lag)
}

// SetSource says where gauges come from: source is called at each scrape, by
// several at once, and bounds itself in time. Until then they are not exposed.
func (m *Metrics) SetSource(source func() Snapshot) { m.source.Store(&source) }

// Handler serves the metrics, to at most a few scrapers at once.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(m.log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}

// index finds a value in a short list that ends with other.
func index(values []string, value string) int {
	for i, v := range values {
		if v == value {
			return i
		}
	}
	return len(values) - 1
}
