package report

import (
	"slices"

	"github.com/tocsin/tocsin/bench/result"
)

func newSweep(s *result.Sweep) sweep {
	all := sweep{Sweep: s, Chart: sweepChart(s)}
	for _, p := range s.Points {
		row := sweepRow{Value: p.Value, PerS: number(p.PerS), Spread: "–", P99: number(p.P99MS), RSS: number(p.PeakRSSMB), Note: p.Note,
			Default: p.Value == s.Default, Recommended: s.Recommended != "" && p.Value == s.Recommended}
		if usable(p.Spread) > 0 {
			row.Spread = percent(p.Spread)
		}
		all.Points = append(all.Points, row)
	}
	return all
}

// panel is one figure of a sweep over its values.
type panel struct {
	name, class string
	of          func(result.SweepPoint) float64
}

const (
	panelHeight = 96
	panelGap    = 30
)

// sweepChart shows throughput, p99 and memory one above the other, over the values in
// the order of the file: their distances mean nothing. nil if nothing was measured.
func sweepChart(s *result.Sweep) *chart {
	panels := slices.DeleteFunc([]panel{
		{"a second", "engine", func(p result.SweepPoint) float64 { return usable(p.PerS) }},
		{"p99, ms", "peers", func(p result.SweepPoint) float64 { return usable(p.P99MS) }},
		{"peak MB", "other", func(p result.SweepPoint) float64 { return usable(p.PeakRSSMB) }},
	}, func(k panel) bool {
		return !slices.ContainsFunc(s.Points, func(p result.SweepPoint) bool { return k.of(p) > 0 })
	})
	if len(panels) == 0 {
		return nil
	}
	height := float64(len(panels)*(panelHeight+panelGap) + 28)
	c := &chart{Label: s.Title, Width: width, Height: px(height)}
	left, right := float64(marginLeft), float64(width-marginRight)
	step := (right - left) / float64(len(s.Points))
	at := func(i int) float64 { return left + (float64(i)+0.5)*step }
	bottom := height - 28 - panelGap + 12
	for i, p := range s.Points {
		if s.Recommended != "" && p.Value == s.Recommended {
			c.rect("recommended", at(i)-min(step, 34)/2, 14, min(step, 34), bottom-14, "recommended")
		}
		if p.Value == s.Default {
			c.line("default", at(i), 14, at(i), bottom)
		}
	}
	for n, k := range panels {
		top := float64(marginTop + n*(panelHeight+panelGap))
		most := 0.0
		for _, p := range s.Points {
			most = max(most, k.of(p))
		}
		a := area{left: left, right: right, top: top, bottom: top + panelHeight - 16}
		c.yAxis(&a, k.name, most, 3)
		var points []point
		flush := func() {
			if len(points) > 1 {
				c.path("curve "+k.class, points, k.name)
			}
			points = nil
		}
		for i, p := range s.Points {
			v := k.of(p)
			if v == 0 {
				flush() // a hole is a hole
				continue
			}
			if n == 0 && k.class == "engine" && usable(p.Spread) > 0 {
				c.line("whisker", at(i), a.y.at(v*(1-p.Spread/2)), at(i), a.y.at(v*(1+p.Spread/2)))
			}
			points = append(points, point{at(i), a.y.at(v)})
			c.dot(k.class, at(i), a.y.at(v), p.Value+": "+number(v))
		}
		flush()
	}
	const fits = 9 // labels side by side
	every := (len(s.Points) + fits - 1) / fits
	for i, p := range s.Points {
		if i%every == 0 {
			c.text("tick", "middle", at(i), bottom+14, clip(p.Value, max(4, 56/min(len(s.Points), fits))))
		}
	}
	c.text("axis", "end", right, bottom+28, s.Unit)
	if s.Recommended != "" {
		c.key("recommended", "recommended")
	}
	if s.Default != "" {
		c.key("default", "default")
	}
	return c
}
