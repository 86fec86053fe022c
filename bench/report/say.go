package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/tocsin/tocsin/bench/result"
)

// words are how people call the figures that goals are about.
var words = [...]struct{ figure, name, unit string }{
	{result.PerS, "throughput", "a second"},
	{result.WallS, "time", "s"},
	{result.CPUS, "CPU time", "s"},
	{result.PeakRSSMB, "peak memory", "MB"},
	{result.P50MS, "p50", "ms"},
	{result.P99MS, "p99", "ms"},
}

// word looks a figure up; unknown ones keep their name.
func word(figure string) (name, unit string, known bool) {
	for _, w := range words {
		if w.figure == figure {
			return w.name, w.unit, true
		}
	}
	return figure, "", false
}

// figure is one of a side or a round, 0 if it isn't there.
func figure(f *result.Figures, name string) float64 {
	if _, _, known := word(name); !known {
		return 0
	}
	return usable(f.Figure(name))
}

// counted is what a scenario does so many of in a second.
func counted(id string) string {
	family, _, _ := strings.Cut(id, ".")
	switch family {
	case "m1":
		return "mails"
	case "s1":
		return "SMS"
	case "f1":
		return "answers"
	case "p1":
		return "targets planned"
	case "i1":
		return "events accepted"
	case "i2":
		return "notifications taken"
	case "i3":
		return "results folded"
	}
	return "deliveries"
}

// goals are a scenario's; a file that has only the first one's bounds has that.
func goals(s *result.Scenario) []result.Goal {
	if len(s.Goals) > 0 || s.Must == nil || s.Ratio == nil {
		return s.Goals
	}
	g := result.Goal{Of: s.RatioOf, Must: *s.Must, Aim: *s.Must, Value: s.Ratio, Judged: true, Met: s.Met, Against: "floor"}
	if s.Floor != nil && s.Floor.Name != "" {
		g.Against = s.Floor.Name
	}
	if s.Aim != nil {
		g.Aim = *s.Aim
	}
	if g.Of == "" {
		g.Of = result.PerS
	}
	g.AtMost = g.Of != result.PerS
	g.Aimed = g.Met && (g.AtMost && *s.Ratio <= g.Aim || !g.AtMost && *s.Ratio >= g.Aim)
	return []result.Goal{g}
}

// aimOnly reports whether nothing must be reached, though something is aimed at.
func aimOnly(g result.Goal) bool { return g.Must == 0 && g.Against != "" }

func sign(g result.Goal) string {
	if g.AtMost {
		return "≤"
	}
	return "≥"
}

// bounds says must and aim in few characters.
func bounds(g result.Goal) string {
	name, unit, _ := word(g.Of)
	if aimOnly(g) {
		return fmt.Sprintf("%s: aim %s", name, number(g.Aim))
	}
	text := fmt.Sprintf("%s %s %s", name, sign(g), number(g.Must))
	if g.Against == "" && unit != "" {
		text += " " + unit
	}
	if g.Aim != g.Must {
		text += ", aim " + number(g.Aim)
	}
	return text
}

