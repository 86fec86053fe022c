package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// tale tells what happened, in order, for who has to find out why.
func (w *world) tale() string {
	list := slices.Clone(w.told)
	for _, r := range w.peers.receipts {
		answer := "cut"
		if !r.end.IsZero() {
			answer = fmt.Sprintf("%s after %v", r.class, r.end.Sub(r.start))
		}
		list = append(list, told{r.start, fmt.Sprintf("  %s/%d to target %d at %s, try %d of process %d: %s", r.incident, r.sequence, r.target, r.provider, r.nth, r.by.n, answer)})
	}
	slices.SortStableFunc(list, func(a, b told) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.what, b.what)) })
	var out strings.Builder
	for _, l := range list {
		fmt.Fprintf(&out, "%14v %s\n", l.at.Sub(w.began), l.what)
	}
	return out.String()
}

// String describes a scenario.
func (s *scenario) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "broker %v, calm %v, slow %d, %+v\n", s.broker, s.calm, s.slow, s.engine)
	fmt.Fprintf(&out, "budget %+v\n", s.budget)
	for _, p := range s.providers {
		fmt.Fprintf(&out, "provider %s: %v/s, burst %d, window %d, bound %+v, %v %d%% until %v (period %v)\n", p.name, p.rate, p.burst, p.window, p.bound, p.mood, p.share, p.until, p.period)
	}
	for i, t := range s.targets {
		if !t.absent {
			fmt.Fprintf(&out, "target %d: provider %s, components %v, from %s, private %v, every update %v\n", i+1, s.providers[t.provider].name, t.components, t.least, t.private, t.every)
		}
	}
	for _, st := range s.steps {
		fmt.Fprintln(&out, st)
	}
	return out.String()
}
