package peer

import (
	"fmt"
	"time"
)

// Kind names how a target treats its requests.
type Kind uint8

// The kinds of behaviour.
const (
	// OK answers 200.
	OK Kind = iota
	// Slow answers 200 after a while.
	Slow
	// Throttled answers 429 with Retry-After at first, then 200.
	Throttled
	// Faulty answers 500 at first, then 200.
	Faulty
	// Silent reads the request and never answers.
	Silent
	// Dead answers 500, always.
	Dead
	// Gone answers 410, always.
	Gone
	// Refusing resets every connection right after accepting it. It goes by the
	// address that was dialled (see [Host]), since no request is ever read.
	Refusing

	kinds
)

// String returns the kind as [ParseMix] reads it.
func (k Kind) String() string {
	switch k {
	case OK:
		return "ok"
	case Slow:
		return "slow"
	case Throttled:
		return "429"
	case Faulty:
		return "500"
	case Silent:
		return "silent"
	case Dead:
		return "dead"
	case Gone:
		return "gone"
	case Refusing:
		return "reset"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Behaviour is how one target treats its requests.
type Behaviour struct {
	Kind Kind
	// After is how long the connection is held before any answer.
	After time.Duration
	// Times is how many of the target's first requests a Throttled or Faulty
	// target refuses.
	Times int
	// RetryAfter is what a Throttled target asks for; it goes out in whole
	// seconds, rounded up.
	RetryAfter time.Duration
}

// Script says how target n behaves. It is called from many goroutines at once, for
// each request anew. Who deals out parts by a [Mix] wants it pure; one that changes
// over time has trouble come and go.
type Script func(n int) Behaviour

// Status returns what the nth request to a target (counted from 1) is answered
// with, 0 for not at all.
func (b Behaviour) Status(nth int) int {
	switch b.Kind {
	case Throttled:
		if nth <= b.Times {
			return 429
		}
	case Faulty:
		if nth <= b.Times {
			return 500
		}
	case Silent, Refusing:
		return 0
	case Dead:
		return 500
	case Gone:
		return 410
	}
	return 200
}
