//go:build !linux

package run

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
