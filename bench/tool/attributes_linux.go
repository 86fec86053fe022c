package tool

import "syscall"

// attributes makes a program die with us, and keeps Ctrl-C of the terminal from it:
// it is ended in order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
