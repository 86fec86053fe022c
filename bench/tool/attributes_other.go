//go:build !linux

package tool

import "syscall"

// attributes has no way to tie a program's life to ours here.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}
