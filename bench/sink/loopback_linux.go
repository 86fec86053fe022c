package sink

import "syscall"

// keepToLoopback lets only the loopback interface reach a socket that listens on
// every address. Where the kernel refuses that (before 5.7 without privileges),
// connections for other addresses are closed instead.
func keepToLoopback(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
	})
}
