package telemetry

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/queue"
)

var now = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

func newMetrics() *Metrics {
	return New(Options{Version: "1.2.3", Commit: "abc", Groups: []string{"webhook", "smtp:main"}, Providers: []string{"main", "spare"}, Sources: []string{"alertmanager"},
		Clock: func() time.Time { return now }})
}

// scrape returns what a scraper reads: values by name and labels, and the labels
// of each name.
func scrape(t *testing.T, m *Metrics) (map[string]float64, map[string][]string) {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	values, labels := make(map[string]float64), make(map[string][]string)
	for name, family := range families {
		for _, metric := range family.Metric {
			var pairs, names []string
			for _, l := range metric.Label {
				pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				names = append(names, l.GetName())
			}
			slices.Sort(pairs)
			values[name+"{"+strings.Join(pairs, ",")+"}"] = value(metric)
			labels[name] = slices.Sorted(slices.Values(names))
		}
	}
	return values, labels
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return -1
}

func fullSnapshot() Snapshot {
	return Snapshot{
		Engine: &dispatcher.Snapshot{
			Groups: map[string]dispatcher.GroupSnapshot{
				"webhook":   {Lanes: map[string]int{"ready": 3, "open": 1}, Waiting: 7, InFlight: 5},
				"smtp:main": {Lanes: map[string]int{"idle": 1}, Waiting: 1, InFlight: 2},
			},
			Providers: map[string]dispatcher.ProviderSnapshot{"main": {Group: "smtp:main", Tokens: 12.5, Breaker: "half-open"}},
			Failovers: 6, TakenOver: map[string]int{"spare": 6},
		},
		Queues: []queue.Depth{{Queue: "intake", Ready: 2, Held: 1, Oldest: now.Add(-3 * time.Second)},
			{Queue: "webhook.urgent", Ready: 4}, {Queue: "parked"}},
		FDUsed: 10, FDBudget: 100, BrokerConnected: true,
	}
}

// TestNamesAndLabels holds the metrics to the names that dashboards and alert
// rules rely on.
func TestNamesAndLabels(t *testing.T) {
	m := newMetrics()
	m.SetSource(fullSnapshot)
	_, labels := scrape(t, m)
	want := map[string][]string{
		"tocsin_events_received_total":  {"result", "source"},
		"tocsin_callers_refused_total":  {"source"},
		"tocsin_updates_planned_total":  nil,
		"tocsin_queue_depth":            {"queue"},
		"tocsin_queue_oldest_seconds":   {"queue"},
		"tocsin_lanes":                  {"pool", "state"},
		"tocsin_lane_waiting":           {"pool"},
		"tocsin_inflight":               {"channel"},
		"tocsin_deliveries_total":       {"channel", "outcome"},
		"tocsin_delivery_seconds":       {"channel"},
		"tocsin_attempts_total":         {"channel", "class"},
		"tocsin_bucket_tokens":          {"provider"},
		"tocsin_breaker_state":          {"provider"},
		"tocsin_failovers_total":        {"provider"},
		"tocsin_ledger_lag_seconds":     nil,
		"tocsin_waiting_due":            nil,
		"tocsin_fd_used":                nil,
		"tocsin_fd_budget":              nil,
		"tocsin_port_shortages_total":   nil,
		"tocsin_broker_connected":       nil,
		"tocsin_build_info":             {"commit", "goversion", "version"},
		"go_goroutines":                 nil,
		"process_resident_memory_bytes": nil,
	}
	for name, expected := range want {
		got, ok := labels[name]
		if !ok {
			t.Errorf("%s is missing", name)
		}
		if !slices.Equal(got, expected) {
			t.Errorf("%s has the labels %q, want %q", name, got, expected)
		}
	}
	for name := range labels {
		if _, ok := want[name]; !ok && strings.HasPrefix(name, "tocsin_") {
			t.Errorf("%s is not in the list of metrics", name)
		}
	}
}

