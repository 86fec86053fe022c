package report

import (
	"math"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/bench/result"
)

// chart is a picture. Its coordinates are CSS pixels at the width of a phone, and it
// grows with its card; colours come from classes, so that they follow the reader's
// light or dark.
type chart struct {
	// Label says what it shows to those who can't see it.
	Label         string
	Width, Height px
	Shapes        []shape
	Keys          []key
}

// width is that of every chart.
const width = 360

// shape is one element of SVG; which coordinates count depends on its kind.
type shape struct {
	Kind         string // line, rect, dot, path, text
	Class        string // ours alone, never text of a file
	X, Y, X2, Y2 px     // of a rect, X2 and Y2 are its width and height
	Path         string
	Text         string
	Anchor       string // start, middle, end
	Tip          string // shown to a pointer that rests on it
}

// key is a line of the legend.
type key struct{ Class, Text string }

// px prints a coordinate with one decimal, whatever it is.
type px float64

// String is what the page has.
func (p px) String() string {
	f := float64(p)
	if math.IsNaN(f) || math.Abs(f) > 1e5 {
		f = 0
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

func (c *chart) line(class string, x, y, x2, y2 float64) {
	c.Shapes = append(c.Shapes, shape{Kind: "line", Class: class, X: px(x), Y: px(y), X2: px(x2), Y2: px(y2)})
}

func (c *chart) rect(class string, x, y, w, h float64, tip string) {
	c.Shapes = append(c.Shapes, shape{Kind: "rect", Class: class, X: px(x), Y: px(y), X2: px(max(w, 0)), Y2: px(h), Tip: tip})
}

func (c *chart) dot(class string, x, y float64, tip string) {
	c.Shapes = append(c.Shapes, shape{Kind: "dot", Class: class, X: px(x), Y: px(y), Tip: tip})
}

func (c *chart) text(class, anchor string, x, y float64, text string) {
	c.Shapes = append(c.Shapes, shape{Kind: "text", Class: class, X: px(x), Y: px(y), Anchor: anchor, Text: text})
}

// point is in pixels.
type point struct{ x, y float64 }

func (c *chart) path(class string, points []point, tip string) {
	if len(points) == 0 {
		return
	}
	if len(points) == 1 { // a line without length is not drawn
		c.dot(class, points[0].x, points[0].y, tip)
		return
	}
	var b strings.Builder
	for i, p := range points {
		b.WriteByte("ML"[min(i, 1)])
		b.WriteString(px(p.x).String())
		b.WriteByte(' ')
		b.WriteString(px(p.y).String())
	}
	c.Shapes = append(c.Shapes, shape{Kind: "path", Class: class, Path: b.String(), Tip: tip})
}

func (c *chart) key(class, text string) {
	for _, k := range c.Keys {
		if k == (key{class, text}) {
			return
		}
	}
	c.Keys = append(c.Keys, key{class, text})
}

// scale maps 0…most to pixels.
type scale struct{ most, low, high float64 }

// newScale makes room for most, up to a round number.
func newScale(most, low, high float64, marks int) (scale, []float64) {
	at := ticks(most, marks)
	return scale{max(most, at[len(at)-1]), low, high}, at
}

func (s scale) at(value float64) float64 {
	return s.low + (s.high-s.low)*min(max(value/s.most, 0), 1)
}

// ticks are round numbers from 0 to the first that is not below most; there are two
// at least.
func ticks(most float64, marks int) []float64 {
	if !(most > 0) {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/float64(marks))))
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if most/(step*factor) <= float64(marks) {
			step *= factor
			break
		}
	}
	at := []float64{0}
	for i := 1; i <= 2*marks && at[len(at)-1] < most*(1-1e-9); i++ {
		at = append(at, float64(i)*step)
	}
	return at
}

// area is where a chart's curves are.
type area struct {
	x, y                     scale
	left, right, top, bottom float64
}

const (
	marginLeft  = 46
	marginRight = 10
	marginTop   = 22
)

// frame begins a chart of something over something: y's grid and the y axis' name.
func frame(label, yName string, height, mostY float64) (*chart, area) {
	c := &chart{Label: label, Width: width, Height: px(height)}
	a := area{left: marginLeft, right: width - marginRight, top: marginTop, bottom: height - 34}
	c.yAxis(&a, yName, mostY, 4)
	return c, a
}

// yAxis adds a grid with its name above it.
func (c *chart) yAxis(a *area, name string, most float64, marks int) {
	var at []float64
	a.y, at = newScale(most, a.bottom, a.top, marks)
	c.text("axis", "start", 2, a.top-9, name)
	for _, v := range at {
		c.line("grid", a.left, a.y.at(v), a.right, a.y.at(v))
		c.text("tick", "end", a.left-5, a.y.at(v)+3.5, short(v))
	}
}

// xAxis adds round numbers below, and what they are.
func (c *chart) xAxis(a *area, name string, most float64) {
	var at []float64
	a.x, at = newScale(most, a.left, a.right, 5)
	a.x.most = max(most, 1e-9) // the last mark may lie beyond
	for _, v := range at {
		if v <= a.x.most*(1+1e-9) {
			c.line("grid", a.x.at(v), a.top, a.x.at(v), a.bottom)
			c.text("tick", "middle", a.x.at(v), a.bottom+14, short(v))
		}
	}
	c.text("axis", "end", a.right, a.bottom+28, name)
}

// usable makes a figure one that can be drawn and printed; what is absurd is as if it
// had not been measured.
func usable(f float64) float64 {
	const absurd = 1e15
	if math.IsNaN(f) || f <= 0 || f > absurd {
		return 0
	}
	return f
}

// number prints a figure, or a dash if there is none.
func number(f float64) string {
	if usable(f) == 0 {
		return "–"
	}
	if f < 0.01 {
		return "< 0.01"
	}
	return result.Number(f)
}

// coarse is number with no more digits than CPU times are good for.
func coarse(f float64) string {
	if f >= 10 {
		return number(math.Round(f))
	}
	return number(math.Round(f*10) / 10)
}

// short is for axes.
func short(f float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if f >= unit.size {
			return strconv.FormatFloat(f/unit.size, 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

// clip shortens a text that has little room.
func clip(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}
