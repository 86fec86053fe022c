package tool

import "syscall"

// attributes makes a program die with us, and keeps Ctrl-C of the terminal from it:
// it is ended in order. It runs as the user, if that is not nil.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
