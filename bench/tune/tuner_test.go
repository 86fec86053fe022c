package tune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/scenario"
)

// sweepOf is one that sets a variable to its own values.
func sweepOf(id, given string, values ...string) Sweep {
	return Sweep{ID: id, Title: id, Default: given, Values: variables(values, id), Seconds: 1}
}

// asked is what a trial of sweepOf sets.
func asked(trial Trial) string { return strings.Join(trial.Tuning.Env, " ") }

// tune runs sweeps with a measurement that is made up.
func tune(t *testing.T, rounds int, measure Measure, sweeps ...Sweep) (*result.File, []string, error) {
	t.Helper()
	var said []string
	file := &result.File{}
	tuner := &Tuner{Measure: measure, Rounds: rounds, Say: func(line string) { said = append(said, line) },
		Progress: func(string) {}, Save: func() error { return nil }}
	err := tuner.Run(t.Context(), sweeps, file)
	return file, said, err
}

func at(perS float64) *result.Measurement {
	return &result.Measurement{Deliveries: 100, Figures: result.Figures{PerS: perS, P99MS: 1000 / perS, PeakRSSMB: 50}, More: map[string]float64{}}
}

func TestValuesTakeTurns(t *testing.T) {
	var order []string
	measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
		order = append(order, asked(trial))
		if asked(trial) == "a=2" {
			return at(200 + float64(len(order))), nil
		}
		return at(100 + float64(len(order))), nil
	}
	file, said, err := tune(t, 5, measure, sweepOf("a", "1", "1", "2", "3"), sweepOf("b", "", "x", "y"))
	if err != nil {
		t.Fatal(err)
	}
	// By rounds, so that a value's trials are far from each other; every second
	// one backwards.
	want := "a=1 a=2 a=3 b=x b=y a=3 a=2 a=1 b=y b=x a=1 a=2 a=3 b=x b=y a=3 a=2 a=1 b=y b=x a=1 a=2 a=3 b=x b=y"
	if got := strings.Join(order, " "); got != want || len(said) != 25 {
		t.Errorf("in the order %s\nand %d lines said", got, len(said))
	}
	a, b := file.Sweeps[0], file.Sweeps[1]
	// Its trials were the 2nd, 7th, 12th, 17th and 22nd.
	if p := a.Points[1]; p.Value != "2" || p.PerS != 212 || p.Spread != 0.094 || p.PeakRSSMB != 50 {
		t.Errorf("%+v", p)
	}
	if a.Recommended != "2" || a.Default != "1" || b.Recommended != "" || len(b.Points) != 2 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestWhatCanNotBeTriedIsLeftOut(t *testing.T) {
	tries := 0
	measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
		if len(trial.Kernel) > 0 {
			tries++
			return nil, fmt.Errorf("%w: no namespaces today", scenario.ErrLeftOut)
		}
		return at(100), nil
	}
	kernel := Sweep{ID: "k", Title: "k", Values: settings("net.tea", "1", "2")}
	file, said, err := tune(t, 3, measure, kernel, sweepOf("a", "1", "1"))
	if err != nil || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
	k := file.Sweeps[0]
	if len(k.Points) != 0 || k.Recommended != "" || !strings.Contains(strings.Join(k.Notes, " "), "no namespaces today") {
		t.Errorf("%+v", k)
	}
	loud := slices.ContainsFunc(said, func(line string) bool {
		return strings.HasPrefix(line, "!! k") && strings.Contains(line, "no namespaces today")
	})
	if !loud || file.Sweeps[1].Points[0].PerS != 100 {
		t.Errorf("said %q, and then %+v", said, file.Sweeps[1])
	}
}

func TestAValueThatFails(t *testing.T) {
	tries := map[string]int{}
	measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
		name := asked(trial)
		tries[name]++
		m := at(100)
		switch name {
		case "a=breaks":
			return nil, errors.New("it fell over\nwith these last words")
		case "a=stumbles":
			if tries[name] == 2 {
				return nil, errors.New("somebody took its port")
			}
		case "a=loses":
			m.Lost = 3
		}
		return m, nil
	}
	file, _, err := tune(t, 3, measure, sweepOf("a", "breaks", "breaks", "loses", "works", "stumbles"))
	if err != nil {
		t.Fatal(err)
	}
	points := file.Sweeps[0].Points
	if points[0].PerS != 0 || points[0].Note != "failed: it fell over" || points[1].PerS != 0 || !strings.HasPrefix(points[1].Note, "3 had not arrived") ||
		points[2].PerS != 100 || points[3].PerS != 100 || points[3].Note != "" || file.Sweeps[0].Recommended != "works" {
		t.Errorf("%+v", file.Sweeps[0])
	}
	if tries["a=breaks"] != 2 || tries["a=loses"] != 1 || tries["a=works"] != 3 || tries["a=stumbles"] != 4 {
		t.Errorf("%v", tries)
	}
}

func TestABrokenPromiseIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(*result.Measurement)
		says   string
	}{
		"sent twice":   {func(m *result.Measurement) { m.Duplicates = 1 }, "1 sent twice"},
		"out of order": {func(m *result.Measurement) { m.OrderViolations = 2 }, "2 out of order"},
		"EMFILE":       {func(m *result.Measurement) { m.More[emfile] = 4 }, "too many open files"},
		"failures":     {func(m *result.Measurement) { m.More[scenario.FailedAttempts] = 5 }, "5 attempts failed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sweepOf("a", "1", "1", "2")
			s.Observe = atTheEdge
			measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
				m := at(100)
				if asked(trial) == "a=2" {
					test.damage(m)
				}
				return m, nil
			}
			file, _, err := tune(t, 1, measure, s)
			if err == nil || !strings.Contains(err.Error(), "a at 2") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v", err)
			}
			if p := file.Sweeps[0].Points; p[1].PerS != 0 || !strings.Contains(p[1].Note, test.says) || p[0].PerS != 100 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestADefaultThatIsKept(t *testing.T) {
	s := sweepOf("a", "1", "1", "2")
	s.Keep = "it protects somebody"
	measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
		if asked(trial) == "a=2" {
			return at(200), nil
		}
		return at(100), nil
	}
	file, _, err := tune(t, 5, measure, s)
	if err != nil {
		t.Fatal(err)
	}
	a := file.Sweeps[0]
	if notes := strings.Join(a.Notes, " "); a.Recommended != "1" || !strings.Contains(notes, "speak for 2") || !strings.Contains(notes, s.Keep) {
		t.Errorf("%+v", a)
	}
}

func TestAnInterruptionKeepsCompleteRounds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	trials := 0
	measure := func(ctx context.Context, trial Trial) (*result.Measurement, error) {
		if trials++; trials == 7 { // the first of the third round
			cancel()
			return nil, ctx.Err()
		}
		return at(float64(trials)), nil
	}
	saved := 0
	file := &result.File{}
	tuner := &Tuner{Measure: measure, Rounds: 5, Say: func(string) {}, Progress: func(string) {}, Save: func() error { saved++; return nil }}
	err := tuner.Run(ctx, []Sweep{sweepOf("a", "1", "1", "2"), sweepOf("b", "1", "1")}, file)
	if !errors.Is(err, context.Canceled) || trials != 7 || saved != 3 || !file.Interrupted {
		t.Fatalf("%v after %d trials, saved %d times", err, trials, saved)
	}
	a := file.Sweeps[0]
	// a was at 1, 2 and then, backwards, at 5, 4.
	if a.Points[0].PerS != 3 || a.Points[1].PerS != 3 || !slices.Contains(a.Notes, "2 of 5 rounds") || file.Sweeps[1].Points[0].PerS == 0 {
		t.Errorf("%+v, %+v", a, file.Sweeps[1])
	}
}

func TestTheLimitLeavesOutRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trials := map[string]int{}
		measure := func(_ context.Context, trial Trial) (*result.Measurement, error) {
			trials[asked(trial)]++
			time.Sleep(time.Minute)
			return at(100), nil
		}
		file := &result.File{}
		tuner := &Tuner{Measure: measure, Rounds: 3, Limit: 150 * time.Second, Say: func(string) {}, Progress: func(string) {}, Save: func() error { return nil }}
		if err := tuner.Run(t.Context(), []Sweep{sweepOf("a", "1", "1"), sweepOf("b", "1", "1"), sweepOf("c", "1", "1")}, file); err != nil {
			t.Fatal(err)
		}
		// The first round takes three minutes and is whole all the same.
		if trials["a=1"] != 1 || trials["c=1"] != 1 || !slices.Contains(file.Sweeps[2].Notes, "1 of 3 rounds") {
			t.Errorf("%v, %+v", trials, file.Sweeps[2])
		}
		// One round knows no noise that a value could be beyond.
		if notes := strings.Join(file.Sweeps[2].Notes, " "); !strings.Contains(notes, "less than 3 rounds") || strings.Contains(notes, "beyond the noise") {
			t.Errorf("of one round: %s", notes)
		}
	})
}
