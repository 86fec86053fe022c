// Package sink is the far side of a benchmark: one listener that is every
// webhook in 127/8, as cheap for each request as it can be made, because it
// shares the machine with what is measured.
//
// Promise: what a sink counts is what came over its sockets. It knows for each
// target and sequence whether, and when to the microsecond, it answered 2xx; it
// counts requests for what it had answered already (duplicates) and requests
// that came after one with a higher sequence at the same target (order
// violations). The engine and the floors talk to the same sink, and it reads
// their requests in the same way. A sink is reachable from this machine only.
//
// Words: a target is a number from 1 on, named by the path /t/N of its URL; a
// host is a loopback address, and targets share hosts in turn; a tally counts;
// a [Record] is everything that a sink saw, from which results are computed.
package sink
