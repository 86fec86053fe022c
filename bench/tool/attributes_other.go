//go:build !linux

package tool

import "syscall"

// attributes has no way to tie a program's life to ours here.
func attributes() *syscall.SysProcAttr { return nil }
