package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// judge holds what happened against the promises. It knows what producers
// offered, what became of targets, what peers received, and what the ledger
// answers; of the engine it knows nothing.
func (w *world) judge(t *testing.T) {
	j := &judge{w: w, rows: map[delivery]store.Delivery{}, heard: map[delivery][]*receipt{}, newest: map[delivery]int{}, sequence: map[string]int{}, key: map[string]int64{}}
	for _, r := range w.peers.receipts {
		j.heard[r.delivery] = append(j.heard[r.delivery], r)
	}
	names := map[string]bool{}
	for _, u := range w.updates {
		names[u.incident] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		j.incident(t, name)
	}
	j.repeated()
	j.ordered()
	j.unwanted()
	j.limited()
	j.budgeted()
	j.idle()
}

// recallTime is how long after a change a send may still start that doesn't know of
// it; beside it, however long a slow store takes to say so.
const recallTime = 2 * time.Second

// unwanted checks that nobody is told who no longer is to be, or where they no longer
// are.
func (j *judge) unwanted() {
	for _, r := range j.w.peers.receipts {
		for n, v := range j.w.targets[r.target-1] {
			versions := j.w.targets[r.target-1]
			if r.start.Before(v.since.Add(recallTime)) || n+1 < len(versions) && !r.start.Before(versions[n+1].since) {
				continue
			}
			switch {
			case v.target == nil || v.target.State != incident.StateActive:
				j.broken("S", "target %d was told of %s/%d at %v, inactive since %v", r.target, r.incident, r.sequence, r.start.Sub(j.w.began), v.since.Sub(j.w.began))
			case v.target.Address != r.address:
				j.broken("S", "target %d was told of %s/%d at %v where it was until %v", r.target, r.incident, r.sequence, r.start.Sub(j.w.began), v.since.Sub(j.w.began))
			}
		}
	}
}

type judge struct {
	w     *world
	rows  map[delivery]store.Delivery
	heard map[delivery][]*receipt
	// newest is the newest sequence there is a row of, by incident and target.
	newest map[delivery]int
	// sequence of the updates, by update_id; key of the incidents in the store.
	sequence map[string]int
	key      map[string]int64
}

func (j *judge) broken(promise, format string, args ...any) { j.w.broken(promise, format, args...) }

