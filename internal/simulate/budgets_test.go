package simulate

import (
	"slices"
	"strings"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/ratelimit"
)

// counts says whether a peer took a message, as the engine knows.
func (j *judge) counts(r *receipt) bool { return r.class == channels.Delivered && !j.forgot(r) }

// heardOf says whether a target took a message of an incident before an update.
func (j *judge) heardOf(d delivery) bool {
	return slices.ContainsFunc(j.w.peers.receipts, func(r *receipt) bool {
		return r.incident == d.incident && r.target == d.target && r.sequence < d.sequence && j.counts(r)
	})
}

// ends says whether an update ends its incident.
func (j *judge) ends(incident string, sequence int) bool {
	return slices.ContainsFunc(j.w.updates, func(o *offered) bool {
		return o.incident == incident && j.sequence[o.id] == sequence && o.update.status.Terminal()
	})
}

// budgeted checks that no hour, no day, and no target had more than the budgets allow,
// the ends of incidents aside.
func (j *judge) budgeted() {
	b := &j.w.sc.budget
	if *b == (dispatcher.Budget{}) {
		return
	}
	type period struct {
		of    string
		hours int64 // how many
		n     int64
	}
	took := map[period]int{}
	of := map[delivery][]*receipt{} // by target, and by incident and target
	for _, r := range j.w.peers.receipts {
		last := j.ends(r.incident, r.sequence)
		if !j.counts(r) || last && j.heardOf(r.delivery) {
			continue
		}
		hour := dispatcher.HourOf(r.wall)
		for _, account := range []string{j.channel(r.provider), r.provider} {
			took[period{account, 1, hour}]++
			took[period{account, 24, hour / 24}]++
		}
		all := delivery{target: r.target}
		of[all] = append(of[all], r)
		if one := (delivery{incident: r.incident, target: r.target}); !last {
			of[one] = append(of[one], r)
		}
	}
	for p, n := range took {
		bound := b.Bound
		if i := slices.IndexFunc(j.w.sc.providers, func(q provider) bool { return q.name == p.of }); i >= 0 {
			bound = j.w.sc.providers[i].bound
		}
		most := bound.PerHour
		if p.hours > 1 {
			most = bound.PerDay
		}
		if most > 0 && n > most {
			j.broken("B", "%s took %d messages in %d hours, %d are allowed", p.of, n, p.hours, most)
		}
	}
	for d, list := range of {
		q := b.PerTarget
		if d.incident != "" {
			q = b.PerIncident
		}
		j.within(d, list, q)
	}
}

// within checks messages to a target, in the order of their starts.
func (j *judge) within(d delivery, list []*receipt, q ratelimit.Quota) {
	for i := q.Messages; q.Messages > 0 && i < len(list); i++ {
		first, last := list[i-q.Messages].start, list[i].start
		if last.Sub(first) < q.Every && !j.jumped(first, last) {
			j.broken("B", "target %d took %d messages of %q within %v, %s are allowed", d.target, q.Messages+1, d.incident, last.Sub(first), q)
		}
	}
}

// channel returns the channel of a provider.
func (j *judge) channel(name string) string {
	channel, _, _ := strings.Cut(j.w.provider(name).group, ":")
	return channel
}

// overBudget checks that a delivery was suppressed for a bound that was reached, and that
// it was not owed.
func (j *judge) overBudget(incident string, r store.Delivery) {
	d := delivery{incident, r.Sequence, r.Target}
	if j.ends(incident, r.Sequence) && j.heardOf(d) {
		j.broken("B", "target %d heard of %s, and its end is suppressed: %s", r.Target, incident, r.Detail)
	}
	b := &j.w.sc.budget
	took := func(most int, counts func(*receipt) bool) bool {
		n := 0
		for _, r := range j.w.peers.receipts {
			if r.class == channels.Delivered && counts(r) {
				n++
			}
		}
		return most > 0 && n >= most
	}
	full := false
	switch {
	case strings.HasSuffix(r.Detail, "for each incident and target"):
		full = took(b.PerIncident.Messages, func(o *receipt) bool {
			return o.target == r.Target && o.incident == incident && o.sequence < r.Sequence
		})
	case strings.HasSuffix(r.Detail, "for each target"):
		full = took(b.PerTarget.Messages, func(o *receipt) bool { return o.target == r.Target })
	default:
		accounts := []provider{{name: "webhook", bound: b.Bound}, {name: "smtp", bound: b.Bound}}
		for _, p := range append(accounts, j.w.sc.providers...) {
			most := p.bound.PerHour
			if strings.Contains(r.Detail, " a day ") {
				most = p.bound.PerDay
			}
			full = full || took(most, func(o *receipt) bool { return o.provider == p.name || j.channel(o.provider) == p.name })
		}
	}
	if !full {
		j.broken("B", "%s/%d to target %d is suppressed for %q, and so many were not told", incident, r.Sequence, r.Target, r.Detail)
	}
}
