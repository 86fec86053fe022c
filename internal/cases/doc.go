// Package cases runs the lifecycle: it takes reports, keeps the cases in the store,
// has their timers, and publishes what they decide to the intake.
//
// Promise: what a report leads to is durable when [Keeper.Report] returns. What is
// decided reaches the intake, in the order of its incident, across a crash and with
// the broker down for any time; what a crash has it offer twice is a known duplicate.
// A report that says what the last one of its group said costs no write.
//
// Words: see package lifecycle. The outbox holds the events that are decided and not
// yet in the intake; to recall is to know a report again.
package cases
