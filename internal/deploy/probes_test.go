package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/senders"
)

// TestProbeSamples has promtool read the scrapes and try the rules.
func TestProbeSamples(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "probes.rules.yml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, "samples/"+name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "promtool", "check", "config", filepath.Join(dir, "prometheus.yml"))
	tool(t, "promtool", "check", "rules", filepath.Join(dir, "probes.rules.yml"))
	tool(t, "promtool", "test", "rules", "testdata/probes.rules.test.yml")

	var scrapes struct {
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
			Params  struct{ Module []string }
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "samples/prometheus.yml", &scrapes)
	var exporter struct{ Modules map[string]any }
	readYAML(t, "samples/blackbox.yml", &exporter)
	if s := scrapes.ScrapeConfigs; len(s) != 1 || s[0].JobName != "probes" || len(s[0].Params.Module) != 1 || exporter.Modules[s[0].Params.Module[0]] == nil {
		t.Errorf("the scrapes are %+v, want the job that the rules name, with one of the exporter's modules %v", s, exporter.Modules)
	}
}

// TestProbeRulesBecomeIncidents gives what the rules make to the reader of alerts: those
// with a page say of what and how bad.
func TestProbeRulesBecomeIncidents(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, For          string
				Labels, Annotations map[string]string
			}
		}
	}
	readYAML(t, "samples/probes.rules.yml", &file)
	tried := read(t, "../internal/deploy/testdata/probes.rules.test.yml")
	reader, err := senders.NewAlertmanager(senders.DefaultAlertMapping())
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, rule := range file.Groups[0].Rules {
		if rule.For != "5m" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s: for %q, or its texts are missing", rule.Alert, rule.For)
		}
		if !strings.Contains(tried, "alertname: "+rule.Alert+",") {
			t.Errorf("%s is never tried", rule.Alert)
		}
		if rule.Labels["page"] == "" {
			continue
		}
		rule.Labels["component"] = "checkout" // by the expression
		body, err := json.Marshal(map[string]any{"version": "4", "groupKey": "{}", "alerts": []any{map[string]any{
			"status": "firing", "startsAt": "2026-11-21T05:00:00Z", "labels": rule.Labels, "annotations": rule.Annotations,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		reports, err := reader.Reports(body)
		if err != nil {
			t.Fatal(err)
		}
		s := reports[0].Signals[0]
		if reports[0].Page != "default" || !slices.Equal(s.Components, []string{"checkout"}) || s.Title == "" || s.Message == "" {
			t.Errorf("%s is reported as %+v", rule.Alert, reports[0])
		}
		told = append(told, rule.Alert+" "+string(s.Impact))
	}
	want := []string{"ServiceDown " + string(incident.ImpactCritical), "ServiceDegraded " + string(incident.ImpactMinor), "ServiceSlow " + string(incident.ImpactMinor)}
	if !slices.Equal(told, want) {
		t.Errorf("told of are %q, want %q", told, want)
	}
}
