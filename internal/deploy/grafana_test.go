package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			RefID string
			Expr  string
		}
		FieldConfig struct{ Defaults struct{ Unit string } }
	}
	Templating struct {
		List []struct {
			Name  string
			Type  string
			Query json.RawMessage
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana/tocsin.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("the dashboard is empty")
	}
	return d
}

func TestDashboardNamesWhatIsExposed(t *testing.T) {
	e := scraped(t)
	shown := make(map[string]bool)
	for _, p := range readDashboard(t).Panels {
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q, shows nothing", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			if strings.TrimSpace(target.Expr) == "" {
				t.Errorf("%s: the query %s is empty", p.Title, target.RefID)
			}
			for _, fault := range e.check(target.Expr) {
				t.Errorf("%s: no engine exposes this: %s", p.Title, fault)
			}
			for _, name := range seriesName.FindAllString(target.Expr, -1) {
				shown[strings.TrimSuffix(name, "_bucket")] = true
			}
			if want := unitOf(target.Expr); p.FieldConfig.Defaults.Unit != want {
				t.Errorf("%s: the unit is %q, want %q for %s", p.Title, p.FieldConfig.Defaults.Unit, want, target.Expr)
			}
		}
	}
	// Everything an engine says of itself has its place.
	for name := range e {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "tocsin_") && name != "tocsin_build_info" && !shown[base] {
			t.Errorf("no panel shows %s", base)
		}
	}
}

// unitOf names Grafana's unit for a query, by the unit that the name of its series
// ends with.
func unitOf(query string) string {
	switch {
	case strings.Contains(query, "_seconds"):
		return "s"
	case strings.Contains(query, "_bytes"):
		return "bytes"
	case strings.Contains(query, "rate("):
		return "cps"
	case strings.Contains(query, " / "):
		return "percentunit"
	}
	return "none"
}

// TestDashboardQueriesParse has Prometheus read every query, as a rule.
func TestDashboardQueriesParse(t *testing.T) {
	t.Parallel()
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	type group struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", "a")
	queries := group{Name: "dashboard"}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			name := "panel:" + regexp.MustCompile(`\W`).ReplaceAllString(p.Title+target.RefID, "_")
			queries.Rules = append(queries.Rules, rule{name, variables.Replace(target.Expr)})
		}
	}
	text, err := yaml.Marshal(map[string][]group{"groups": {queries}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.rules.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "promtool", "check", "rules", file)
}

func TestDashboardIsLaidOut(t *testing.T) {
	const columns = 24
	d := readDashboard(t)
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > columns {
			t.Errorf("%s lies outside: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s and %s cover each other", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	text := read(t, "grafana/tocsin.json")
	for _, v := range d.Templating.List {
		if !strings.Contains(text, "$"+v.Name) && !strings.Contains(text, "${"+v.Name+"}") {
			t.Errorf("nothing uses the variable %s", v.Name)
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?([a-z]+)\b`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, `"name": "`+m[1]+`"`) {
			t.Errorf("the variable %s is not defined", m[1])
		}
	}
}
