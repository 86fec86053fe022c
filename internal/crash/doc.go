// Package crash kills real processes and judges what is left by what the peers
// received.
//
// An engine runs as anybody would run it, as a process of its own on real
// sockets and a real disk. While updates of incidents go out to 2,000 targets,
// the engine, or its broker, is killed at random moments, again and again.
// Afterwards it must hold:
//
//   - A: every accepted (update, target) arrived or is closed in the ledger with
//     a reason, and nobody was left untold who would have listened;
//   - D: what was sent again is what a kill made the engine forget: requests that
//     were in flight, or accepted but not committed;
//   - O: nobody heard an older update after a newer one;
//   - L: the ledger says what the receipts say;
//   - C: the producer was told of every update's end, in the same words each time.
//
// A trial runs in a test or, for chaos, without one: [Run]. Its words: a kill is one
// death of the engine, a loss what it made the engine forget, a fault a promise that
// was not kept.
//
// The tests' engine is built without the race detector: the moments of a crash
// are to be those of the process that is shipped, and SQLite under the detector
// is many times slower. The tests' own side runs under it.
//
//	TOCSIN_CRASH_SEED   draws the same moments again, as parts of a fan-out's
//	                    length; processes being what they are, not to the instant
//	TOCSIN_CRASH_KILLS  kills so many times (20; the broker 10)
//	TOCSIN_CRASH_ENGINE uses this binary instead of building one
//
// `go test -artifacts` keeps the engine's log and the receipts.
package crash
