package tune

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bench/scenario"
)

const files = 65536

func TestTheTable(t *testing.T) {
	seen := map[string]bool{}
	scenarios := scenario.Table()
	for _, s := range Table(files) {
		if seen[s.ID] || s.Title == "" || s.Seconds <= 0 || len(s.Values) < 2 {
			t.Errorf("%s says too little, or is there twice", s.ID)
		}
		seen[s.ID] = true
		names := map[string]bool{}
		for i := range s.Values {
			if v := &s.Values[i]; names[v.Name] || v.Name == "" {
				t.Errorf("%s has the value %q twice", s.ID, v.Name)
			}
			names[s.Values[i].Name] = true
		}
		// What isn't Linux's or the engine's own has no default.
		if !names[s.Default] && s.ID != "source_ports" {
			t.Errorf("%s: its default %q is not tried", s.ID, s.Default)
		}
		known := slices.ContainsFunc(scenarios, func(c scenario.Scenario) bool {
			return c.ID == s.Trial.Scenario && slices.ContainsFunc(c.Results, func(r scenario.Result) bool {
				return r.ID == s.Trial.Result && (s.Trial.Floor == "" || slices.ContainsFunc(r.Floors, func(f scenario.Floor) bool { return f.Name == s.Trial.Floor }))
			})
		})
		if !known {
			t.Errorf("%s: there is no %s with a result %s", s.ID, s.Trial.Scenario, s.Trial.Result)
		}
	}
}

// TestValuesDiffer wants each trial to be one that no other value of the sweep makes,
// however often it is asked for.
func TestValuesDiffer(t *testing.T) {
	for _, s := range Table(files) {
		var trials []Trial
		for i := range s.Values {
			trials = append(trials, s.trial(&s.Values[i]))
		}
		for i := range trials {
			if again := s.trial(&s.Values[i]); !reflect.DeepEqual(again, trials[i]) {
				t.Errorf("%s at %s: %+v, and the second time %+v", s.ID, s.Values[i].Name, trials[i], again)
			}
			for k := range i {
				if reflect.DeepEqual(trials[i], trials[k]) {
					t.Errorf("%s is the same at %s and at %s", s.ID, s.Values[i].Name, s.Values[k].Name)
				}
			}
		}
	}
}

func TestAllOfItFitsIntoTwentyMinutes(t *testing.T) {
	var expected time.Duration
	for _, s := range Table(files) {
		expected += s.Expected(3)
	}
	if expected > 20*time.Minute {
		t.Errorf("it is to take %v", expected)
	}
}

// TestDefaultsAreThoseOfTheEngine holds the sweeps of settings of the configuration
// against its documentation, which is tested against the code.
func TestDefaultsAreThoseOfTheEngine(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for id, key := range map[string]string{"dial_gate": "egress.gate", "handshake_gate": "egress.gate", "tls_sessions": "egress.sessions",
		"admission": "admission", "admission_held": "admission", "host_window": "webhook.window"} {
		chosen, err := Select(Table(files), []string{id})
		if err != nil {
			t.Fatal(err)
		}
		if line := "| `" + key + "` | `" + chosen[0].Default + "` |"; !strings.Contains(string(docs), line) {
			t.Errorf("%s: docs/configuration.md has no %s", id, line)
		}
	}
}

func TestLimitsStayBelowTheHardOne(t *testing.T) {
	for hard, want := range map[int]string{20_000: "1024 4096 20000", 4096: "1024 4096", 2000: "1024 2000", 512: "512"} {
		var got []string
		for _, v := range limits(hard, 1024, 4096) {
			got = append(got, v.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("with a hard limit of %d: %v", hard, got)
		}
	}
}

func TestSelect(t *testing.T) {
	table := Table(files)
	chosen, err := Select(table, []string{"gogc", "dial_gate"})
	if err != nil || len(chosen) != 2 || chosen[0].ID != "dial_gate" || chosen[1].ID != "gogc" {
		t.Errorf("%+v, %v", chosen, err)
	}
	if all, err := Select(table, nil); err != nil || len(all) != len(table) {
		t.Errorf("%d of %d, %v", len(all), len(table), err)
	}
	if _, err := Select(table, []string{"gogc", "tea"}); err == nil || !strings.Contains(err.Error(), `"tea"`) {
		t.Errorf("a sweep of tea: %v", err)
	}
}