func TestCounting(t *testing.T) {
	m := newMetrics()
	m.SetSource(fullSnapshot)
	m.EventAccepted("amqp", "accepted")
	m.EventAccepted("http", "duplicate")
	m.EventRefused("alerts", "unavailable")
	m.CallerRefused("alertmanager")
	m.CallerRefused("several")
	m.CallerRefused("tokens")
	m.UpdatePlanned()
	m.Attempt("webhook", channels.Delivered)
	m.Attempt("webhook", channels.Throttled)
	m.Attempt("webhook", channels.Throttled)
	m.Outcome("webhook", dispatcher.Delivered, 3)
	m.Outcome("webhook", dispatcher.Dead, 1)
	m.Outcome("webhook", dispatcher.Dead, -1)
	m.Outcome("webhook", dispatcher.Open, 5)
	m.Latency("webhook", time.Second)
	m.Latency("webhook", -time.Second)
	m.Backlog(dispatcher.Backlog{Waiting: 9, Due: 4, OldestDue: now.Add(-2 * time.Second)}, now)

	values, _ := scrape(t, m)
	for series, want := range map[string]float64{
		`tocsin_events_received_total{result="accepted",source="amqp"}`:      1,
		`tocsin_events_received_total{result="duplicate",source="http"}`:     1,
		`tocsin_events_received_total{result="unavailable",source="alerts"}`: 1,
		`tocsin_callers_refused_total{source="alertmanager"}`:                1,
		`tocsin_callers_refused_total{source="several"}`:                     1,
		`tocsin_callers_refused_total{source="tokens"}`:                      1,
		`tocsin_updates_planned_total{}`:                                     1,
		`tocsin_attempts_total{channel="webhook",class="delivered"}`:         1,
		`tocsin_attempts_total{channel="webhook",class="throttled"}`:         2,
		`tocsin_attempts_total{channel="smtp",class="delivered"}`:            0,
		`tocsin_deliveries_total{channel="webhook",outcome="delivered"}`:     3,
		`tocsin_deliveries_total{channel="webhook",outcome="dead"}`:          1,
		`tocsin_delivery_seconds{channel="webhook"}`:                         2,
		`tocsin_ledger_lag_seconds{}`:                                        2,
		`tocsin_waiting_due{}`:                                               4,
		`tocsin_queue_depth{queue="intake"}`:                                 3,
		`tocsin_queue_oldest_seconds{queue="intake"}`:                        3,
		`tocsin_queue_oldest_seconds{queue="webhook.urgent"}`:                0,
		`tocsin_lanes{pool="webhook",state="ready"}`:                         3,
		`tocsin_lane_waiting{pool="webhook"}`:                                7,
		`tocsin_inflight{channel="webhook"}`:                                 5,
		`tocsin_inflight{channel="smtp"}`:                                    2,
		`tocsin_bucket_tokens{provider="main"}`:                              12.5,
		`tocsin_breaker_state{provider="main"}`:                              1,
		`tocsin_failovers_total{provider="main"}`:                            0,
		`tocsin_failovers_total{provider="spare"}`:                           6,
		`tocsin_fd_used{}`:          10,
		`tocsin_fd_budget{}`:        100,
		`tocsin_broker_connected{}`: 1,
	} {
		if got, ok := values[series]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", series, got, ok, want)
		}
	}

	m.Backlog(dispatcher.Backlog{Waiting: 9}, now)
	m.SetSource(func() Snapshot { return Snapshot{} })
	values, _ = scrape(t, m)
	for _, series := range []string{"tocsin_ledger_lag_seconds{}", "tocsin_waiting_due{}", "tocsin_broker_connected{}"} {
		if values[series] != 0 {
			t.Errorf("%s stays at %v", series, values[series])
		}
	}
}

// TestLabelsAreBounded gives every label a thousand values that nobody
// configured.
func TestLabelsAreBounded(t *testing.T) {
	m := newMetrics()
	m.SetSource(fullSnapshot)
	before, _ := scrape(t, m)
	s := fullSnapshot()
	for i := range 1000 {
		name := fmt.Sprintf("host-%d.example.com:443", i)
		m.EventAccepted(name, name)
		m.EventRefused("http", name)
		m.CallerRefused(name)
		m.Attempt(name, channels.Delivered)
		m.Attempt("webhook", channels.Class(i))
		m.Outcome(name, dispatcher.Dead, 1)
		m.Outcome("webhook", dispatcher.Outcome(i), 1)
		m.Latency(name, time.Second)
		s.Queues = append(s.Queues, queue.Depth{Queue: name, Ready: 1})
		s.Engine.Groups[name] = dispatcher.GroupSnapshot{Lanes: map[string]int{"ready": 1}, Waiting: 1, InFlight: 1}
		s.Engine.Providers[name] = dispatcher.ProviderSnapshot{Tokens: 1}
		s.Engine.TakenOver[name] = 1
	}
	m.SetSource(func() Snapshot { return s })
	after, _ := scrape(t, m)
	for series := range after {
		if strings.Contains(series, "host-") {
			t.Fatalf("%s names a host", series)
		}
	}
	added := slices.DeleteFunc(slices.Collect(maps.Keys(after)), func(series string) bool {
		_, ok := before[series]
		return ok || !strings.HasPrefix(series, "tocsin_")
	})
	if len(added) > 6 { // one "other" for each gauge of the snapshot
		t.Errorf("new series: %q", added)
	}
	for series, want := range map[string]float64{
		`tocsin_events_received_total{result="other",source="other"}`: 1000,
		`tocsin_callers_refused_total{source="other"}`:                1000,
		`tocsin_attempts_total{channel="other",class="delivered"}`:    1000,
		`tocsin_deliveries_total{channel="other",outcome="dead"}`:     1000,
		`tocsin_queue_depth{queue="other"}`:                           1000,
		`tocsin_lanes{pool="other",state="ready"}`:                    1000,
		`tocsin_inflight{channel="other"}`:                            1000,
	} {
		if after[series] != want {
			t.Errorf("%s is %v, want %v", series, after[series], want)
		}
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m := newMetrics()
	if n := testing.AllocsPerRun(100, func() {
		m.Attempt("webhook", channels.Delivered)
		m.Outcome("webhook", dispatcher.Delivered, 1)
		m.Latency("webhook", time.Second)
		m.EventAccepted("http", "accepted")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWithoutASource(t *testing.T) {
	_, labels := scrape(t, newMetrics())
	if _, ok := labels["tocsin_fd_used"]; ok {
		t.Error("a gauge is shown that nobody measures")
	}
	if _, ok := labels["tocsin_deliveries_total"]; !ok {
		t.Error("counters are not shown from the beginning")
	}
}

func TestEndedIsWhatWasCounted(t *testing.T) {
	m := newMetrics()
	if got := m.Ended(); len(got) != 0 {
		t.Errorf("at first %v", got)
	}
	m.Outcome("webhook", dispatcher.Delivered, 3)
	m.Outcome("webhook", dispatcher.Delivered, 4)
	m.Outcome("smtp", dispatcher.Dead, 2)
	m.Outcome("pigeon", dispatcher.Expired, 1)
	m.Outcome("smtp", dispatcher.Open, 9) // no end
	if got, want := fmt.Sprint(m.Ended()), fmt.Sprint(map[string]map[dispatcher.Outcome]int{
		"webhook": {dispatcher.Delivered: 7}, "smtp": {dispatcher.Dead: 2}, "other": {dispatcher.Expired: 1}}); got != want {
		t.Errorf("then %s, want %s", got, want)
	}
}
