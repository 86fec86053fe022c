// Package soak runs the engine for long under a mixed load and steady trouble, and
// says whether anything grows, is lost, comes twice or comes out of order.
//
// Promise: the engine is the binary that users run, in a process of its own, with its
// ledger on disk. What was told is the receivers' word, compared with the ledger
// incident by incident as they end, so that hours need no more memory than minutes.
// A figure is called flat only by a rule that is written down beside it, and a run
// that is too short to tell says so. The load is steady: what the engine doesn't take
// is not caught up with.
//
// Words: a story is one incident with all its updates; a [Fault] is trouble that one
// channel's receivers, or the broker, are in for a few seconds; a cut is a fault that
// can lose answers; a rest is when load and faults pause until the engine has nothing
// left to do; a guest is a target that comes and goes; a [Sample] is what the
// engine holds at one moment, a [Series] one figure of all samples, and a [Trend] its
// growth in an hour from rest to rest.
package soak
