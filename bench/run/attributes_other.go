//go:build !linux

package run

import "syscall"

func attributes(bool) *syscall.SysProcAttr { return nil }
