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
// A change waits in it until it was reported, and is saved as one that waits before it
// is: so a crash at any moment has it reported again, which whoever it is reported to
// must know as a repeat.
type Panel struct {
	rules Rules

	mu       sync.Mutex
	services map[string]*watched
	unsaved  map[string]struct{}
	waiting  map[string]struct{} // names of those with a change to report
}

// watched is a service in a panel. Its JSON is what is saved.
type watched struct {
	Service
	// Waiting is the change to report.
	Waiting *Transition `json:"waiting,omitempty"`

	tried bool      // Waiting may have been reported: it can't be taken back
	next  time.Time // when Tick may see something, zero for never
	last  time.Time // of any result
}

// Change is a transition of one service.
type Change struct {
	Service string
	Transition
}

// NewPanel makes a panel of what was saved: services and their JSON, as [Panel.States]
// gave them.
func NewPanel(rules Rules, saved map[string][]byte, now time.Time) (*Panel, error) {
	p := &Panel{
		rules: rules, services: make(map[string]*watched, len(saved)),
		unsaved: make(map[string]struct{}), waiting: make(map[string]struct{}),
	}
	for name, state := range saved {
		w := &watched{}
		if err := json.Unmarshal(state, w); err != nil {
			return nil, fmt.Errorf("read the saved health of a service: %w", err)
		}
		for _, l := range w.Locations {
			if l.At.After(w.last) {
				w.last = l.At
			}
		}
		if w.Waiting != nil {
			p.waiting[name], w.tried = struct{}{}, true
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
			if now.Sub(r.At) >= p.rules.StaleAfter {
				ignored++
				continue
			}
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
	if w.Waiting != nil {
		change.From = w.Waiting.From
		if change.From == change.To && !w.tried {
			w.Waiting = nil
			delete(p.waiting, name)
			return
		}
	}
	w.Waiting = change
	p.waiting[name] = struct{}{}
}

// Waiting returns the changes to report, by service. Before they are, their services
// have to be saved; [Panel.Changed] names them. One whose report failed may be known
// all the same, so it waits until one succeeds, even if its service is by then what it
// was before: From and To are the same then.
func (p *Panel) Waiting() []Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := make([]Change, 0, len(p.waiting))
	for _, name := range slices.Sorted(maps.Keys(p.waiting)) {
		w := p.services[name]
		w.tried = true
		changes = append(changes, Change{name, *w.Waiting})
	}
	return changes
}

// Reported takes back a change that was reported and is durable where it went.
func (p *Panel) Reported(c Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.services[c.Service]
	if w == nil || w.Waiting == nil {
		return
	}
	p.unsaved[c.Service] = struct{}{}
	w.tried = false
	if w.Waiting.To == c.To {
		w.Waiting = nil
		delete(p.waiting, c.Service)
		return
	}
	w.Waiting.From = c.To
}

// Changed returns the names of services that changed since the last call.
// [Panel.Again] gives back those that could not be saved.
func (p *Panel) Changed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := slices.Collect(maps.Keys(p.unsaved))
	clear(p.unsaved)
	return names
}

// States returns the JSON of services as they are now, nil for one that is forgotten.
func (p *Panel) States(names []string) (map[string][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make(map[string][]byte, len(names))
	for _, name := range names {
		w := p.services[name]
		if w == nil {
			states[name] = nil
			continue
		}
		state, err := json.Marshal(w)
		if err != nil {
			return nil, fmt.Errorf("write the health of a service: %w", err)
		}
		states[name] = state
	}
	return states, nil
}

// Again has services named once more by [Panel.Changed].
func (p *Panel) Again(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		p.unsaved[name] = struct{}{}
	}
}

// Knows says whether a service is watched.
func (p *Panel) Knows(service string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.services[service] != nil
}

// Forget has a service be one that nobody probed, its change that waits included.
func (p *Panel) Forget(service string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.services, service)
	delete(p.waiting, service)
	p.unsaved[service] = struct{}{}
}

// Count counts the services, by health.
func (p *Panel) Count() map[Health]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := map[Health]int{Operational: 0, Degraded: 0, Down: 0}
	for _, w := range p.services {
		count[w.Health]++
	}
	return count
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
		if w.Waiting == nil && w.Health == Operational && now.Sub(w.last) >= forgetAfter {
			delete(p.services, name)
			p.unsaved[name] = struct{}{}
			return true
		}
	}
	return false
}
