package main

import "syscall"

// childAttributes makes a child die with us, and keeps Ctrl-C of the terminal
// from it: we end our children in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
