package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	driver "modernc.org/sqlite"
)

// backupStep is how many pages are copied between two looks at ctx: some
// milliseconds.
const backupStep = 1024

// ErrExists is returned (wrapped) where a file is in the way that was not to be
// replaced.
var ErrExists = errors.New("there is one already; --force replaces it")

// Progress is told now and then how many bytes of how many are done.
type Progress func(done, total int64)

// Backup copies the database of a data directory to the file to, while its owner
// goes on writing: what was committed when Backup began is in the copy, nothing
// later is. Meanwhile the log grows by what is written, and is written back
// afterwards. The copy is checked and on disk before it gets its name; where
// something fails, or ctx ends, there is none. It holds all secrets of the targets,
// and is readable by its owner alone.
func Backup(ctx context.Context, dir, to string, force bool, progress Progress) (err error) {
	from := filepath.Join(dir, fileName)
	if err := mayWrite(from, to, force); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*.partial")
	if err != nil {
		return fmt.Errorf("begin the backup: %w", err)
	}
	defer func() {
		err = errors.Join(err, part.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if err := copyPages(ctx, from, part.Name(), progress); err != nil {
		return err
	}
	c, err := inspectFile(ctx, part.Name(), quickCheck)
	if err := verdict(ctx, c, err); err != nil {
		return fmt.Errorf("check the backup: %w", err)
	}
	if err := part.Sync(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if err := mayWrite(from, to, force); err != nil { // that was minutes ago
		return err
	}
	return install(part.Name(), to)
}

// mayWrite refuses to replace what is there, and the database itself in any case.
func mayWrite(from, to string, force bool) error {
	db, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database at %s: name the data directory of the engine with --data or --config", from)
	}
	if err != nil {
		return fmt.Errorf("look at the database: %w", err)
	}
	there, err := os.Stat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look where the backup goes: %w", err)
	case os.SameFile(db, there):
		return fmt.Errorf("%s is the database itself: name another file", to)
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: name one", to)
	case !force:
		return fmt.Errorf("%s: %w", to, ErrExists)
	}
	return nil
}

// copyPages copies one snapshot of a database. Holding it open keeps the copy from
// beginning again at each write.
func copyPages(ctx context.Context, from, to string, progress Progress) (err error) {
	source, err := driver.NewConnector(uri(absolute(from), url.Values{"mode": {"rw"}, "_pragma": readerPragmas()}))
	if err != nil {
		return fmt.Errorf("name the database file: %w", err)
	}
	db := sql.OpenDB(source)
	defer func() { err = errors.Join(err, db.Close()) }()
	c, err := db.Conn(ctx)
	if err != nil {
		return decided("open the database", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return decided("begin to read", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil { // takes the snapshot
		return decided("begin to read", err)
	}
	// Nobody reads the copy before it is synced, and a crash leaves it without its
	// name: it needs no journal.
	target := uri(absolute(to), url.Values{"_pragma": {"journal_mode(OFF)", "synchronous(OFF)"}})
	var backup *driver.Backup
	err = c.Raw(func(raw any) (err error) {
		backup, err = raw.(interface {
			NewBackup(uri string) (*driver.Backup, error)
		}).NewBackup(target)
		return err
	})
	if err != nil {
		return decided("begin the backup", err)
	}
	for more := true; more && err == nil; {
		if err = ctx.Err(); err == nil {
			more, err = backup.Step(backupStep)
			total := int64(backup.PageCount())
			progress((total-int64(backup.Remaining()))*pageBytes, total*pageBytes)
		}
	}
	return errors.Join(decided("copy the database", err), decided("end the backup", backup.Finish()))
}

// pageBytes is the size of a page.
const pageBytes = 4096

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// verdict is why a checked file can't be trusted, nil if it can.
func verdict(ctx context.Context, c Condition, err error) error {
	switch {
	case err != nil:
		return err
	case c.Unfinished:
		return ctx.Err()
	case c.Damage != "":
		return fmt.Errorf("%w: %s", ErrDamaged, c.Damage)
	case c.Version == 0:
		return errors.New("it is no database of Tocsin")
	case c.Version > c.Known:
		return fmt.Errorf("it has version %d, this program knows %d at most: use the newer program that wrote it", c.Version, c.Known)
	}
	return nil
}

// install gives a synced file its name, so that it lasts.
func install(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("give the file its name: %w", err)
	}
	return syncDir(filepath.Dir(to))
}

// syncDir makes names last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write the directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
