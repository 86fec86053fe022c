package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Health is how a service is; more is worse.
type Health uint8

// The healths.
const (
	Operational Health = iota
	Degraded
	Down
)

// String is the word that people read.
func (h Health) String() string {
	switch h {
	case Degraded:
		return "degraded"
	case Down:
		return "down"
	}
	return "operational"
}

// MaxLocations is how many locations a service may have. When another reports, the
// one that was silent for longest makes room if it no longer votes.
const MaxLocations = 256

// Service is all that is known of one service. Its JSON is what a store keeps; the
// zero value is a service nobody has probed.
type Service struct {
	// Health is what was last told.
	Health Health `json:"health"`
	// Began is since when it isn't operational, zero while it is.
	Began     time.Time            `json:"began,omitzero"`
	Locations map[string]*Location `json:"locations"`
	Latency   Latency              `json:"latency"`
	// Seen is what the votes say, told or not; Changed is when it last changed, and
	// Changes holds the latest of those times.
	Seen     Health      `json:"seen"`
	Changed  time.Time   `json:"changed"`
	Changes  []time.Time `json:"changes,omitempty"`
	Flapping bool        `json:"flapping,omitempty"`

	// The last count of the votes, which holds until a vote changes (then counted is
	// false), or until the first of them is stale.
	counted bool
	until   time.Time // zero if nobody votes
	voted   Health
	cause   string
}

// Location is one location's say.
type Location struct {
	Failing bool `json:"failing,omitempty"`
	// Against counts results in a row that speak against Failing.
	Against int       `json:"against,omitempty"`
	Weight  int64     `json:"weight"` // in thousandths
	At      time.Time `json:"at"`     // of the last result
}

// Latency counts the successes of a cycle, and cycles.
type Latency struct {
	Cycle time.Time `json:"cycle"` // its beginning
	Total int       `json:"total"`
	Above int       `json:"above"` // of Total, slower than allowed
	Slow  bool      `json:"slow,omitempty"`
	// Against counts cycles in a row that speak against Slow.
	Against int `json:"against,omitempty"`
}

// Transition is a change of health that should be told.
type Transition struct {
	From Health `json:"from"`
	To   Health `json:"to"`
	// Cause says why, for people; it names locations and nothing else.
	Cause string `json:"cause"`
	// At is when it happened, Began when the service last ceased to be operational.
	At    time.Time `json:"at"`
	Began time.Time `json:"began"`
}

// Fold takes one result into account, at now. It returns false in taken for a result
// that changes nothing because it is no newer than the location's last one, stale, or
// of one location too many.
func (s *Service) Fold(r Result, now time.Time, rules Rules) (change *Transition, taken bool) {
	at := s.Locations[r.Location]
	if now.Sub(r.At) >= rules.StaleAfter || at != nil && !r.At.After(at.At) {
		return s.Tick(now, rules), false
	}
	if at == nil {
		if !s.makeRoom(now, rules) {
			return s.Tick(now, rules), false
		}
		at = &Location{}
		if s.Locations == nil {
			s.Locations = make(map[string]*Location)
		}
		s.Locations[r.Location] = at
	}
	before := *at
	at.fold(r, rules)
	if at.Failing != before.Failing || at.Weight != before.Weight || now.Sub(before.At) >= rules.StaleAfter {
		s.counted = false
	}
	s.Latency.fold(r, rules)
	return s.Tick(now, rules), true
}

func (l *Location) fold(r Result, rules Rules) {
	l.At, l.Weight = r.At, r.Weight
	if r.OK != l.Failing {
		l.Against = 0
		return
	}
	l.Against++
	if needed := rules.needed(l.Failing); l.Against >= needed {
		l.Failing, l.Against = !l.Failing, 0
	}
}

// needed is how many results in a row change a vote.
func (r Rules) needed(failing bool) int {
	if failing {
		return r.Recover
	}
	return r.Fail
}

// makeRoom says whether there is room for another location.
func (s *Service) makeRoom(now time.Time, rules Rules) bool {
	if len(s.Locations) < MaxLocations {
		return true
	}
	oldest := ""
	for name, l := range s.Locations {
		if oldest == "" || l.At.Before(s.Locations[oldest].At) {
			oldest = name
		}
	}
	if now.Sub(s.Locations[oldest].At) < rules.StaleAfter {
		return false
	}
	delete(s.Locations, oldest)
	return true
}

