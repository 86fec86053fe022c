package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Alert       string
			Expr        string
			Labels      map[string]string
			Annotations map[string]string
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func TestAlertRulesNameWhatIsExposed(t *testing.T) {
	var file ruleFile
	readYAML(t, "prometheus/tocsin.rules.yml", &file)
	e := scraped(t)
	tried, err := os.ReadFile("testdata/tocsin.rules.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			count++
			for _, fault := range e.check(rule.Expr) {
				t.Errorf("%s: no engine exposes this: %s", rule.Alert, fault)
			}
			if !strings.Contains(string(tried), `alertname="`+rule.Alert+`"`) {
				t.Errorf("%s is never seen firing in testdata/tocsin.rules.test.yml", rule.Alert)
			}
			if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s has the severity %q", rule.Alert, severity)
			}
			if _, public := rule.Labels["page"]; public {
				t.Errorf("%s is told to the subscribers of a page", rule.Alert)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s does not say what to do", rule.Alert)
			}
		}
	}
	if count == 0 {
		t.Error("there is no alert")
	}
}

func TestAlertRulesFire(t *testing.T) {
	t.Parallel()
	tool(t, "promtool", "test", "rules", "testdata/tocsin.rules.test.yml")
}

// TestPrometheusReadsItsConfiguration checks it where the token is, as promtool
// looks for that and for the rules.
func TestPrometheusReadsItsConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"prometheus.yml":   read(t, "prometheus/prometheus.yml"),
		"tocsin.rules.yml": read(t, "prometheus/tocsin.rules.yml"),
		"tocsin.token":     "a-token-of-the-engine\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "promtool", "check", "config", filepath.Join(dir, "prometheus.yml"))

	var file struct {
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			Authorization struct {
				CredentialsFile string `yaml:"credentials_file"`
			} `yaml:"authorization"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "prometheus/prometheus.yml", &file)
	if s := file.ScrapeConfigs; len(s) != 1 || s[0].JobName != "tocsin" || s[0].Authorization.CredentialsFile == "" {
		t.Errorf("the scrapes are %+v, want the job that the rules name, with a token", s)
	}
}

func TestAlertmanagerReadsItsConfiguration(t *testing.T) {
	t.Parallel()
	tool(t, "amtool", "check-config", filepath.Join(root, "alertmanager/alertmanager.yml"))

	var file struct {
		Route struct {
			Receiver string `yaml:"receiver"`
		} `yaml:"route"`
		Receivers []struct {
			Name           string `yaml:"name"`
			WebhookConfigs []struct {
				URL          string `yaml:"url"`
				SendResolved bool   `yaml:"send_resolved"`
				HTTPConfig   struct {
					Authorization struct {
						CredentialsFile string `yaml:"credentials_file"`
					} `yaml:"authorization"`
				} `yaml:"http_config"`
			} `yaml:"webhook_configs"`
		} `yaml:"receivers"`
	}
	readYAML(t, "alertmanager/alertmanager.yml", &file)
	for _, r := range file.Receivers {
		if r.Name != "tocsin" {
			continue
		}
		if len(r.WebhookConfigs) != 1 || !strings.HasSuffix(r.WebhookConfigs[0].URL, "/v1/alerts") ||
			!r.WebhookConfigs[0].SendResolved || r.WebhookConfigs[0].HTTPConfig.Authorization.CredentialsFile == "" {
			t.Errorf("the receiver is %+v, want /v1/alerts with a token, told of ends too", r)
		}
		if file.Route.Receiver == r.Name {
			t.Error("alerts without a page are told to subscribers")
		}
		return
	}
	t.Error("there is no receiver tocsin")
}
