// Package peer plays the receivers that the engine notifies: for tests, for the
// demo and for the bench.
//
// Promise: what a peer reports is what happened on the wire. A receipt says 2xx
// only if the answer was written to the connection; a request that the client
// gave up before it was answered has status 0. Verdicts come from receipts
// alone ([Judge]), never from what the engine says of itself, except where the
// two are compared. A peer is reachable from this machine only.
//
// Words: a [Webhook], an [SMTP] relay and an [SMSC] are one listener each that
// stands for many targets, told apart by number, [Feeds] is a reader of as many
// feeds; a [Behaviour] is how one target treats its requests; a [Mix] deals
// out behaviours by target number, so that every process that knows the mix
// knows each target's part without asking; a [Receipt] is one request as the
// peer saw it.
package peer
