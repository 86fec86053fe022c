package lifecycle

import (
	"time"

	"github.com/tocsin/tocsin/incident"
)

// Rules are an operator's settings.
type Rules struct {
	// Cooldown is how long an incident stays resolved before it is completed.
	Cooldown time.Duration
	// Window is how long after an update the next one waits, to be one with those
	// that come meanwhile.
	Window time.Duration
	// Promote says which cases are told of, and to whom.
	Promote []Promotion
}

// DefaultRules are those that hold where nothing else is said: what is critical is
// public.
func DefaultRules() Rules {
	return Rules{
		Cooldown: 15 * time.Minute, Window: 5 * time.Second,
		Promote: []Promotion{{Visibility: incident.Public, Impact: incident.ImpactCritical}},
	}
}

// Promotion is one rule: a case is told of once enough of its signals, of at least
// an impact, have fired for long enough. Marked signals are no matter of rules. Of
// several rules that hold, the one with the larger audience wins.
type Promotion struct {
	Visibility incident.Visibility
	// Impact is the least that counts.
	Impact incident.Impact
	// For is how long they have to have fired.
	For time.Duration
	// Components is how many components they have to concern, at least; 0 is 1.
	Components int
}

// at returns from when on the rule holds for these firing signals, oldest first, if
// none of them ends; ok is false if it won't.
func (p Promotion) at(firing []Signal) (from time.Time, ok bool) {
	concerned := make(map[string]bool)
	for i := range firing {
		s := &firing[i]
		if s.Mark != "" || s.Impact.Rank() < p.Impact.Rank() {
			continue
		}
		if len(s.Components) == 0 {
			concerned[""] = true
		}
		for _, c := range s.Components {
			concerned[c] = true
		}
		if len(concerned) >= max(p.Components, 1) {
			return s.StartedAt.Add(p.For), true
		}
	}
	return time.Time{}, false
}

// promote returns who is to be told of firing signals now, "" for nobody, and when
// that changes by itself, zero for never.
func (r Rules) promote(firing []Signal, now time.Time) (v incident.Visibility, next time.Time) {
	for i := range firing {
		switch firing[i].Mark {
		case MarkPublic:
			return incident.Public, time.Time{}
		case MarkPrivate:
			v = incident.Private
		}
	}
	type pending struct {
		v  incident.Visibility
		at time.Time
	}
	var later []pending
	for _, p := range r.Promote {
		at, ok := p.at(firing)
		switch {
		case !ok:
		case at.After(now):
			later = append(later, pending{p.Visibility, at})
		default:
			v = wider(v, p.Visibility)
		}
	}
	for _, p := range later {
		if wider(v, p.v) != v && (next.IsZero() || p.at.Before(next)) {
			next = p.at
		}
	}
	return v, next
}

// wider returns the larger of two audiences: public, private, nobody.
func wider(a, b incident.Visibility) incident.Visibility {
	if a == incident.Public || b == "" {
		return a
	}
	if b == incident.Public || a == "" {
		return b
	}
	return a
}
