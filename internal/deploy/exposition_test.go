package deploy

import (
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/telemetry"
	"github.com/tocsin/tocsin/queue"
)

// exposition is what an engine exposes: the values of each label of each series
// name, as a query names them.
type exposition map[string]map[string][]string

// scraped reads /metrics of an engine in which everything happens.
func scraped(t *testing.T) exposition {
	t.Helper()
	m := telemetry.New(telemetry.Options{Version: "1.0.0", Commit: "abc", Groups: []string{"webhook", "smtp:main"}, Providers: []string{"main"}})
	lanes := map[string]int{"idle": 1, "ready": 1, "window": 1, "limited": 1, "paused": 1, "open": 1, "delayed": 1}
	m.SetSource(func() telemetry.Snapshot {
		return telemetry.Snapshot{
			Engine: &dispatcher.Snapshot{
				Groups:    map[string]dispatcher.GroupSnapshot{"webhook": {Lanes: lanes}},
				Providers: map[string]dispatcher.ProviderSnapshot{"main": {Group: "smtp:main", Breaker: "open"}},
			},
			Queues: []queue.Depth{{Queue: "intake"}, {Queue: "invalid"}, {Queue: "parked"}, {Queue: "webhook.urgent"}},
		}
	})
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	e := exposition{"up": {}} // which Prometheus makes
	for name, family := range families {
		names := []string{name}
		if family.GetType() == dto.MetricType_HISTOGRAM {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
		}
		for _, name := range names {
			e[name] = make(map[string][]string)
			for _, metric := range family.Metric {
				for _, l := range metric.Label {
					e[name][l.GetName()] = append(e[name][l.GetName()], l.GetValue())
				}
			}
			if strings.HasSuffix(name, "_bucket") {
				e[name]["le"] = nil
			}
		}
	}
	return e
}

var (
	seriesName = regexp.MustCompile(`\b(tocsin_\w+|process_\w+|go_\w+|up)\b`)
	selector   = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// check says what a query names that no engine exposes: series, labels, and
// values of labels.
func (e exposition) check(query string) (faults []string) {
	names := seriesName.FindAllString(query, -1)
	if len(names) == 0 {
		return []string{"no series"}
	}
	labels := map[string]bool{"instance": true, "job": true}
	for _, name := range names {
		if e[name] == nil {
			faults = append(faults, "series "+name)
		}
		for label := range e[name] {
			labels[label] = true
		}
	}
	for _, s := range selector.FindAllStringSubmatch(query, -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if m[1] != "job" && m[1] != "instance" {
				faults = append(faults, e.checkMatcher(s[1], m[1], m[3])...)
			}
		}
		if !strings.Contains(s[2], `job="tocsin"`) {
			faults = append(faults, s[0]+" takes other jobs' series")
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if !labels[strings.TrimSpace(label)] {
				faults = append(faults, "label "+label)
			}
		}
	}
	return faults
}

func (e exposition) checkMatcher(series, label, values string) (faults []string) {
	exposed, ok := e[series][label]
	if !ok {
		return []string{"label " + label + " of " + series}
	}
	for value := range strings.SplitSeq(values, "|") {
		if !slices.Contains(exposed, value) {
			faults = append(faults, "value "+value+" of "+series+"'s "+label)
		}
	}
	return faults
}

func TestTheCheckOfQueriesCanFail(t *testing.T) {
	e := scraped(t)
	for _, query := range []string{
		`1`,
		`tocsin_queue_size{job="tocsin"}`,
		`tocsin_delivery_seconds{job="tocsin"}`,
		`tocsin_lanes{job="tocsin", channel="webhook"}`,
		`tocsin_lanes{job="tocsin", state=~"open|shut"}`,
		`sum by (host) (tocsin_inflight{job="tocsin"})`,
		`tocsin_fd_used{}`,
	} {
		if len(e.check(query)) == 0 {
			t.Errorf("no fault is found in %s", query)
		}
	}
	if faults := e.check(`sum by (instance, channel, le) (rate(tocsin_delivery_seconds_bucket{job="tocsin", channel="smtp"}[5m]))`); len(faults) > 0 {
		t.Errorf("faults are found where none are: %q", faults)
	}
}
