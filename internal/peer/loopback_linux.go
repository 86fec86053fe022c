package peer

import "syscall"

// keepToLoopback lets only the loopback interface reach a socket that listens on
// every address. Where the kernel doesn't allow it to us (before 5.7 without
// privileges), what remains is that connections to other addresses are closed.
func keepToLoopback(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
	})
}
