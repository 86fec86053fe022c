package main

import (
	"context"
	"errors"
)

// The exit codes, a contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitInterrupted = 130
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError marks what the caller has to change: the command line, the
// configuration, a file's name.
func usageError(err error) error { return &exitError{exitUsage, err} }

// unavailableError marks a service that is needed and isn't there.
func unavailableError(err error) error { return &exitError{exitUnavailable, err} }

func exitCode(ctx context.Context, err error) int {
	switch e, ok := errors.AsType[*exitError](err); {
	case err == nil:
		return exitDone
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case ok:
		return e.code
	}
	return exitFailed
}
