package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/bench/run"
)

// peers is what people call the far side's process.
const peers = "peers"

// processName is what people call a process.
func processName(name string) string {
	switch name {
	case "sink", "centre", "reader":
		return peers
	}
	return name
}

// class is a process' or a side's colour.
func class(name string) string {
	switch name = processName(name); name {
	case "engine", "floor", "demo", peers:
		return name
	}
	return "other"
}

// over is the median over the rounds of what there is; 0 if there is nothing.
func over(side *result.Side, of func(*result.Measurement) float64) float64 {
	var values []float64
	for _, m := range present(side.Rounds) {
		if v := usable(of(m)); v > 0 {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0
	}
	median, _ := result.Sum(values)
	return median
}

// ownMicros is what a delivery cost the side's own process, in microseconds of CPU.
func ownMicros(side *result.Side) float64 {
	return over(side, func(m *result.Measurement) float64 { return micros(m.CPUS, m.Deliveries) })
}

// peersMicros is what a delivery cost the far side.
func peersMicros(side *result.Side) float64 {
	return over(side, func(m *result.Measurement) float64 {
		seconds := 0.0
		for name, u := range m.Processes {
			if processName(name) == peers {
				seconds += u.CPUS()
			}
		}
		return micros(seconds, m.Deliveries)
	})
}

// processMicros is what a delivery cost another process.
func processMicros(side *result.Side, name string) float64 {
	return over(side, func(m *result.Measurement) float64 {
		u := m.Processes[name]
		return micros(u.CPUS(), m.Deliveries)
	})
}

func micros(seconds float64, deliveries int) float64 {
	if deliveries <= 0 {
		return 0
	}
	return seconds / float64(deliveries) * 1e6
}

// typical is the round in the middle, by the figure that the scenario is about; nil
// if there is none.
func typical(side *result.Side, of string) *result.Measurement {
	rounds := present(side.Rounds)
	if len(rounds) == 0 {
		return nil
	}
	slices.SortStableFunc(rounds, func(a, b *result.Measurement) int {
		return cmp.Compare(figure(&a.Figures, of), figure(&b.Figures, of))
	})
	return rounds[(len(rounds)-1)/2]
}

// usages are what each process cost, medians over the rounds.
func usages(s *result.Scenario) (all []usage) {
	for _, side := range sides(s) {
		names := make(map[string]bool)
		for _, m := range present(side.Rounds) {
			for name := range m.Processes {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			of := func(figure func(u run.Usage) float64) string {
				return number(over(side, func(m *result.Measurement) float64 { return figure(m.Processes[name]) }))
			}
			u := usage{Side: side.Name, Process: processName(name), Micros: number(processMicros(side, name)),
				User:      of(func(u run.Usage) float64 { return u.UserS }),
				Sys:       of(func(u run.Usage) float64 { return u.SysS }),
				RSS:       of(func(u run.Usage) float64 { return u.PeakRSSMB }),
				Files:     of(func(u run.Usage) float64 { return float64(u.MaxFDs) }),
				Switches:  of(func(u run.Usage) float64 { return float64(u.Switches) }),
				Preempted: of(func(u run.Usage) float64 { return float64(u.Preempted) })}
			if name == side.Name || name == "floor" { // its own word is of the measured part alone
				u.Micros = number(ownMicros(side))
			}
			all = append(all, u)
		}
	}
	return all
}

// mores are the figures that only this scenario has.
func mores(s *result.Scenario) (all []more) {
	for _, side := range sides(s) {
		names := make(map[string]bool)
		for _, m := range present(side.Rounds) {
			for name := range m.More {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			all = append(all, more{side.Name, name, number(over(side, func(m *result.Measurement) float64 { return m.More[name] }))})
		}
	}
	return all
}

// driven is the rate at which requests were offered whether or not they were
// answered, a second; 0 where everything came at once.
func driven(side *result.Side) float64 {
	return over(side, func(m *result.Measurement) float64 { return m.More["offered_per_s"] })
}

// timing says how latency was taken.
func timing(s *result.Scenario) string {
	if s.Engine == nil || s.Engine.P99MS == 0 {
		return ""
	}
	if rate := driven(s.Engine); rate > 0 {
		return fmt.Sprintf("Latency is corrected for coordinated omission: requests are due at %s a second, and each counts from when it was due, whether or not it could be sent then.", number(rate))
	}
	text := "No rate is driven here: everything is there at once, and the engine's latency is from the acceptance of the update to the peer's answer, waiting included."
	if s.Floor != nil && s.Floor.P99MS > 0 && s.Floor.Name != "w1" {
		text += " The floor's is of the single request, which waits for nothing: the two are not the same figure."
	}
	return text
}

// noise is the share of the CPU that others took, at most, in percent.
func noise(s *result.Scenario) (most float64) {
	for _, side := range sides(s) {
		for _, m := range present(side.Rounds) {
			most = max(most, usable(m.ForeignPercent))
		}
	}
	return min(most, 100)
}

func newPart(s *result.Scenario, r row) part {
	p := part{row: r, Timing: timing(s), Usage: usages(s), More: mores(s)}
	for _, name := range slices.Sorted(maps.Keys(s.Size)) {
		if p.Size != "" {
			p.Size += ", "
		}
		unit := name
		if s.Size[name] == 1 {
			unit = strings.TrimSuffix(name, "s")
		}
		p.Size += number(float64(s.Size[name])) + " " + unit
	}
	if most := noise(s); most > 0 {
		p.Noise = fmt.Sprintf("others took up to %.0f %% of the CPU", most)
	}
	for _, c := range []*chart{roundsChart(s), latencyChart(s), memoryChart(s), filesChart(s)} {
		if c != nil {
			p.Charts = append(p.Charts, c)
		}
	}
	return p
}
