package probe

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func panelOf(t interface{ Fatal(...any) }, saved map[string][]byte, now time.Time) *Panel {
	p, err := NewPanel(DefaultRules(), saved, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// see folds a result and returns its time.
func (p *Panel) see(t interface{ Fatal(...any) }, service, location string, ok bool, at time.Time) time.Time {
	if _, err := p.Fold([]Result{{Service: service, Location: location, OK: ok, At: at, Weight: 1000}}, at); err != nil {
		t.Fatal(err)
	}
	return at.Add(time.Second)
}

// takeUnsaved returns the states of services that changed.
func (p *Panel) takeUnsaved(t interface{ Fatal(...any) }) map[string][]byte {
	states, err := p.States(p.Changed())
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func TestAChangeWaitsUntilItIsReported(t *testing.T) {
	p := panelOf(t, nil, start)
	now := start
	for range 3 {
		now = p.see(t, "api", "a", false, now)
	}
	p.see(t, "web", "a", true, now)
	waiting := p.Waiting()
	if len(waiting) != 1 || waiting[0].Service != "api" || waiting[0].To != Down || !waiting[0].Began.Equal(waiting[0].At) {
		t.Fatalf("waiting: %+v", waiting)
	}
	states := p.takeUnsaved(t)
	if len(states) != 2 || states["api"] == nil || states["web"] == nil {
		t.Fatalf("to save: %v", states)
	}
	if again := panelOf(t, states, now).Waiting(); len(again) != 1 || again[0].To != Down {
		t.Errorf("after a crash waits %+v", again)
	}
	p.Reported(waiting[0])
	if again := p.Waiting(); len(again) != 0 {
		t.Errorf("still waiting: %+v", again)
	}
	states = p.takeUnsaved(t)
	if len(states) != 1 || states["api"] == nil {
		t.Errorf("to save after the report: %v", states)
	}
	if again := panelOf(t, states, now).Waiting(); len(again) != 0 {
		t.Errorf("after a crash waits %+v", again)
	}
	if states = p.takeUnsaved(t); len(states) != 0 {
		t.Errorf("saved twice: %v", states)
	}
}

// A report that failed may be known all the same.
func TestWhatMayBeKnownIsNotTakenBack(t *testing.T) {
	p := panelOf(t, nil, start)
	now := start
	for range 3 {
		now = p.see(t, "api", "a", false, now)
	}
	p.Waiting()
	saved := p.takeUnsaved(t)
	for _, p := range []*Panel{p, panelOf(t, saved, now)} {
		now := now
		for range 5 {
			now = p.see(t, "api", "a", true, now)
		}
		waiting := p.Waiting()
		if len(waiting) != 1 || waiting[0].To != Operational || !waiting[0].Began.Equal(start.Add(2*time.Second)) {
			t.Errorf("waiting: %+v", waiting)
		}
	}
}

func TestWhatChangesBackBeforeItIsReportedIsNotTold(t *testing.T) {
	p := panelOf(t, nil, start)
	now := start
	for range 3 {
		now = p.see(t, "api", "a", false, now)
	}
	for range 5 {
		now = p.see(t, "api", "a", true, now)
	}
	if waiting := p.Waiting(); len(waiting) != 0 {
		t.Errorf("waiting: %+v", waiting)
	}
}

func TestWhatChangesWhileItIsReportedIsToldAfterwards(t *testing.T) {
	p := panelOf(t, nil, start)
	now := start
	for range 3 {
		now = p.see(t, "api", "a", false, now)
	}
	down := p.Waiting()[0]
	for range 5 {
		now = p.see(t, "api", "a", true, now)
	}
	p.Reported(down)
	waiting := p.Waiting()
	if len(waiting) != 1 || waiting[0].From != Down || waiting[0].To != Operational {
		t.Errorf("waiting: %+v", waiting)
	}
}

func TestServicesAreBounded(t *testing.T) {
	p := panelOf(t, nil, start)
	results := make([]Result, MaxServices)
	for i := range results {
		results[i] = Result{Service: fmt.Sprint("s", i), Location: "a", OK: true, At: start, Weight: 1000}
	}
	if _, err := p.Fold(results, start); err != nil {
		t.Fatal(err)
	}
	more := []Result{{Service: "more", Location: "a", OK: true, At: start, Weight: 1000}}
	if _, err := p.Fold(more, start); err == nil {
		t.Error("one service too many was taken")
	}
	p.takeUnsaved(t)
	later := start.Add(forgetAfter)
	more[0].At = later
	if _, err := p.Fold(more, later); err != nil {
		t.Errorf("no room was made: %v", err)
	}
	if states := p.takeUnsaved(t); len(states) != 2 {
		t.Errorf("%d services to save, want the new one and the forgotten one", len(states))
	}
	if all := p.All(later); len(all) != MaxServices {
		t.Errorf("%d services", len(all))
	}
}

// A panel that is restarted from what was saved, at any moment, says what one that
// never stopped says.
func TestRestartsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole, now := panelOf(t, nil, start), start
		restarted, saved := panelOf(t, nil, start), map[string][]byte{}
		report := func(p *Panel) (told []Change) {
			for _, c := range p.Waiting() {
				p.Reported(c)
				told = append(told, c)
			}
			return told
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 90_000).Draw(t, "ms")) * time.Millisecond)
			r := Result{
				Service:  rapid.SampledFrom([]string{"api", "web"}).Draw(t, "service"),
				Location: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "location"),
				OK:       rapid.IntRange(0, 3).Draw(t, "ok") > 1,
				Latency:  time.Duration(rapid.IntRange(0, 1000).Draw(t, "latency")) * time.Millisecond,
				At:       now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "late")) * time.Millisecond),
				Weight:   rapid.Int64Range(1, 3000).Draw(t, "weight"),
			}
			for _, p := range []*Panel{whole, restarted} {
				p.Tick(now)
				if _, err := p.Fold([]Result{r}, now); err != nil {
					t.Fatal(err)
				}
			}
			if a, b := report(whole), report(restarted); !reflect.DeepEqual(a, b) {
				t.Fatalf("without a restart %+v, with one %+v", a, b)
			}
			if rapid.Bool().Draw(t, "restart") {
				maps.Copy(saved, restarted.takeUnsaved(t))
				restarted = panelOf(t, saved, now)
			}
		}
	})
}

