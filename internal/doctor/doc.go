// Package doctor compares the machine, and the services around it, with what a
// configuration needs.
//
// Promises:
//   - Nothing is sent, and a running engine is not disturbed. What is needed to look is
//     taken back: a file in the data folder, a listener, a shared lock, each for
//     moments. An engine that starts in just these may be refused, and has to start
//     again; after a crash SQLite's index of the log may be left.
//   - Every look has an end, whatever hangs: a check that takes too long is a failure
//     that says so.
//   - No finding holds a secret of the configuration, whoever repeats it.
//   - What could not be looked at is skipped, with the reason, and never counts as in
//     order.
//
// Words: a check looks at one thing, or at a few that go together; a finding says of
// one of them what was found, what is wanted, what the difference does and how to end
// it. A failure keeps the engine from doing what it promises; a warning makes it
// slower, or lets it fail sooner.
//
// Checks read facts from a [System] or through a probe of an adapter, and judge them
// by functions that do nothing else.
package doctor
