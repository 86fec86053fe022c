package dispatcher

import (
	"fmt"

	"github.com/tocsin/tocsin/ratelimit"
)

// Budget bounds what is sent on a channel in a storm of updates. What exceeds it ends
// as suppressed, with the reason; a later update carries the whole timeline. A field
// that is zero bounds nothing.
type Budget struct {
	// PerIncident bounds the messages of one incident to one target.
	PerIncident ratelimit.Quota
	// PerTarget bounds the messages of all incidents to one target.
	PerTarget ratelimit.Quota
	// Bound is that of all messages on the channel.
	Bound
	// Providers says that some of its providers have accounts of their own
	// ([ProviderPolicy]).
	Providers bool
}

// Spent is what the ledger knows of the messages that count against the budget of a
// target.
type Spent struct {
	// Told is how many messages of the incident the target took, Recent how many of
	// those were sent less than PerIncident.Every ago.
	Told, Recent int
	// UnderWay is how many older deliveries of the incident to the target some
	// worker has in hand: they may be on the wire.
	UnderWay int
	// AllRecent and AllUnderWay count so for all incidents together: what was sent
	// less than PerTarget.Every ago, and what some worker has in hand.
	AllRecent, AllUnderWay int
}

// Heard says whether a target heard of the incident that a delivery ends: then it is
// told of the end, whatever the budget says.
type Heard uint8

// What is known of that.
const (
	// NotHeard: it was told of nothing, or the delivery ends nothing.
	NotHeard Heard = iota
	// PerhapsHeard: some worker has an older delivery in hand.
	PerhapsHeard
	// SurelyHeard: it took a message of the incident.
	SurelyHeard
)

// Heard says whether a target was told of an incident.
func (s Spent) Heard() Heard {
	switch {
	case s.Told > 0:
		return SurelyHeard
	case s.UnderWay > 0:
		return PerhapsHeard
	}
	return NotHeard
}

// bounds says whether there is any bound.
func (b *Budget) bounds() bool { return b.OfTargets() || b.Counts() }

// OfTargets says whether it bounds what single targets are told.
func (b *Budget) OfTargets() bool { return b.PerIncident.Messages > 0 || b.PerTarget.Messages > 0 }

// Counts says whether messages have to be counted, by the hour and the day.
func (b *Budget) Counts() bool { return b.any() || b.Providers }

// Check says what of the budget of a target keeps a delivery from being sent, 0 if
// nothing does: WhyBlocked where that can't be known before older ones are done,
// WhyBudget with the reason where it would be too much. last is whether the update
// ends the incident: whoever was told of it is always told that.
func (b *Budget) Check(s Spent, last bool) (why Why, detail string) {
	if last && s.Told > 0 {
		return 0, ""
	}
	switch q := b.PerTarget; {
	case q.Messages == 0 || s.AllRecent+s.AllUnderWay < q.Messages:
	case s.AllRecent < q.Messages || last && s.UnderWay > 0: // perhaps it is being told of what ends
		return WhyBlocked, ""
	default:
		return WhyBudget, fmt.Sprintf("over budget: at most %s for each target", q)
	}
	switch q := b.PerIncident; {
	case q.Messages == 0 || last || s.Recent+s.UnderWay < q.Messages:
		return 0, ""
	case s.Recent < q.Messages:
		return WhyBlocked, ""
	default:
		return WhyBudget, fmt.Sprintf("over budget: at most %s for each incident and target", q)
	}
}

// budgets are those of the groups that have one.
func (o *Options) budgets() map[string]*Budget {
	all := make(map[string]*Budget)
	for _, g := range o.Groups {
		if b := o.Budgets[channelOf(g.Name)]; b.bounds() {
			all[g.Name] = &b
		}
	}
	return all
}
