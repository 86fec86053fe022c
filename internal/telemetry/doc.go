// Package telemetry shows what the engine does: metrics for Prometheus and logs.
//
// Promise: labels are bounded. They name channels, outcomes, classes, configured
// groups and providers, never a host, a target or an incident; what a caller
// gives beyond that is counted as "other". Counting costs no look-up by label and
// no allocation. Neither metrics nor logs hold an address or a secret: the logger
// cuts credentials and queries out of every URL it meets, as a last resort.
//
// Words: a pool is the group a lane belongs to; a queue is named as
// [queue.Depth] names it.
package telemetry