// Whoever is told, and keeps only the last that was said, knows in the end how a
// service is, whenever the process dies between seeing, saving and reporting.
func TestACrashLosesNoChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, saved, now := panelOf(t, nil, start), map[string][]byte{}, start
		known := Operational // by whoever is told
		round := func(steps int) {
			waiting := p.Waiting()
			if steps > 0 {
				maps.Copy(saved, p.takeUnsaved(t))
			}
			for _, c := range waiting {
				if steps > 1 {
					known = c.To
				}
				if steps > 2 {
					p.Reported(c)
				}
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = p.see(t, "api", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "location"), rapid.Bool().Draw(t, "ok"), now)
			switch steps := rapid.IntRange(-1, 3).Draw(t, "round"); {
			case steps < 0:
			case steps < 3:
				round(steps)
				p = panelOf(t, saved, now) // a crash in the middle
			default:
				round(3)
			}
		}
		for range 5 {
			p.Tick(now)
			for _, location := range []string{"a", "b"} {
				now = p.see(t, "api", location, true, now)
			}
		}
		p.Tick(now.Add(DefaultRules().Settle))
		round(3)
		if known != Operational {
			t.Fatalf("it is known as %v", known)
		}
	})
}

// What is told alternates, a service is never told to be what it was, and it isn't
// told more often than flapping allows.
func TestToldChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := panelOf(t, nil, start), start
		rules := DefaultRules()
		health := Operational
		var better []time.Time
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			now = p.see(t, "api", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "location"),
				rapid.Bool().Draw(t, "ok"), now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "s"))*time.Second))
			for _, c := range p.Waiting() {
				if c.From != health || c.To == health {
					t.Fatalf("told %v to %v, but it was %v", c.From, c.To, health)
				}
				if c.To < health {
					better = append(better, now)
				}
				health = c.To
				p.Reported(c)
			}
		}
		for i := range better {
			if i+rules.FlapChanges < len(better) && better[i+rules.FlapChanges].Sub(better[i]) < rules.Settle {
				t.Fatalf("told to be better %d times from %v to %v", rules.FlapChanges+1, better[i], better[i+rules.FlapChanges])
			}
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for _, locations := range []int{5, MaxLocations} {
		b.Run(fmt.Sprint(locations, " locations"), func(b *testing.B) {
			p := panelOf(b, nil, start)
			now := start
			names := make([]string, locations)
			for i := range names {
				names[i] = fmt.Sprint("location-", i)
			}
			results := make([]Result, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now = now.Add(time.Millisecond)
				results[0] = Result{Service: "api", Location: names[i%locations], OK: true, At: now, Weight: 1000}
				if _, err := p.Fold(results, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
