// Package config reads Tocsin's configuration.
//
// Promise: what [Load] returns without an error is complete, valid and can be
// run by this version: no key is unknown, no value out of bounds, nothing that
// was asked for is ignored. Everything at fault is reported at once, with its
// place, its key and what is allowed there. No error and no printed
// configuration ever holds a secret: errors repeat no values, and [Config]
// prints itself as [Config.Redacted].
//
// Words: a key is a path through the file, as in retry.base; a setting gives a
// key its value. Settings come from the defaults, then the file, then the
// environment, then the command line; the later one wins.
//
// In the environment a key is TOCSIN_ and its path in capitals, joined by "_":
// TOCSIN_RETRY_BASE. Lists are separated by commas. Lists of relays and
// sources and the limits of single webhook hosts have no such name; use ${VAR} in the file. A
// variable that begins so and is neither a key's, nor used by the file, nor ours
// for something else, is a fault.
package config
