// Package dispatcher is the engine: it accepts incident updates, plans them
// into deliveries, and gets every delivery to an outcome.
//
// Promises. Once an event is accepted every delivery of its audience reaches
// an outcome, across the death of any process. A newer update of an incident
// is never overtaken by an older one to the same target. A delivery happens at
// least once, and twice only if the process died, or a reply was lost, while
// it was in flight or answered and not yet committed. A slow, limited or dead
// provider delays only its own targets.
//
// Words. An update is one change of an incident, numbered by its sequence. Its
// audience is planned, page by page, into deliveries (incident, target,
// sequence), grouped into batches of one group. A worker claims a batch, holds
// its deliveries in lanes (one per provider: token bucket, circuit breaker,
// window), starts them, and settles what came back in the ledger. What can't
// start within seconds waits in the ledger, and comes back through retry.
//
// The way of the data, each step one file:
//
//	accept → plan → (queue) → claim → scheduler, lanes → send → settle
//	                   ▲                                           │
//	                   └───────────── retry, sweep ◀───────────────┘
//
// A producer that asked for it is told of an update's end (callback), which is
// found in the ledger and is no part of that way.
//
// The [Scheduler] decides and does nothing else: it is a step function over
// (now, inputs) that one goroutine drives, and holds no locks.
package dispatcher
