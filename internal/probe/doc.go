// Package probe turns the results of health probes into the health of services,
// without I/O and without a clock of its own: the same results give the same health.
//
// A result is what one probe saw of one service from one location. A location votes
// that a service fails after three failures in a row ([Rules.Fail]), and that it is
// well again after five successes ([Rules.Recover]); what it says in between changes
// nothing. One that has said nothing for [Rules.StaleAfter] doesn't vote.
//
// A service is down when strictly more than half of the weight that votes says that
// it fails; exactly half is not enough. It is degraded when less does, or when it was
// slow: more than one success in a hundred above [Rules.Slow], that is a 99th
// percentile above it, for [Rules.SlowCycles] cycles in a row. Otherwise it is
// operational. Where nobody votes its health stays what it was.
//
// A service that changes to and fro is flapping: its health then only gets worse, and
// better again once it has been the same for [Rules.Settle].
package probe
