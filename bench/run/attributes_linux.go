package run

import "syscall"

// attributes make a process die with us, and keep Ctrl-C of the terminal from it:
// processes are ended in order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
