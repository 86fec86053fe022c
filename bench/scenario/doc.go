// Package scenario is what the benchmark measures: a table of scenarios, each with
// its work, its goals and the floors it is held against.
//
// Promise: the engine does in a scenario what it does in production. It is the
// binary that users run, in a process of its own, with its ledger and its queue on
// disk and every fsync and confirm in place; only limits that protect receivers
// (rates) are raised where they would be what is measured. Time runs from the
// moment an event is accepted (its 202 or confirm is in hand) to the last answer
// of a peer. What arrived, when, twice or out of order, is the peers' word; the
// engine's counters must say the same.
//
// Words: a [Rig] is what scenarios stand on: the binaries, a folder, a port for
// sinks, a broker. A contestant is the engine or a floor: both do the same work
// against sinks that are alike, in turn, round by round.
package scenario
