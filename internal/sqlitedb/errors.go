package sqlitedb

import (
	"errors"
	"fmt"
	"syscall"

	"zombiezen.com/go/sqlite"
)

// ErrFull is returned (wrapped) when the disk is full or the file has reached its
// size limit. Nothing was written; free space and repeat.
var ErrFull = errors.New("the database can't grow: the disk or its size limit is full; free some space")

// ErrInUse is returned (wrapped) by [Open] when another process has the data
// directory.
var ErrInUse = errors.New("the data directory is in use")

// ErrClosed is returned (wrapped) after [DB.Close].
var ErrClosed = errors.New("the database is closed")

// ErrConstraint is returned (wrapped) for a violated constraint: repeating can't
// help.
var ErrConstraint = errors.New("the change contradicts what is stored")

// decided puts an error of the driver under one of the errors above, once, where
// it comes in.
func decided(doing string, err error) error {
	if err == nil {
		return nil
	}
	switch kind := sqlite.ErrCode(err).ToPrimary(); {
	case kind == sqlite.ResultFull, errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s: %w (%w)", doing, ErrFull, err)
	case kind == sqlite.ResultConstraint:
		return fmt.Errorf("%s: %w (%w)", doing, ErrConstraint, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// busy says whether another connection's lock was in the way.
func busy(err error) bool {
	kind := sqlite.ErrCode(err).ToPrimary()
	return kind == sqlite.ResultBusy || kind == sqlite.ResultLocked
}
