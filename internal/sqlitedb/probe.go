package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"zombiezen.com/go/sqlite"
)

// Owner says which process has a data directory.
type Owner struct {
	// Process and Host name it as it did itself; 0 and "" if nobody has the
	// directory, or if the owner is just starting or ending.
	Process int
	Host    string
	// Held says that somebody has it.
	Held bool
	// Crashed says that nobody has it and that the last one did not end in order.
	Crashed bool
}

// OwnerOf looks at the lock of a data directory. A directory that is not there has
// no owner. The lock is taken, shared, for some microseconds: an engine that starts
// in just these is refused and has to be started again.
func OwnerOf(dir string) (Owner, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, nil
	}
	if err != nil {
		return Owner{}, fmt.Errorf("look at the lock of the data directory: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return Owner{}, fmt.Errorf("read the lock of the data directory: %w", err)
	}
	var o Owner
	if n, _ := fmt.Sscanf(string(text), signature, &o.Process, &o.Host); n != 2 {
		o.Process, o.Host = 0, ""
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); {
	case err == nil:
		return Owner{Crashed: len(text) > 0}, nil // closing gives it back
	case errors.Is(err, syscall.EWOULDBLOCK):
		o.Held = true
		return o, nil
	default:
		return Owner{}, fmt.Errorf("look at the lock of the data directory: %w", err)
	}
}

// Condition is what [Inspect] found of a database.
type Condition struct {
	// Bytes is the size of the file with its log; 0 if there is none yet.
	Bytes int64
	// Version is that of the schema, Known the latest that this program knows.
	Version, Known int
	// Damage is what SQLite says is wrong; "" if nothing is.
	Damage string
	// Unfinished says that ctx ended before all of the file was checked.
	Unfinished bool
}

// Inspect checks the database of a data directory that nobody has, until ctx ends. It
// changes nothing: a file without a log is read without locks; one with a log, which
// a crash left, is read as any reader does, which may leave SQLite's index of the log
// (tocsin.db-shm), made anew by the next who opens it. Who may not read the file gets
// an error that wraps [fs.ErrPermission].
func Inspect(ctx context.Context, dir string) (Condition, error) {
	file := filepath.Join(dir, fileName)
	var c Condition
	var err error
	if c.Known, err = latestMigration(); err != nil {
		return c, err
	}
	db, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("open the database: %w", err)
	}
	db.Close()
	query := url.Values{"mode": {"ro"}}
	for _, name := range []string{file, file + "-wal"} {
		switch at, err := os.Stat(name); {
		case err == nil:
			c.Bytes += at.Size()
		case errors.Is(err, fs.ErrNotExist) && name != file:
			query.Set("immutable", "1")
		default:
			return c, fmt.Errorf("look at the database: %w", err)
		}
	}
	reader, err := connect(uri(file, query), sqlite.OpenReadOnly, readerPragmas())
	if err == nil {
		defer func() { _ = reader.close() }() // nothing was written
		err = c.check(ctx, reader)
	}
	switch {
	case ctx.Err() != nil:
		c.Unfinished = true
		return c, nil
	case err != nil:
		c.Damage = err.Error()
	}
	return c, nil
}

func (c *Condition) check(ctx context.Context, reader *conn) error {
	defer reader.within(ctx)()
	defer reader.closeRows()
	version, err := reader.query("SELECT max(version_id) FROM goose_db_version WHERE is_applied")
	switch {
	case err == nil:
		if version.Next() {
			c.Version = int(version.Int(0))
		}
		if err := version.Err(); err != nil {
			return err
		}
	case sqlite.ErrCode(err).ToPrimary() != sqlite.ResultError: // that: no such table, so nothing was begun
		return err
	}
	result, err := reader.query("PRAGMA quick_check(1)")
	if err != nil {
		return err
	}
	if result.Next() && result.Text(0) != "ok" {
		c.Damage = result.Text(0)
	}
	return result.Err()
}

// latestMigration is the number that the last migration's file begins with.
func latestMigration() (int, error) {
	files, err := fs.ReadDir(migrations, "migrations")
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("read the migrations: %w", err)
	}
	number, _, _ := strings.Cut(files[len(files)-1].Name(), "_")
	return strconv.Atoi(number)
}
