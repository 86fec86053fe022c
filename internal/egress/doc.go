// Package egress is the one way out: every connection that Tocsin opens to a
// provider is dialled here.
//
// Promises:
//   - No connection is made to an address that the [Policy] refuses, however the
//     name resolves and whoever chose it: a [URL] is checked when it is registered
//     and again before each use, every resolved address before dialling, and the
//     final address once more when the socket connects. Proxy settings of the
//     environment are ignored.
//   - The process never runs out of file descriptors because of what it dials:
//     each connection, idle or not, holds one of the [Budget], and whoever wants
//     one more waits.
//   - Hosts that don't answer can't keep others from being dialled: see [Gate].
//   - No [Error] names an address, so that its text may be shown and stored.
//
// Words: an endpoint is the host, port and transport that connections are made to
// and kept for; its host:port is the provider of a webhook. An idle connection is
// one its owner has parked to use it again.
package egress
