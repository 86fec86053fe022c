package probe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// MaxServices is how many services a panel holds. When another reports, one that
// nobody has probed for a day and that is operational makes room.
const MaxServices = 10_000

const forgetAfter = 24 * time.Hour

// Panel is the health of all services. It is safe for concurrent use.
//
// Changes wait in it until they are reported, and a service with a change that waits
// isn't handed out to be saved: so a crash between the two has the change found again,
// by the results that come after it.
type Panel struct {
	rules Rules

	mu       sync.Mutex
	services map[string]*watched
	unsaved  map[string]struct{}
	waiting  map[string]Transition
}

type watched struct {
	Service
	next time.Time // when Tick may see something, zero for never
	last time.Time // of any result
}

// Change is a transition of one service.
type Change struct {
	Service string
	Transition
}

// NewPanel makes a panel of what was saved: services and their JSON, as [Panel.Unsaved]
// gave them.
func NewPanel(rules Rules, saved map[string][]byte, now time.Time) (*Panel, error) {
	p := &Panel{
		rules: rules, services: make(map[string]*watched, len(saved)),
		unsaved: make(map[string]struct{}), waiting: make(map[string]Transition),
	}
	for name, state := range saved {
		w := &watched{}
		if err := json.Unmarshal(state, &w.Service); err != nil {
			return nil, fmt.Errorf("read the saved health of a service: %w", err)
		}
		for _, l := range w.Locations {
			if l.At.After(w.last) {
				w.last = l.At
			}
		}
		w.next = w.Next(now, rules)
		p.services[name] = w
	}
	return p, nil
}

// Fold takes results into account, at now, and returns how many changed nothing: late,
// repeated, or from one location too many. With an error, an [*incident.Invalid],
// results before the one it names were folded.
func (p *Panel) Fold(results []Result, now time.Time) (ignored int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range results {
		w := p.services[r.Service]
		if w == nil {
			if !p.makeRoom(now) {
				return ignored, &incident.Invalid{
					Field:  fmt.Sprintf("results[%d].service", i),
					Reason: fmt.Sprintf("is one more than the %d services that are watched", MaxServices),
				}
			}
			w = &watched{}
			p.services[r.Service] = w
		}
		change, taken := w.Fold(r, now, p.rules)
		if !taken {
			ignored++
		}
		if r.At.After(w.last) {
			w.last = r.At
		}
		p.after(r.Service, w, change, now)
	}
	return ignored, nil
}

// Tick sees what time alone changes. To call it every second is enough.
func (p *Panel) Tick(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, w := range p.services {
		if !w.next.IsZero() && !w.next.After(now) {
			p.after(name, w, w.Tick(now, p.rules), now)
		}
	}
}

func (p *Panel) after(name string, w *watched, change *Transition, now time.Time) {
	w.next = w.Next(now, p.rules)
	p.unsaved[name] = struct{}{}
	if change == nil {
		return
	}
	if before, ok := p.waiting[name]; ok {
		change.From = before.From
		if change.From == change.To {
			delete(p.waiting, name)
			return
		}
	}
	p.waiting[name] = *change
}

// Waiting returns the changes to report, by service.
func (p *Panel) Waiting() []Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := make([]Change, 0, len(p.waiting))
	for _, name := range slices.Sorted(maps.Keys(p.waiting)) {
		changes = append(changes, Change{name, p.waiting[name]})
	}
	return changes
}

// Reported takes back a change that was reported and is durable where it went.
func (p *Panel) Reported(c Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, ok := p.waiting[c.Service]
	switch {
	case !ok && p.services[c.Service] != nil && p.services[c.Service].Health != c.To:
		// It went back to what it was while the change was being reported.
		w := p.services[c.Service]
		p.waiting[c.Service] = Transition{From: c.To, To: w.Health, Cause: c.Cause}
	case ok && now.To == c.To:
		delete(p.waiting, c.Service)
	case ok:
		now.From = c.To
		p.waiting[c.Service] = now
	}
}

// Unsaved returns the JSON of services that changed since the last call, but for those
// with a change to report. [Panel.Again] gives back what could not be saved.
func (p *Panel) Unsaved() (map[string][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make(map[string][]byte, len(p.unsaved))
	for name := range p.unsaved {
		if _, waits := p.waiting[name]; waits {
			continue
		}
		w := p.services[name]
		if w == nil {
			states[name] = nil // forgotten
			delete(p.unsaved, name)
			continue
		}
		state, err := json.Marshal(&w.Service)
		if err != nil {
			return nil, fmt.Errorf("write the health of a service: %w", err)
		}
		states[name] = state
		delete(p.unsaved, name)
	}
	return states, nil
}

// Again has services saved with the next ones.
func (p *Panel) Again(states map[string][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range states {
		p.unsaved[name] = struct{}{}
	}
}

// Seen is a service as people ask for it.
type Seen struct {
	Service  string
	Health   Health
	Flapping bool
	// Failing and Voting are locations.
	Failing, Voting int
	Last            time.Time // result
}

// All returns every service, by name.
func (p *Panel) All(now time.Time) []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Seen, 0, len(p.services))
	for _, name := range slices.Sorted(maps.Keys(p.services)) {
		w := p.services[name]
		seen := Seen{Service: name, Health: w.Health, Flapping: w.Flapping, Last: w.last}
		for _, l := range w.Locations {
			if now.Sub(l.At) < p.rules.StaleAfter {
				seen.Voting++
				if l.Failing {
					seen.Failing++
				}
			}
		}
		all = append(all, seen)
	}
	return all
}

// makeRoom says whether there is room for another service.
func (p *Panel) makeRoom(now time.Time) bool {
	if len(p.services) < MaxServices {
		return true
	}
	for name, w := range p.services {
		if _, waits := p.waiting[name]; !waits && w.Health == Operational && now.Sub(w.last) >= forgetAfter {
			delete(p.services, name)
			p.unsaved[name] = struct{}{}
			return true
		}
	}
	return false
}
