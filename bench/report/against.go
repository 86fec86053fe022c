package report

import (
	"fmt"

	"github.com/tocsin/tocsin/bench/result"
)

// ratio is a bar: a goal whose value is the engine's figure through a floor's.
type ratio struct {
	id, floor string
	goal      result.Goal
	rounds    []float64 // the engine's rounds through the floor's median
}

// against are the charts of ratios: throughput, where more is better, and what
// should be small.
func against(scenarios []*result.Scenario) (all []*chart) {
	var more, less []ratio
	for _, s := range scenarios {
		for _, g := range goals(s) {
			if g.Against == "" || g.Value == nil || usable(*g.Value) == 0 {
				continue
			}
			r := ratio{id: s.ID, floor: g.Against, goal: g, rounds: roundRatios(s, g)}
			if g.AtMost {
				less = append(less, r)
			} else {
				more = append(more, r)
			}
		}
	}
	if len(more) > 0 {
		all = append(all, ratioChart("Throughput against the floor: longer is better", more))
	}
	if len(less) > 0 {
		all = append(all, ratioChart("Time against the floor: shorter is better", less))
	}
	return all
}

// roundRatios divides each of the engine's rounds by the floor's median, as the goal
// does with the medians.
func roundRatios(s *result.Scenario, g result.Goal) (all []float64) {
	for _, floor := range sides(s) {
		if floor == s.Engine || s.Engine == nil || floor.Name != g.Against {
			continue
		}
		under := figure(&floor.Figures, g.Of)
		for _, m := range present(s.Engine.Rounds) {
			if over := figure(&m.Figures, g.Of); under > 0 && over > 0 {
				all = append(all, over/under)
			}
		}
	}
	return all
}

const (
	barRow  = 34
	barHigh = 12
	// mostRatio is where the axis ends at the latest: a bar beyond is cut off, with
	// its figure beside it.
	mostRatio = 2.5
)

func ratioChart(title string, rows []ratio) *chart {
	most := 1.05
	for _, r := range rows {
		for _, v := range append([]float64{*r.goal.Value, r.goal.Must, r.goal.Aim}, r.rounds...) {
			most = max(most, min(usable(v)*1.05, mostRatio))
		}
	}
	c := &chart{Label: title, Width: width, Height: px(len(rows)*barRow + 50)}
	a := area{left: 4, right: width - 8, top: 12, bottom: float64(len(rows)*barRow) + 16}
	c.xAxis(&a, "engine ÷ floor (the floor is 1)", most)
	c.line("one", a.x.at(1), a.top-4, a.x.at(1), a.bottom)
	for i, r := range rows {
		y := a.top + float64(i*barRow)
		value := *r.goal.Value
		class := "bar good"
		switch {
		case !r.goal.Judged || aimOnly(r.goal) && !r.goal.Aimed:
			class = "bar none"
		case !r.goal.Met:
			class = "bar bad"
		}
		tip := fmt.Sprintf("%s: %s × %s; must %s, aim %s", r.id, number(value), r.floor, number(r.goal.Must), number(r.goal.Aim))
		c.text("name", "start", a.left, y+10, clip(r.id, 16)+" ÷ "+clip(r.floor, 16))
		c.text("value", "end", a.right, y+10, number(value))
		c.rect(class, a.left, y+15, a.x.at(value)-a.left, barHigh, tip)
		if value > a.x.most {
			c.text("cut", "end", a.right-3, y+25, "»")
		}
		if r.goal.Must > 0 {
			c.line("must", a.x.at(r.goal.Must), y+12, a.x.at(r.goal.Must), y+30)
		}
		if r.goal.Aim != r.goal.Must {
			c.line("aim", a.x.at(r.goal.Aim), y+12, a.x.at(r.goal.Aim), y+30)
		}
		for _, v := range r.rounds {
			if v <= a.x.most {
				c.dot("round", a.x.at(v), y+15+barHigh/2, "a round: "+number(v))
			}
		}
	}
	c.key("must", "must")
	c.key("aim", "aim")
	c.key("one", "the floor")
	c.key("round", "a round of the engine, over the floor's median")
	return c
}

// roundsChart shows each round of each side, so that one sees how sure the median
// is; nil if there are none.
func roundsChart(s *result.Scenario) *chart {
	of := s.RatioOf
	name, unit, known := word(of)
	if !known {
		of = result.PerS
		name, unit, _ = word(of)
	}
	all, most := sides(s), 0.0
	for _, side := range all {
		most = max(most, figure(&side.Figures, of))
		for _, m := range present(side.Rounds) {
			most = max(most, figure(&m.Figures, of))
		}
	}
	if most == 0 {
		return nil
	}
	c := &chart{Label: fmt.Sprintf("Rounds: %s", name), Width: width, Height: px(len(all)*barRow + 50)}
	a := area{left: 8, right: width - 14, top: 12, bottom: float64(len(all)*barRow) + 16}
	c.xAxis(&a, name+", "+unit, most*1.02)
	for i, side := range all {
		y := a.top + float64(i*barRow)
		class := "engine"
		if side != s.Engine {
			class = "floor"
		}
		median := figure(&side.Figures, of)
		c.text("name", "start", a.left, y+10, clip(side.Name, 24))
		c.text("value", "end", a.right, y+10, number(median))
		c.line("rail", a.left, y+21, a.right, y+21)
		if median > 0 {
			c.line("median "+class, a.x.at(median), y+14, a.x.at(median), y+28)
		}
		for n, m := range present(side.Rounds) {
			if v := figure(&m.Figures, of); v > 0 {
				c.dot(class, a.x.at(v), y+21, fmt.Sprintf("round %d: %s", n+1, number(v)))
			}
		}
	}
	c.key("dot engine", "a round of the engine")
	if len(all) > 1 {
		c.key("dot floor", "of a floor")
	}
	c.key("median", "median")
	return c
}
