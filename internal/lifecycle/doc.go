// Package lifecycle decides what becomes of what senders say: which signals make an
// incident, when it has an update, when it is over. It is pure: no clock, no store,
// no network.
//
// Promise: the same reports and timers at the same times give the same decisions.
// Saying the same again changes nothing, whether it comes twice or a hundred times.
// No two updates in a row say the same; none but the first comes within the window
// after the one before. Who heard of an incident hears its end. What leaves is what
// package incident calls public, put together field by field: a sender's labels are
// not among them, but for those that the operator made public details.
//
// Words: a signal is one thing that a sender says is wrong, or no longer; signals
// of one group make one incident. A case is what is known of one (page, group), for
// ever; it has one incident after the other, its occurrences. To promote a case is
// to begin telling of it. A signal that fires in a case that isn't promoted is held
// back. To cool is to be resolved and not yet completed. An order is what an operator
// says of one incident by hand; its agenda is what was ordered, and what of it waits
// for its time.
package lifecycle
