//go:build !linux

package main

import "syscall"

// childAttributes has no way to tie a child's life to ours here.
func childAttributes() *syscall.SysProcAttr { return nil }
