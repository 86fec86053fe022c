//go:build !linux

package peer

import "syscall"

// keepToLoopback has no way to bind to the loopback interface here: connections
// to other addresses are closed once accepted.
func keepToLoopback(_, _ string, _ syscall.RawConn) error { return nil }
