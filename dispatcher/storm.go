package dispatcher

import (
	"fmt"

	"github.com/tocsin/tocsin/ratelimit"
)

// Budget bounds what is sent in a storm of updates. What exceeds it ends as
// suppressed, with the reason; a later update carries the whole timeline. A field
// that is zero bounds nothing.
type Budget struct {
	// PerIncident bounds the messages of one incident to one target.
	PerIncident ratelimit.Quota
	// PerHour and PerDay bound the messages that the providers of a group take, by
	// hours and days in UTC. What a worker has in hand when a bound is reached goes
	// out all the same.
	PerHour, PerDay int
}

// Spent is what the ledger knows of the messages that count against a budget.
type Spent struct {
	// Told is how many messages of the incident the target took, Recent how many of
	// those were sent less than PerIncident.Every ago.
	Told, Recent int
	// UnderWay is how many older deliveries of the incident to the target some
	// worker has in hand: they may be on the wire.
	UnderWay int
	// Hour and Day are what the group's providers took in this one.
	Hour, Day int
}

// bounds says whether there is any bound.
func (b *Budget) bounds() bool { return b.PerIncident.Messages > 0 || b.counts() }

// counts says whether the messages of the group have to be counted.
func (b *Budget) counts() bool { return b.PerHour > 0 || b.PerDay > 0 }

// Check says what keeps a delivery from being sent, 0 if nothing does: WhyBlocked
// where that can't be known before older ones are done, WhyBudget with the reason
// where it would be too much. last is whether the update ends the incident: whoever
// was told of it is always told that.
func (b *Budget) Check(s Spent, last bool) (why Why, detail string) {
	q := b.PerIncident
	switch full := b.full(s); {
	case last && s.Told > 0:
		return 0, ""
	case full != "" && last && s.UnderWay > 0:
		return WhyBlocked, ""
	case full != "":
		return WhyBudget, full
	case q.Messages == 0 || last:
		return 0, ""
	case s.Recent >= q.Messages:
		return WhyBudget, fmt.Sprintf("over budget: at most %s for each incident and target", q)
	case s.Recent+s.UnderWay >= q.Messages:
		return WhyBlocked, ""
	}
	return 0, ""
}

// full says which bound of the group is reached, "" for none.
func (b *Budget) full(s Spent) string {
	switch {
	case b.PerHour > 0 && s.Hour >= b.PerHour:
		return fmt.Sprintf("over budget: at most %d an hour on this channel", b.PerHour)
	case b.PerDay > 0 && s.Day >= b.PerDay:
		return fmt.Sprintf("over budget: at most %d a day on this channel", b.PerDay)
	}
	return ""
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