func (l *Latency) fold(r Result, rules Rules) {
	cycle := r.At.Truncate(rules.Cycle)
	if cycle.Before(l.Cycle) {
		return // its cycle is over
	}
	if cycle.After(l.Cycle) {
		l.close(rules)
		l.Cycle, l.Total, l.Above = cycle, 0, 0
	}
	if !r.OK || r.Latency <= 0 {
		return
	}
	l.Total++
	if r.Latency > rules.Slow {
		l.Above++
	}
}

// close judges the cycle that is over. One without successes says nothing.
func (l *Latency) close(rules Rules) {
	if l.Total == 0 || rules.Slow == 0 {
		return
	}
	if slow := l.Above*100 > l.Total; slow == l.Slow {
		l.Against = 0
		return
	}
	l.Against++
	if l.Against >= rules.SlowCycles {
		l.Slow, l.Against = !l.Slow, 0
	}
}

// Tick sees what time alone changes: votes that are too old to count, cycles that
// are over, a service that has settled. The change it returns is nil if there is
// nothing to tell.
func (s *Service) Tick(now time.Time, rules Rules) *Transition {
	if cycle := now.Truncate(rules.Cycle); !s.Latency.Cycle.IsZero() && cycle.After(s.Latency.Cycle) {
		s.Latency.close(rules)
		s.Latency.Cycle, s.Latency.Total, s.Latency.Above = cycle, 0, 0
	}
	if !s.counted || !s.until.IsZero() && !now.Before(s.until) {
		s.count(now, rules)
	}
	seen, cause := s.vote(rules)
	if seen != s.Seen {
		s.Seen, s.Changed = seen, now
		s.Changes = append(s.Changes, now)
		if extra := len(s.Changes) - rules.FlapChanges; extra > 0 {
			s.Changes = slices.Delete(s.Changes, 0, extra)
		}
		if len(s.Changes) == rules.FlapChanges && now.Sub(s.Changes[0]) <= rules.FlapWindow {
			s.Flapping = true
		}
	}
	if s.Flapping {
		if now.Sub(s.Changed) < rules.Settle && s.Seen <= s.Health {
			return nil
		}
		if now.Sub(s.Changed) >= rules.Settle {
			s.Flapping, s.Changes = false, nil
		}
	}
	if s.Seen == s.Health {
		return nil
	}
	if s.Health == Operational {
		s.Began = now
	}
	change := &Transition{From: s.Health, To: s.Seen, Cause: cause, At: now, Began: s.Began}
	if s.Health = s.Seen; s.Health == Operational {
		s.Began = time.Time{}
	}
	return change
}

// Next is when Tick may see something new if no result comes before, or earlier; zero
// if never.
func (s *Service) Next(now time.Time, rules Rules) time.Time {
	var next time.Time
	sooner := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if !s.counted {
		sooner(now.Add(1))
	}
	sooner(s.until)
	if s.Flapping {
		sooner(s.Changed.Add(rules.Settle))
	}
	if s.Latency.Total > 0 {
		sooner(s.Latency.Cycle.Add(rules.Cycle))
	}
	return next
}

// count counts the votes. If nobody votes the health stays as it was seen.
func (s *Service) count(now time.Time, rules Rules) {
	var failing, total int64
	var where []string
	s.counted, s.until = true, time.Time{}
	for name, l := range s.Locations {
		stale := l.At.Add(rules.StaleAfter)
		if !now.Before(stale) {
			continue
		}
		if s.until.IsZero() || stale.Before(s.until) {
			s.until = stale
		}
		total += l.Weight
		if l.Failing {
			failing += l.Weight
			where = append(where, name)
		}
	}
	switch {
	case total == 0:
		s.voted, s.cause = s.Seen, "no location reports"
	case 2*failing > total:
		s.voted, s.cause = Down, failsFrom(where)
	case failing > 0:
		s.voted, s.cause = Degraded, failsFrom(where)
	default:
		s.voted, s.cause = Operational, "all locations that report reach it"
	}
}

// vote adds slowness to what the locations say.
func (s *Service) vote(rules Rules) (Health, string) {
	if s.voted == Operational && !s.until.IsZero() && s.Latency.Slow {
		return Degraded, fmt.Sprintf("slower than %s for %d cycles", rules.Slow, rules.SlowCycles)
	}
	return s.voted, s.cause
}

const maxNamed = 5

func failsFrom(where []string) string {
	slices.Sort(where)
	if more := len(where) - maxNamed; more > 0 {
		return fmt.Sprintf("fails from %s and %d more", strings.Join(where[:maxNamed], ", "), more)
	}
	return "fails from " + strings.Join(where, ", ")
}
