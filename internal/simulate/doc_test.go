// Package simulate drives the production engine through random faults in virtual
// time, and judges it by what the peers received.
//
// One seed is one world: a few dozen targets, providers that are slow, silent,
// limiting, flapping or dead, some incidents, and an engine that is killed at any
// step, stopped, cut off from its store or its broker, and moved in time. The
// engine is dispatcher.Engine, the store is store/sqlite on a real file in memory,
// the embedded queue is queue/sqlite; only the far side of the channels, and the
// broker where a seed wants one, are simulated. That broker passes queuetest as
// the real ones do.
//
// Afterwards must hold, from receipts and ledger alone (see judge):
//
//   - A: every accepted (update, target) has an outcome, and a reason for it;
//   - D: nothing was sent again but what a death made the engine forget, and that
//     with the same idempotency key;
//   - O: no older update of an incident started after a newer one, and never two
//     at once to one target;
//   - L: the ledger says what the receipts say;
//   - I: who is healthy waits for nobody who isn't, and nobody starves;
//   - R: no provider saw more than its rate, burst and window, and the waits that
//     it asked for were kept;
//   - B: nobody was sent more than the budgets allow, nor less where there was more to
//     send, and whoever heard of an incident heard of its end;
//   - S: nobody is told for long who no longer wants to be.
//
// What makes a seed come out the same again: every call through a port takes a
// time of its own, drawn from the seed, so that it is the virtual clock and not
// Go's scheduler that says who comes first.
//
// Words: a world outlives its processes; a process is one engine with its ports,
// until it is stopped or dies; a scenario is all that a seed decides in advance.
//
//	TOCSIN_SIM_SEED=n       run this seed alone, and shrink it if it fails
//	TOCSIN_SIM_SEEDS=n      run so many seeds, from 1
//	TOCSIN_SIM_DURATION=1h  run seeds that were never run before, for so long
package simulate
