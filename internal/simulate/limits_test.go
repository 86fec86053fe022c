package simulate

import (
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// limited checks rates and bursts of providers over all processes together, and
// windows for each: what a dead one sent, its peer may still be busy with.
func (j *judge) limited() {
	type key struct {
		by       *process
		provider string
	}
	all, each := map[string][]*receipt{}, map[key][]*receipt{}
	for _, r := range j.w.peers.receipts {
		all[r.provider] = append(all[r.provider], r)
		each[key{r.by, r.provider}] = append(each[key{r.by, r.provider}], r)
	}
	for provider, list := range all {
		p := j.w.provider(provider)
		tokens, at := float64(p.burst), list[0].start
		for _, r := range list {
			tokens = min(float64(p.burst), tokens+r.start.Sub(at).Seconds()*p.rate) - 1
			if at = r.start; tokens < -0.001 {
				j.broken("R", "%s was sent more than %v/s, burst %d, at %v", p.name, p.rate, p.burst, r.start.Sub(j.w.began))
				break
			}
		}
	}
	for k, list := range each {
		if p, most := j.w.provider(k.provider), crowd(list); most > p.window {
			j.broken("R", "%s had %d requests at once, its window is %d", p.name, most, p.window)
		}
	}
	j.patient()
}

// patient checks that a target that asked for time gets nothing before that, whatever
// it is about. A restart forgets it for other deliveries than the one that was answered
// so, a death for all.
func (j *judge) patient() {
	all := map[int64][]*receipt{}
	for _, r := range j.w.peers.receipts {
		all[r.target] = append(all[r.target], r)
	}
	for _, list := range all {
		for i, r := range list {
			if r.class != channels.Throttled || r.by.isDead() {
				continue
			}
			for _, next := range list[i+1:] {
				if next.provider == r.provider && (next.by == r.by || next.delivery == r.delivery) && next.start.After(r.end) &&
					next.start.Before(r.end.Add(r.wait)) && !j.jumped(r.end, next.start) {
					j.broken("R", "%s asked for %v, and was asked again after %v", r.provider, r.wait, next.start.Sub(r.end))
				}
			}
		}
	}
}

// jumped says whether the clock was set between two times: what waits in the ledger
// waits by the clock.
func (j *judge) jumped(from, to time.Time) bool {
	return slices.ContainsFunc(j.w.sc.steps, func(s step) bool {
		at := j.w.began.Add(s.at)
		return s.act == jump && !at.Before(from.Add(-time.Second)) && !at.After(to)
	})
}

// crowd returns how many requests were under way at once.
func crowd(list []*receipt) (most int) {
	for _, r := range list {
		n := 0
		for _, o := range list {
			if !o.start.After(r.start) && (o.end.IsZero() && !o.by.isDead() || o.end.After(r.start)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// idle checks, where nothing happened to the engine, that nobody healthy waited
// longer than everyone's turn takes at their own provider's rate: not for others who
// are not healthy, and not behind those who were told already.
func (j *judge) idle() {
	if !j.w.sc.calm {
		return
	}
	incidents := map[string]int{} // updates
	for _, o := range j.w.updates {
		incidents[o.incident]++
	}
	turns := make([]int, len(j.w.sc.providers)) // of a provider
	for _, t := range j.w.sc.targets {
		if turns[t.provider] += len(incidents); t.every {
			turns[t.provider] += len(j.w.updates)
		}
	}
	first := map[delivery]*offered{} // since when somebody waits, by incident and target
	for _, o := range j.w.updates {
		for i := range j.w.sc.targets {
			d := delivery{incident: o.incident, target: int64(i + 1)}
			if _, row := j.rows[delivery{o.incident, j.sequence[o.id], d.target}]; row && first[d] == nil {
				first[d] = o
			}
		}
	}
	for i, t := range j.w.sc.targets {
		p := &j.w.sc.providers[t.provider]
		if p.mood != healthy || t.every {
			continue
		}
		// What finds no room in a lane comes back with the retries, which find room for
		// two windows at a time.
		bound := 10*time.Second + time.Duration(2*float64(turns[t.provider])/p.rate*float64(time.Second)) +
			time.Duration(turns[t.provider]/(2*p.window))*j.w.sc.engine.retry
		for name := range incidents {
			j.waited(delivery{incident: name, target: int64(i + 1)}, p, first, bound)
		}
	}
}

// waited follows a target through an incident: from when it began to wait to when it
// was told, of whatever was newest then.
func (j *judge) waited(who delivery, p *provider, first map[delivery]*offered, bound time.Duration) {
	if first[who] == nil {
		return
	}
	told := 0
	for _, o := range j.w.updates {
		s := j.sequence[o.id]
		if _, row := j.rows[delivery{who.incident, s, who.target}]; o.incident != who.incident || !row || s <= told {
			continue
		}
		for _, r := range j.w.peers.receipts {
			if r.target != who.target || r.incident != who.incident || r.sequence < s {
				continue
			}
			if took := r.start.Sub(o.confirmed); took > bound {
				j.broken("I", "target %d of healthy %s waited %v to hear of %s/%d, %v would be long enough", who.target, p.name, took, who.incident, s, bound)
			}
			told = r.sequence
			break
		}
	}
}