func goalText(g result.Goal) string {
	name, unit, _ := word(g.Of)
	if aimOnly(g) {
		return fmt.Sprintf("%s × %s, an aim alone", name, g.Against)
	}
	if g.Against != "" {
		return fmt.Sprintf("%s %s %s × %s", name, sign(g), number(g.Must), g.Against)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", name, sign(g), number(g.Must), unit))
}

func goalMark(g result.Goal) mark {
	switch {
	case g.Value == nil:
		return mark{"none", "not measured"}
	case !g.Judged:
		return mark{"none", "not judged"}
	case aimOnly(g) && g.Aimed:
		return mark{"good", "✓ aim"}
	case aimOnly(g):
		return mark{"none", "not the aim"}
	case !g.Met:
		return mark{"bad", "✗ missed"}
	case g.Aimed && g.Aim != g.Must:
		return mark{"good", "✓ must, aim"}
	}
	return mark{"good", "✓ must"}
}

func broken(s *result.Scenario) bool {
	return s.Lost != 0 || s.Duplicates != 0 || s.OrderViolations != 0
}

// markOf is the verdict on a scenario.
func markOf(s *result.Scenario) mark {
	switch {
	case s.Error != "":
		return mark{"bad", "✗ failed"}
	case s.Engine == nil:
		return mark{"none", "not measured"}
	case broken(s):
		return mark{"bad", "✗ promise broken"}
	case !s.Met:
		return mark{"bad", "✗ missed"}
	}
	judged, aimed := false, true
	for _, g := range goals(s) {
		judged, aimed = judged || g.Judged, aimed && (!g.Judged || g.Aimed)
	}
	switch {
	case !judged:
		return mark{"none", "not judged"}
	case aimed:
		return mark{"good", "✓ must, aim"}
	}
	return mark{"good", "✓ must"}
}

// verdict is the whole in a sentence. Who only tried settings out has no goals.
func verdict(scenarios []*result.Scenario, sweeps []*result.Sweep) (text string, good bool) {
	var sound, open int
	var failed []string
	faults := 0
	for _, s := range scenarios {
		faults += s.Lost + s.Duplicates + s.OrderViolations
		switch markOf(s).Class {
		case "good":
			sound++
		case "bad":
			failed = append(failed, s.ID)
		default:
			open++
		}
	}
	if len(scenarios) == 0 {
		measured := 0
		for _, s := range sweeps {
			measured += min(len(s.Points), 1)
		}
		if measured > 0 {
			return fmt.Sprintf("%d of %d settings were tried out; no scenario was to be judged.", measured, len(sweeps)), true
		}
		return "Nothing was measured.", false
	}
	text = fmt.Sprintf("%d of %d scenarios are as they must be", sound, len(scenarios))
	if len(failed) > 0 {
		text += "; these are not: " + join(failed, ", ")
	}
	if open > 0 {
		text += fmt.Sprintf("; %d could not be judged", open)
	}
	text += ". "
	if faults == 0 {
		return text + "The peers counted nothing lost, nothing twice and nothing out of order.", len(failed) == 0 && sound > 0
	}
	return text + "The peers counted what must never happen: see lost, twice, out of order.", false
}

// meaning says in plain words what was found.
func meaning(s *result.Scenario, quick bool) string {
	var b strings.Builder
	if s.Error != "" {
		b.WriteString("It could not be measured to its end; the reason is below. ")
	}
	if s.Engine == nil {
		if s.Error == "" {
			b.WriteString("There are no figures of the engine.")
		}
		return strings.TrimSpace(b.String())
	}
	if rate := number(s.Engine.PerS); rate != "–" {
		fmt.Fprintf(&b, "The engine: %s %s a second", rate, counted(s.ID))
	} else {
		b.WriteString("The engine was measured")
	}
	all := goals(s)
	if len(all) > 0 {
		b.WriteString(compared(all[0]))
	}
	b.WriteString(". ")
	if s.Floor == nil && len(all) > 0 && all[0].Against != "" {
		b.WriteString("The floor is missing, so that there is no ratio. ")
	}
	for _, g := range all[min(1, len(all)):] {
		if g.Judged && !g.Met && g.Value != nil {
			fmt.Fprintf(&b, "Missed: %s (%s). ", goalText(g), number(*g.Value))
		}
	}
	b.WriteString(doubt(s, all))
	if broken(s) {
		fmt.Fprintf(&b, "A promise is broken: %d lost, %d twice, %d out of order. ", s.Lost, s.Duplicates, s.OrderViolations)
	}
	if quick && len(all) > 0 && all[0].Against == "" {
		b.WriteString("A quick run doesn't judge it. ")
	}
	return strings.TrimSpace(b.String())
}

// compared says what the first goal came to.
func compared(g result.Goal) string {
	if g.Value == nil {
		return ""
	}
	value := number(*g.Value)
	var text string
	switch {
	case g.Against != "" && g.Of == result.PerS:
		text = fmt.Sprintf(", %s of what %s does", value, g.Against)
	case g.Against != "" && g.Of == result.WallS:
		text = fmt.Sprintf("; it takes %s × as long as %s", value, g.Against)
	case g.Against != "":
		name, _, _ := word(g.Of)
		text = fmt.Sprintf("; its %s is %s × that of %s", name, value, g.Against)
	case g.Of != result.PerS:
		name, unit, _ := word(g.Of)
		text = fmt.Sprintf("; its %s is %s %s", name, value, unit)
	}
	switch {
	case !g.Judged:
	case !g.Met:
		text += fmt.Sprintf(": short of the %s it must reach", number(g.Must))
		if g.AtMost {
			text = strings.Replace(text, "short of the", "more than the", 1)
			text = strings.Replace(text, "it must reach", "it may be", 1)
		}
	case g.Aimed:
		text += fmt.Sprintf(", as good as aimed at (%s)", number(g.Aim))
	default:
		text += fmt.Sprintf(", enough (%s) but not the aim (%s)", number(g.Must), number(g.Aim))
	}
	return text
}

// doubt says when the rounds don't carry the verdict.
func doubt(s *result.Scenario, all []result.Goal) string {
	if len(present(s.Engine.Rounds)) < 2 {
		return "One round only: the spread is not known. "
	}
	if len(all) == 0 || all[0].Value == nil || !all[0].Judged || all[0].Must <= 0 {
		return ""
	}
	if margin := math.Abs(*all[0].Value/all[0].Must - 1); usable(s.Spread) > margin {
		return fmt.Sprintf("The rounds differ by %s, more than there is to the bound: another run may judge otherwise. ", percent(s.Spread))
	}
	return ""
}

func join(all []string, by string) string { return strings.Join(all, by) }

// cutDirty takes off the mark of uncommitted changes.
func cutDirty(commit string) (string, bool) { return strings.CutSuffix(commit, "-dirty") }

// plain reports whether a text means nothing to a shell.
func plain(text string) bool {
	for _, r := range text {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-", r)) {
			return false
		}
	}
	return text != "" && text[0] != '-'
}

// warnings are what a reader must know before the figures.
func warnings(f *result.File) (all []string) {
	if f.Interrupted {
		all = append(all, "This run was interrupted: not everything that was asked for is here.")
	}
	if f.Quick {
		all = append(all, "A quick run: sizes are small, so that only ratios are judged and figures may not be compared with a full run's.")
	}
	for _, note := range f.Notes {
		if strings.Contains(note, "noisy") {
			all = append(all, strings.ToUpper(note[:1])+note[1:]+".")
		}
	}
	return all
}

// leftOuts are all notes, each once.
func leftOuts(f *result.File, scenarios []*result.Scenario) (all []leftOut) {
	seen := make(map[leftOut]bool)
	add := func(what, why string) {
		if entry := (leftOut{what, why}); why != "" && !seen[entry] {
			seen[entry] = true
			all = append(all, entry)
		}
	}
	for _, note := range f.Notes {
		add("the run", note)
	}
	for _, s := range scenarios {
		add(s.ID, s.Error)
		for _, note := range s.Notes {
			add(s.ID, note)
		}
	}
	for _, s := range present(f.Sweeps) {
		for _, note := range s.Notes {
			add(s.ID, note)
		}
	}
	return all
}
