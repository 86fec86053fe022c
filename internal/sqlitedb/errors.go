package sqlitedb

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
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
	switch kind := resultCode(err) & 0xff; {
	case kind == sqlite3.SQLITE_FULL, errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s: %w (%w)", doing, ErrFull, err)
	case kind == sqlite3.SQLITE_CORRUPT, kind == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s: %w (%w)", doing, ErrDamaged, err)
	case kind == sqlite3.SQLITE_CONSTRAINT:
		return fmt.Errorf("%s: %w (%w)", doing, ErrConstraint, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// busy says whether another connection's lock was in the way.
func busy(err error) bool {
	kind := resultCode(err) & 0xff
	return kind == sqlite3.SQLITE_BUSY || kind == sqlite3.SQLITE_LOCKED
}

// resultCode returns SQLite's extended result code, 0 if err has none.
func resultCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}
