package simulate

import (
	"slices"
	"time"

	"github.com/tocsin/tocsin/channels"
)

// limited checks rates, bursts and windows of providers. Each process begins with
// a full bucket.
func (j *judge) limited() {
	type key struct {
		by       *process
		provider string
	}
	all := map[key][]*receipt{}
	for _, r := range j.w.peers.receipts {
		k := key{r.by, r.provider}
		all[k] = append(all[k], r)
	}
	for k, list := range all {
		p := j.w.provider(k.provider)
		tokens, at := float64(p.burst), list[0].start
		for _, r := range list {
			tokens = min(float64(p.burst), tokens+r.start.Sub(at).Seconds()*p.rate) - 1
			if at = r.start; tokens < -0.001 {
				j.broken("R", "%s was sent more than %v/s, burst %d, at %v", p.name, p.rate, p.burst, r.start.Sub(j.w.began))
				break
			}
		}
		if most := crowd(list); most > p.window {
			j.broken("R", "%s had %d requests at once, its window is %d", p.name, most, p.window)
		}
		for i, r := range list {
			if r.class != channels.Throttled {
				continue
			}
			for _, next := range list[i+1:] {
				if next.delivery == r.delivery && next.start.Before(r.end.Add(r.wait)) {
					j.broken("R", "%s asked for %v, and was asked again after %v", p.name, r.wait, next.start.Sub(r.end))
				}
			}
		}
	}
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

// idle checks, where nothing happened to the engine, that nobody healthy waited:
// not for others who are not, and not behind others who are.
func (j *judge) idle() {
	if !j.w.sc.calm {
		return
	}
	shares := make([]int, len(j.w.sc.providers))
	for _, t := range j.w.sc.targets {
		shares[t.provider]++
	}
	for _, o := range j.w.updates {
		at := slices.IndexFunc(j.w.sc.targets, func(t target) bool { return !t.absent })
		if at < 0 || o.stale {
			continue
		}
		for i, t := range j.w.sc.targets {
			p := &j.w.sc.providers[t.provider]
			if p.mood != healthy || t.absent || t.every {
				continue
			}
			j.waited(int64(i+1), p, o, shares[t.provider])
		}
	}
}

// waited checks how long a target waited for this update or one after it.
func (j *judge) waited(id int64, p *provider, o *offered, sharers int) {
	sequence := 0
	for d := range j.rows {
		if d.target == id && d.incident == o.incident && j.sequenceOf(o) == d.sequence {
			sequence = d.sequence
		}
	}
	if sequence == 0 {
		return // not for it
	}
	// Everyone's turn comes once for each incident, at the provider's rate.
	bound := 10*time.Second + 2*time.Duration(2*sharers/int(p.rate))*time.Second
	for _, r := range j.w.peers.receipts {
		if r.target == id && r.incident == o.incident && r.sequence >= sequence {
			if waited := r.start.Sub(o.confirmed); waited > bound {
				j.broken("I", "target %d of healthy %s heard of %s/%d after %v, later than %v", id, p.name, o.incident, sequence, waited, bound)
			}
			return
		}
	}
}

func (j *judge) sequenceOf(o *offered) int {
	_, history, err := j.w.store.Incident(j.w.ctx, "default", o.incident)
	if err != nil {
		return 0
	}
	for _, u := range history {
		if u.UpdateID == o.id {
			return u.Sequence
		}
	}
	return 0
}
