package result

import "fmt"

// Goal is what a scenario must reach, and where it aims.
type Goal struct {
	// Of names the figure: per_s, wall_s, p99_ms, peak_rss_mb.
	Of string `json:"of"`
	// Against names the floor whose figure divides the engine's; "" compares the
	// figure itself.
	Against string `json:"against,omitempty"`
	// AtMost is for figures that should be small.
	AtMost bool `json:"at_most"`
	// Must is 0 for a ratio that is only aimed at.
	Must float64 `json:"must"`
	// Aim is Must where nothing further is asked for.
	Aim float64 `json:"aim"`
	// Value is what was reached; null if a side is missing.
	Value *float64 `json:"value"`
	// Judged is false for figures that depend on the size, where that is not the
	// one the goal is for, and where there is no value.
	Judged bool `json:"judged"`
	// Met and Aimed say whether Must and Aim are reached.
	Met   bool `json:"met"`
	Aimed bool `json:"aimed"`
}

// judge fills in what was reached.
func (g *Goal) judge(engine *Side, floors map[string]*Side, small bool) {
	g.Value, g.Judged, g.Met, g.Aimed = nil, false, false, false
	if engine == nil {
		return
	}
	value := engine.Figure(g.Of)
	if g.Against != "" {
		floor := floors[g.Against]
		if floor == nil || floor.Figure(g.Of) == 0 {
			return
		}
		value /= floor.Figure(g.Of)
	}
	value = Round(value)
	g.Value = &value
	g.Judged = !small || g.Against != ""
	g.Met, g.Aimed = g.reached(value, g.Must), g.reached(value, g.Aim)
}

func (g *Goal) reached(value, bound float64) bool {
	if g.AtMost {
		return value <= bound
	}
	return value >= bound
}

// String says the goal as in "per_s ≥ 0.65 × raw".
func (g *Goal) String() string {
	sign := "≥"
	if g.AtMost {
		sign = "≤"
	}
	text := fmt.Sprintf("%s %s %s", g.Of, sign, Number(g.Must))
	if g.Must == 0 {
		return fmt.Sprintf("%s × %s, aimed at", g.Of, g.Against)
	}
	if g.Against != "" {
		text += " × " + g.Against
	}
	return text
}

// Judge computes ratio, spread and goals of a scenario from its sides. goals are as
// the scenario states them; the first gives the ratio. Of what was made smaller than
// the goals are for, ratios alone are judged.
func (s *Scenario) Judge(goals []Goal, small bool) {
	floors := make(map[string]*Side)
	for _, f := range append([]*Side{s.Floor}, s.Others...) {
		if f != nil {
			floors[f.Name] = f
		}
	}
	s.Goals, s.Met, s.Ratio, s.Must, s.Aim, s.Spread, s.RatioOf = nil, true, nil, nil, nil, 0, ""
	for i, g := range goals {
		g.judge(s.Engine, floors, small)
		s.Met = s.Met && (g.Met || !g.Judged)
		if i == 0 {
			s.Must, s.Aim, s.RatioOf = &g.Must, &g.Aim, g.Of
			if g.Against != "" {
				s.Ratio = g.Value
			}
		}
		s.Goals = append(s.Goals, g)
	}
	for _, side := range []*Side{s.Engine, s.Floor} {
		if side == nil {
			continue
		}
		s.Spread = max(s.Spread, side.Spreads[s.RatioOf])
		for _, m := range side.Rounds {
			if side == s.Engine {
				s.Lost, s.Duplicates, s.OrderViolations = s.Lost+m.Lost, s.Duplicates+m.Duplicates, s.OrderViolations+m.OrderViolations
			}
		}
	}
	// Without the engine's figures nothing was shown.
	s.Met = s.Met && s.Engine != nil
}
