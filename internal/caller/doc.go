// Package caller decides who may send to the intake.
//
// Promise: a request is let in only if every part that one source of its route asks
// for holds. Secrets are compared in constant time, and are in no error and no log.
// What is signed together with a time is taken within [MaxSkew] of our clock, and
// once: a request that was answered with success is remembered until its time is too
// old to be taken, and one that was not may come again as it is. Who is refused isn't
// told why; the log is. Memory is bounded whatever is sent: what would exceed it is
// refused for a while (503), never forgotten too early.
//
// Words: a source is someone who may send to some routes of the intake; a part is one
// of the things that it may be asked for: a token, a key, a certificate, a network to come
// from, a signature; a form is how a sender signs; a replay is a signed request that
// comes again after it was taken.
//
// What was taken is in the store before its sender has the answer, so a restart forgets
// nothing of it. A crash just before that forgets a request that the intake has; if it
// comes again, it meets what the intake knows durably: update_id, and the content of the
// latest update.
package caller
