package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"
)

const (
	// restoringName is a copy on its way: of no meaning after a crash.
	restoringName = fileName + ".restoring"
	// restoredName is a whole one, checked and on disk: whoever has the directory
	// next puts it in place.
	restoredName = fileName + ".restored"
)

// idsSkipped is what a restore leaves free after the ids that the backup knows: the
// ids given since are out in the world, in links and in webhook-ids, and must not
// come to stand for something else.
const idsSkipped = 1_000_000

// Restore puts a backup in the place of the database of a data directory, which is
// made if missing and which nobody may have: the error wraps [ErrInUse]. A database
// that is there is replaced only by force; the error wraps [ErrExists] otherwise.
// The backup is checked in full before. A crash leaves the database as it was, or,
// for the next [Open] to find, the backup.
func Restore(ctx context.Context, from, dir string, force bool, progress Progress) (err error) {
	dir = absolute(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	// Before the end the directory is as the last owner left it.
	clean := !lock.crashed
	defer func() { err = errors.Join(err, lock.release(clean)) }()
	if err := finishRestore(dir); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, fileName)); err == nil && !force {
		return fmt.Errorf("%s: %w", filepath.Join(dir, fileName), ErrExists)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the database: %w", err)
	}
	if log, err := os.Stat(from + "-wal"); err == nil && log.Size() > 0 {
		return fmt.Errorf("%s has a log beside it, as a database in use has: make a backup of it with tocsin backup", from)
	}
	part := filepath.Join(dir, restoringName)
	for _, old := range []string{part, part + "-wal", part + "-shm"} {
		if err := remove(old); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(part))
		}
	}()
	if err := copyFile(ctx, from, part, progress); err != nil {
		return err
	}
	c, err := inspectFile(ctx, part, fullCheck)
	if err := verdict(ctx, c, err); errors.Is(err, ErrDamaged) {
		// Not wrapped: its advice, to move the store away, is for a damaged store.
		return fmt.Errorf("%s is damaged, or no backup: nothing was replaced, restore another one", from)
	} else if err != nil {
		return fmt.Errorf("check %s: nothing was replaced: %w", from, err)
	}
	if err := skipIDs(part); err != nil {
		return err
	}
	if err := install(part, filepath.Join(dir, restoredName)); err != nil {
		return err
	}
	if err := finishRestore(dir); err != nil {
		return err
	}
	clean = true
	return nil
}

// finishRestore puts a restored database in place, if there is one. The log of the
// former goes first: it must never meet the new database. Repeated after a crash it
// does the rest.
func finishRestore(dir string) error {
	restored := filepath.Join(dir, restoredName)
	if _, err := os.Lstat(restored); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file := filepath.Join(dir, fileName)
	for _, old := range []string{file + "-wal", file + "-shm"} {
		if err := remove(old); err != nil {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return install(restored, file)
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what is in the way: %w", err)
	}
	return nil
}

// copyFile copies a file, and has the copy on disk when it returns.
func copyFile(ctx context.Context, from, to string, progress Progress) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write into the data directory: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, backupStep*pageBytes)
		done += n
		progress(done, info.Size())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("copy the backup: %w", err)
		}
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("write into the data directory: %w", err)
	}
	return nil
}

// skipIDs has what is written from here on begin after a gap.
func skipIDs(file string) (err error) {
	c, err := connect(uri(file, nil), sqlite.OpenReadWrite, []string{"journal_mode(DELETE)", "synchronous(FULL)"})
	if err != nil {
		return decided("open the backup", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	_, err = c.exec("UPDATE sqlite_sequence SET seq = seq + ? WHERE name IN ('targets', 'incidents')", idsSkipped)
	return decided("write to the backup's copy", err)
}