// incident checks what was accepted of one incident, and each row of it.
func (j *judge) incident(t *testing.T, name string) {
	inc, history, err := j.w.store.Incident(j.w.ctx, "default", name)
	if err != nil {
		j.broken("A", "%s is not in the history: %v", name, err)
		return
	}
	j.key[name] = inc.Key
	for _, u := range history {
		j.sequence[u.UpdateID] = u.Sequence
	}
	rows := map[int][]store.Delivery{}
	all, err := j.w.store.Deliveries(j.w.ctx, inc.Key, store.DeliveryFilter{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		rows[r.Sequence] = append(rows[r.Sequence], r)
		d := delivery{name, r.Sequence, r.Target}
		j.rows[d] = r
		at := delivery{incident: name, target: r.Target}
		j.newest[at] = max(j.newest[at], r.Sequence)
	}
	var so audience
	for sequence := 1; sequence <= inc.Sequence; sequence++ {
		at := slices.IndexFunc(history, func(u store.Update) bool { return u.Sequence == sequence })
		if at < 0 {
			j.broken("A", "%s has no update %d", name, sequence)
			continue
		}
		of := slices.IndexFunc(j.w.updates, func(o *offered) bool { return o.id == history[at].UpdateID })
		if of < 0 {
			j.broken("A", "%s has an update %q that nobody published", name, history[at].UpdateID)
			continue
		}
		o := j.w.updates[of]
		so.grow(o.update)
		j.update(name, &history[at], o, so, rows[sequence])
	}
	for _, o := range j.w.updates {
		at := slices.IndexFunc(history, func(u store.Update) bool { return u.UpdateID == o.id })
		switch {
		case o.incident != name:
		case at < 0:
			j.broken("A", "update %s of %s was confirmed and is not in the history", o.id, name)
		case o.stale != (history[at].Sequence == 0):
			j.broken("A", "update %s of %s, stale %v, has sequence %d", o.id, name, o.stale, history[at].Sequence)
		}
	}
}

// audience is who an update is for, as DESIGN says it: whoever wants a component
// of the incident so far, at its highest impact so far.
type audience struct {
	components []string
	whole      bool
	highest    int
}

func (a *audience) grow(u update) {
	a.components = append(a.components, u.components...)
	a.whole = a.whole || len(u.components) == 0
	a.highest = max(a.highest, u.impact.Rank())
}

func (a *audience) wants(t *incident.Target, private bool) bool {
	return t != nil && t.State == incident.StateActive && t.MinImpact.Rank() <= a.highest &&
		(!private || t.Visibility == incident.Private) &&
		(a.whole || len(t.Components) == 0 || slices.ContainsFunc(t.Components, func(c string) bool { return slices.Contains(a.components, c) }))
}

// update checks one update's deliveries: everyone it is for has one, nobody else,
// and each ended as it might.
func (j *judge) update(name string, u *store.Update, o *offered, so audience, rows []store.Delivery) {
	ended := j.w.ended[name]
	stopped := !ended.IsZero() && !ended.Before(o.began)
	if u.PlannedAt.IsZero() && !stopped {
		j.broken("A", "update %d of %s was never planned", u.Sequence, name)
		return
	}
	has := map[int64]store.Delivery{}
	for _, r := range rows {
		has[r.Target] = r
	}
	for i, versions := range j.w.targets {
		id := int64(i + 1)
		always, ever := true, false
		for n, v := range versions {
			if n+1 < len(versions) && versions[n+1].since.Before(o.began) {
				continue
			}
			is := so.wants(v.target, o.update.private)
			always, ever = always && is, ever || is
		}
		_, there := has[id]
		switch {
		case there && !ever:
			j.broken("A", "target %d has a delivery of %s/%d, which is not for it", id, name, u.Sequence)
		case !there && always && !stopped && !j.disabled(id):
			j.broken("A", "target %d has no delivery of %s/%d", id, name, u.Sequence)
		}
	}
	for _, r := range rows {
		j.row(name, u, r, stopped)
	}
}

// disabled says whether the store may have disabled a target: gone, or ten updates
// without success.
func (j *judge) disabled(id int64) bool {
	without := 0
	for d, list := range j.heard {
		if d.target != id {
			continue
		}
		if r := j.rows[d]; r.Outcome == dispatcher.Expired || r.Outcome == dispatcher.Dead {
			without++
		}
		for _, r := range list {
			if r.class == channels.Gone {
				return true
			}
		}
	}
	return without >= 10
}

// row checks a delivery's outcome against what its peer received.
func (j *judge) row(name string, u *store.Update, r store.Delivery, stopped bool) {
	d := delivery{name, r.Sequence, r.Target}
	list := j.heard[d]
	what := fmt.Sprintf("%s/%d to target %d", name, r.Sequence, r.Target)
	answered := func(c channels.Class) bool {
		return slices.ContainsFunc(list, func(h *receipt) bool { return h.class == c })
	}
	switch r.Outcome {
	case dispatcher.Open:
		j.broken("A", "%s is open (attempt %d, %s %s)", what, r.Attempt, r.Class, r.Detail)
	case dispatcher.Delivered:
		if !answered(channels.Delivered) {
			j.broken("L", "%s is delivered, says the ledger; its peer accepted nothing", what)
		}
	case dispatcher.Dead:
		if !answered(channels.Permanent) && !answered(channels.Gone) {
			j.broken("A", "%s is dead, and its peer did not refuse it", what)
		}
	case dispatcher.Superseded:
		if j.newest[delivery{incident: name, target: r.Target}] <= r.Sequence {
			j.broken("A", "%s is superseded, by nothing", what)
		}
		if j.w.sc.targets[r.Target-1].every {
			j.broken("A", "%s is superseded, and the target wants every update", what)
		}
	case dispatcher.Suppressed:
		if strings.HasPrefix(r.Detail, "over budget: ") {
			j.overBudget(name, r)
		} else if !stopped && !j.disabled(r.Target) && !j.silenced(r.Target) {
			j.broken("A", "%s is suppressed, and nobody asked for that", what)
		}
	case dispatcher.Expired:
		j.expired(what, u, r)
	}
	for _, h := range list {
		if h.class == channels.Delivered && r.Outcome != dispatcher.Delivered && !j.forgot(h) {
			j.broken("L", "%s was accepted by its peer; the ledger says %s", what, r.Outcome)
		}
	}
}

// silenced says whether a target was ever inactive by its owner's will.
func (j *judge) silenced(id int64) bool {
	return slices.ContainsFunc(j.w.targets[id-1], func(v version) bool { return v.target == nil || v.target.State != incident.StateActive })
}

// expired checks that there was a reason for it: its time was up, and, where time
// was ample, somebody who never answered.
func (j *judge) expired(what string, u *store.Update, r store.Delivery) {
	if j.w.clock.latest().Before(u.ExpiresAt) {
		j.broken("A", "%s expired before its time", what)
	}
	if j.w.sc.engine.life < 10*time.Minute {
		return
	}
	for _, v := range j.w.targets[r.Target-1] {
		if v.target != nil && j.w.sc.providers[j.w.providerOf(v.target.Address)].mood == dead {
			return
		}
	}
	j.broken("A", "%s expired, and its peer would have listened", what)
}

// forgot says whether the process that sent may have died before it could note the
// answer.
func (j *judge) forgot(r *receipt) bool {
	if !r.by.isDead() {
		return false
	}
	for row, at := range j.w.peers.durable {
		if row.Target == r.target && row.Sequence == r.sequence && row.Incident == j.key[r.incident] && !at.After(r.by.diedAt) && at.After(r.start) {
			return false
		}
	}
	return true
}

// repeated checks what was sent again.
func (j *judge) repeated() {
	for d, list := range j.heard {
		what := fmt.Sprintf("%s/%d to target %d", d.incident, d.sequence, d.target)
		for i, r := range list[1:] {
			if r.id != list[0].id {
				j.broken("D", "%s was sent again with another key", what)
			}
			for _, before := range list[:i+1] {
				if before.class == channels.Delivered && !j.forgot(before) {
					j.broken("D", "%s was sent again at %v, after its peer had accepted it at %v",
						what, r.start.Sub(j.w.began), before.end.Sub(j.w.began))
				}
			}
		}
	}
}

// ordered checks that nothing older started after something newer, nor two at
// once, for any incident and target.
func (j *judge) ordered() {
	last := map[delivery]*receipt{}
	for _, r := range j.w.peers.receipts { // in the order of their starts
		key := delivery{incident: r.incident, target: r.target}
		before := last[key]
		if before == nil {
			last[key] = r
			continue
		}
		what := fmt.Sprintf("%s/%d to target %d at %v", r.incident, r.sequence, r.target, r.start.Sub(j.w.began))
		if before.sequence > r.sequence {
			j.broken("O", "%s started after %d", what, before.sequence)
			continue
		}
		if before.by == r.by && before.end.After(r.start) {
			j.broken("O", "%s started while %d was under way", what, before.sequence)
		}
		last[key] = r
	}
}
