package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/telemetry"
	"github.com/tocsin/tocsin/queue"
)

// TestDocumentedMetrics holds the names in docs/operations.md against what is
// exposed, in both directions, labels included.
func TestDocumentedMetrics(t *testing.T) {
	const main = "smtp:main"
	metrics := telemetry.New(telemetry.Options{Groups: []string{main}, Providers: []string{main}})
	metrics.SetSource(func() telemetry.Snapshot {
		return telemetry.Snapshot{
			Queues: []queue.Depth{{Queue: "intake"}},
			Engine: &dispatcher.Snapshot{
				Groups:    map[string]dispatcher.GroupSnapshot{main: {Lanes: map[string]int{"ready": 1}}},
				Providers: map[string]dispatcher.ProviderSnapshot{main: {Group: main, Breaker: "closed"}},
			},
		}
	})
	answer := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	series := regexp.MustCompile(`(?m)^(tocsin_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="[^"]*",?`)
	exposed := make(map[string]bool)
	for _, match := range series.FindAllStringSubmatch(answer.Body.String(), -1) {
		var labels []string
		for _, l := range label.FindAllStringSubmatch(match[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		exposed[match[1]+" "+strings.Join(labels, ",")] = true
	}
	documented := make(map[string]bool)
	cell := regexp.MustCompile("`(tocsin_\\w+)(?:\\{([\\w,]+)\\})?`")
	for line := range strings.Lines(section(t, readDoc(t, "docs/operations.md"), "## Metrics")) {
		if !strings.HasPrefix(line, "| `tocsin_") {
			continue
		}
		for _, match := range cell.FindAllStringSubmatch(line, -1) {
			labels := strings.Split(match[2], ",")
			slices.Sort(labels)
			documented[match[1]+" "+strings.Join(labels, ",")] = true
		}
	}
	for name := range exposed {
		if !documented[name] {
			t.Errorf("docs/operations.md does not have %s", name)
		}
	}
	for name := range documented {
		if !exposed[name] {
			t.Errorf("docs/operations.md has %s, which is not exposed", name)
		}
	}
}

// TestDocumentedConfigurations loads every configuration that people may copy.
func TestDocumentedConfigurations(t *testing.T) {
	environ := append([]string{"AMQP_PASSWORD=secret", "GRAFANA_TOKEN=grafana-token-0123456789", "GRAFANA_SECRET=grafana-secret-0123456789"}, senderKeys...)
	readme := slices.DeleteFunc(fences(readDoc(t, "README.md")), func(f fence) bool { return f.language != "yaml" })
	if len(readme) != 1 {
		t.Fatalf("the README has %d configurations, not 1", len(readme))
	}
	file := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(file, []byte(readme[0].text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, f := range fences(readDoc(t, "docs/intake.md")) {
		if f.language != "yaml" || strings.HasPrefix(f.text, "route:") || strings.HasPrefix(f.text, "apiVersion:") {
			continue // of a sender
		}
		name := filepath.Join(t.TempDir(), fmt.Sprintf("intake-%d.yaml", i))
		if err := os.WriteFile(name, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(name, environ); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{file, filepath.Join("..", "..", "docs", "samples", "tocsin.yaml")} {
		if _, err := config.Load(name, environ); err != nil {
			t.Error(err)
		}
	}
}

// TestDocumentedGroups holds what docs/producers.md and deploy/README.md say of the
// queues against those that an engine has.
func TestDocumentedGroups(t *testing.T) {
	cfg := config.Default()
	cfg.SMTP, cfg.SMPP = []config.SMTP{{Name: "ses"}, {Name: "spare"}}, []config.SMPP{{Name: "acme"}, {Name: "other"}}
	if got := newOutlets(cfg).groupNames(); !slices.Equal(got, []string{"webhook", "rss", "smtp:ses", "smpp:acme"}) {
		t.Errorf("the groups are %q", got)
	}
	doc := readDoc(t, "docs/producers.md")
	for _, said := range []string{"`webhook`", "`rss`", "`smtp:<name>`", "`smpp:<name>`", "`tocsin.deliver.smtp:ses.urgent`"} {
		if !strings.Contains(section(t, doc, "### What the engine declares"), said) {
			t.Errorf("docs/producers.md does not have %s", said)
		}
	}
	environ := []string{"TOCSIN_TOKEN=0123456789abcdef", "AMQP_PASSWORD=x", "SMTP_PASSWORD=x", "SMPP_PASSWORD=x"}
	for _, file := range []string{"systemd", "compose"} {
		cfg, err := config.Load(filepath.Join("..", "..", "deploy", file, "tocsin.yaml"), environ)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range newOutlets(cfg).groupNames() {
			if !strings.Contains(section(t, readDoc(t, "deploy/README.md"), "## RabbitMQ"), "`"+group+"`") {
				t.Errorf("deploy/README.md does not have the group %s of deploy/%s", group, file)
			}
		}
	}
}

// TestDocumentedDefaults holds the defaults in docs/configuration.md against the
// code's.
func TestDocumentedDefaults(t *testing.T) {
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(config.Default().Redacted()), &tree); err != nil {
		t.Fatal(err)
	}
	defaults := make(map[string]string)
	var flatten func(prefix string, tree map[string]any)
	flatten = func(prefix string, tree map[string]any) {
		for key, value := range tree {
			switch value := value.(type) {
			case map[string]any:
				if len(value) > 0 {
					flatten(prefix+key+".", value)
					continue
				}
				defaults[prefix+key] = "{}"
			case []any:
				texts := make([]string, len(value))
				for i, v := range value {
					texts[i] = fmt.Sprint(v)
					if entry, ok := v.(map[string]any); ok {
						texts[i] = inFlow(entry)
					}
				}
				defaults[prefix+key] = "[" + strings.Join(texts, ", ") + "]"
			default:
				defaults[prefix+key] = fmt.Sprint(value)
			}
		}
	}
	flatten("", tree)
	row := regexp.MustCompile("(?m)^\\| (?:\\*\\*)?`([a-z_.]+)`(?:\\*\\*)? \\| (?:`([^`]*)`)? ?\\|")
	seen := 0
	for _, match := range row.FindAllStringSubmatch(readDoc(t, "docs/configuration.md"), -1) {
		key, said := match[1], match[2]
		value, ok := defaults[key]
		if !ok {
			continue // a heading
		}
		seen++
		if d, err := time.ParseDuration(value); err == nil && d > 0 {
			documented, err := time.ParseDuration(said)
			if err != nil || documented != d {
				t.Errorf("%s: the default is %s, not %q", key, value, said)
			}
		} else if value != said {
			t.Errorf("%s: the default is %q, not %q", key, value, said)
		}
	}
	if seen != len(defaults) {
		t.Errorf("%d of %d keys are in the table", seen, len(defaults))
	}
}

// inFlow writes keys and values as YAML has them on one line.
func inFlow(entry map[string]any) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		list = append(list, fmt.Sprintf("%s: %v", key, entry[key]))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// TestDocumentedReceiver reads the receiver for Alertmanager as its YAML.
func TestDocumentedReceiver(t *testing.T) {
	var receiver string
	for _, f := range fences(section(t, readDoc(t, "docs/intake.md"), "## Alertmanager")) {
		if f.language == "yaml" && strings.HasPrefix(f.text, "route:") {
			receiver = f.text
		}
	}
	var file struct {
		Route struct {
			Receiver string   `yaml:"receiver"`
			GroupBy  []string `yaml:"group_by"`
		} `yaml:"route"`
		Receivers []struct {
			Name     string `yaml:"name"`
			Webhooks []struct {
				URL          string `yaml:"url"`
				SendResolved bool   `yaml:"send_resolved"`
				HTTP         struct {
					Authorization struct {
						File string `yaml:"credentials_file"`
					} `yaml:"authorization"`
				} `yaml:"http_config"`
			} `yaml:"webhook_configs"`
		} `yaml:"receivers"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(receiver), &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(file.Receivers) != 1 || len(file.Receivers[0].Webhooks) != 1 || file.Receivers[0].Name != file.Route.Receiver {
		t.Fatalf("the snippet reads as %+v", file)
	}
	if hook := file.Receivers[0].Webhooks[0]; hook.URL != docsAPI+"/v1/alerts" || !hook.SendResolved || hook.HTTP.Authorization.File == "" {
		t.Errorf("the receiver reads as %+v", hook)
	}
}

// TestDocumentedContactPoint reads the contact point for Grafana as its YAML, and has
// it sign as the source after it says.
func TestDocumentedContactPoint(t *testing.T) {
	samples := fencesOf(section(t, readDoc(t, "docs/intake.md"), "## Grafana"), "yaml")
	if len(samples) != 2 {
		t.Fatalf("there are %d samples, not 2: the contact point and the source", len(samples))
	}
	var file struct {
		Version int `yaml:"apiVersion"`
		Points  []struct {
			Name      string `yaml:"name"`
			Receivers []struct {
				UID        string `yaml:"uid"`
				Type       string `yaml:"type"`
				WithoutEnd bool   `yaml:"disableResolveMessage"`
				Settings   struct {
					URL    string `yaml:"url"`
					Method string `yaml:"httpMethod"`
					HMAC   struct {
						Secret    string `yaml:"secret"`
						Timestamp string `yaml:"timestampHeader"`
					} `yaml:"hmacConfig"`
				} `yaml:"settings"`
			} `yaml:"receivers"`
		} `yaml:"contactPoints"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(samples[0]), &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(file.Points) != 1 || len(file.Points[0].Receivers) != 1 {
		t.Fatalf("the sample reads as %+v", file)
	}
	got := file.Points[0].Receivers[0]
	if got.Type != "webhook" || got.WithoutEnd || got.Settings.URL != docsAPI+"/v1/alerts" || got.Settings.Method != http.MethodPost {
		t.Errorf("the contact point reads as %+v", got)
	}
	name := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(name, []byte(samples[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(name, []string{"GRAFANA_SECRET=grafana-secret-0123456789"})
	if err != nil {
		t.Fatal(err)
	}
	if h := cfg.Sources[0].HMAC; string(h.Form) != "grafana" || h.TimestampHeader != got.Settings.HMAC.Timestamp || got.Settings.HMAC.Secret != "$GRAFANA_SECRET" {
		t.Errorf("the contact point signs as %+v, the source wants %+v", got.Settings.HMAC, h.TimestampHeader)
	}
}
