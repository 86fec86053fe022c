package sqlitedb

import (
	"errors"
	"fmt"
	"syscall"

	driver "modernc.org/sqlite"
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

// ErrDamaged is returned (wrapped) where the file is not what was written.
var ErrDamaged = errors.New("the database is damaged: with the engine stopped, restore a backup with tocsin restore FILE --force, " +
	"or move tocsin.db and tocsin.db-wal away to begin anew")

// decided puts an error of the driver under one of the errors above, once, where
// it comes in.
func decided(doing string, err error) error {
	if err == nil {
		return nil
	}
	switch kind := resultOf(err); {
	case kind == sqlite.ResultFull, errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s: %w (%w)", doing, ErrFull, err)
	case kind == sqlite.ResultCorrupt, kind == sqlite.ResultNotADB:
		return fmt.Errorf("%s: %w (%w)", doing, ErrDamaged, err)
	case kind == sqlite.ResultConstraint:
		return fmt.Errorf("%s: %w (%w)", doing, ErrConstraint, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// busy says whether another connection's lock was in the way.
func busy(err error) bool {
	kind := resultOf(err)
	return kind == sqlite.ResultBusy || kind == sqlite.ResultLocked
}

// resultOf is SQLite's primary result code in err, of whichever of its two drivers;
// ResultError if there is none.
func resultOf(err error) sqlite.ResultCode {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return sqlite.ResultCode(e.Code()).ToPrimary()
	}
	return sqlite.ErrCode(err).ToPrimary()
}
