// Package probing watches services: it takes the results of probes, keeps the health of
// services in the store, and has the lifecycle told of what changes.
//
// Promise: what a result changed is told within a second or two, in the order of its
// service, once the store has it; a crash at any moment has it told again, which the
// lifecycle knows as a repeat. A crash forgets at most the results of the last second
// or two, as if those had not been sent. An orderly stop forgets nothing. A service that
// an operator has forgotten leaves no incident that nothing would end.
//
// Words: see package probe. A round is what is done every second.
package probing
