package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func quiet(done, total int64) {}

func openAt(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func closeDB(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// note writes the nth event of a growing intake.
func note(ctx context.Context, db *DB, n int) error {
	return db.Write(ctx, Accept, func(tx *Tx) error { return insert(tx, n) })
}

func insert(tx *Tx, n int) error {
	_, err := tx.Exec("INSERT INTO intake (body, update_id, source) VALUES (?, ?, '')", []byte(strings.Repeat("x", 3000)), fmt.Sprint(n))
	return err
}

// noted returns how many events there are, which are the first ones.
func noted(t *testing.T, db *DB) int {
	t.Helper()
	n := 0
	err := db.Read(t.Context(), func(tx *Tx) error {
		rows := tx.Query("SELECT update_id FROM intake ORDER BY id")
		for rows.Next() {
			if n++; rows.Text(0) != fmt.Sprint(n) {
				t.Fatalf("event %d is %s", n, rows.Text(0))
			}
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A backup taken while others write has all that was there when it began, and no
// half of anything.
func TestBackupWhileWriting(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	db := openAt(t, dir)
	const before = 3000
	err := db.Write(t.Context(), Accept, func(tx *Tx) error {
		for n := 1; n <= before; n++ {
			if err := insert(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	written := make(chan int, 1)
	writing.Go(func() {
		n := before
		for ctx.Err() == nil && note(context.Background(), db, n+1) == nil {
			n++
		}
		written <- n
	})
	var told []int64
	err = Backup(t.Context(), dir, to, false, func(done, total int64) {
		told = append(told, done, total)
		before := noted(t, db)
		for noted(t, db) < before+3 { // others get on meanwhile
		}
	})
	stop()
	writing.Wait()
	if err != nil {
		t.Fatal(err)
	}
	last := <-written
	if got := noted(t, db); got != last {
		t.Errorf("%d events, %d were written", got, last)
	}
	closeDB(t, db)
	if len(told) < 4 || told[len(told)-2] != told[len(told)-1] || told[0] >= told[1] {
		t.Errorf("the progress was %v", told)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}

	other := filepath.Join(t.TempDir(), "new")
	if err := Restore(t.Context(), to, other, false, quiet); err != nil {
		t.Fatal(err)
	}
	restored := openAt(t, other)
	defer closeDB(t, restored)
	if got := noted(t, restored); got < before || got >= last {
		t.Errorf("the backup has %d events, there were %d when it began and %d at the end", got, before, last)
	}
}

func TestBackupRefuses(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	db := openAt(t, dir)
	defer closeDB(t, db)
	to := filepath.Join(out, "b.db")
	backup := func(dir, to string, force bool) error { return Backup(t.Context(), dir, to, force, quiet) }
	if err := backup(out, to, false); err == nil || !strings.Contains(err.Error(), "no database") {
		t.Errorf("of an empty folder: %v", err)
	}
	if err := backup(dir, to, false); err != nil {
		t.Fatal(err)
	}
	if err := backup(dir, to, false); !errors.Is(err, ErrExists) {
		t.Errorf("over another: %v", err)
	}
	if err := backup(dir, to, true); err != nil {
		t.Errorf("by force: %v", err)
	}
	if err := backup(dir, filepath.Join(dir, "tocsin.db"), true); err == nil || !strings.Contains(err.Error(), "the database itself") {
		t.Errorf("over the database: %v", err)
	}
	if err := backup(dir, out, true); err == nil {
		t.Error("over a folder")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := Backup(ended, dir, filepath.Join(out, "c.db"), false, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	db := openAt(t, dir)
	if err := note(t.Context(), db, 1); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(out, "b.db")
	if err := Backup(t.Context(), dir, to, false, quiet); err != nil {
		t.Fatal(err)
	}
	restore := func(from string, force bool) error { return Restore(t.Context(), from, dir, force, quiet) }
	if err := restore(to, true); !errors.Is(err, ErrInUse) {
		t.Errorf("under an engine: %v", err)
	}
	if err := note(t.Context(), db, 2); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	if err := restore(to, false); !errors.Is(err, ErrExists) {
		t.Errorf("over another: %v", err)
	}
	whole, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": {}, "text": []byte("hello"), "cut": whole[:len(whole)/2], "damaged": damaged(whole),
	} {
		bad := filepath.Join(out, name)
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restore(bad, true); err == nil {
			t.Errorf("%s was restored", name)
		} else if !strings.Contains(err.Error(), "nothing was replaced") || strings.Contains(err.Error(), "begin anew") {
			t.Errorf("%s: the error gives the advice of a damaged store: %v", name, err)
		}
	}
	if err := os.WriteFile(to+"-wal", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(to, true); err == nil || !strings.Contains(err.Error(), "tocsin backup") {
		t.Errorf("with a log: %v", err)
	}
	db = openAt(t, dir)
	if got := noted(t, db); got != 2 {
		t.Errorf("after all refusals there are %d events", got)
	}
	closeDB(t, db)
	if err := os.Remove(to + "-wal"); err != nil {
		t.Fatal(err)
	}
	if err := restore(to, true); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, dir)
	defer closeDB(t, db)
	if got := noted(t, db); got != 1 {
		t.Errorf("after the restore there are %d events", got)
	}
}

// damaged overwrites the middle of every page but the first with ones.
func damaged(whole []byte) []byte {
	bad := append([]byte(nil), whole...)
	for at := pageBytes; at < len(bad); at += pageBytes {
		for i := range 64 {
			bad[at+i] = 0xff
		}
	}
	return bad
}

// A crash between the last steps: the log of the former database is still there. The
// next start must not apply it to the new one.
func TestRestoreInterrupted(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	db := openAt(t, dir)
	if err := note(t.Context(), db, 1); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(out, "b.db")
	if err := Backup(t.Context(), dir, to, false, quiet); err != nil {
		t.Fatal(err)
	}
	for n := 2; n < 100; n++ {
		if err := note(t.Context(), db, n); err != nil {
			t.Fatal(err)
		}
	}
	crashed := t.TempDir() // as it looks when the engine was killed
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	if log, err := os.Stat(filepath.Join(crashed, "tocsin.db-wal")); err != nil || log.Size() == 0 {
		t.Fatalf("there is no log: %v", err)
	}
	if err := copyFile(t.Context(), to, filepath.Join(crashed, restoredName), quiet); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, crashed)
	defer closeDB(t, db)
	if got := noted(t, db); got != 1 {
		t.Errorf("after an interrupted restore there are %d events, want 1", got)
	}
	if _, err := os.Stat(filepath.Join(crashed, restoredName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the restored file is still there: %v", err)
	}
}

// Ids given since the backup stay unused after a restore.
func TestRestoreSkipsIDs(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "b.db")
	db := openAt(t, dir)
	incident := func() (id int64) {
		t.Helper()
		err := db.Write(t.Context(), Accept, func(tx *Tx) error {
			rows := tx.Query(`INSERT INTO incidents (page, incident_id, sequence, hash, status, impact, affected, updated_at, highest, components, whole)
				VALUES ('p', hex(randomblob(8)), 1, '', '', '', '', 0, '', '', 0) RETURNING id`)
			for rows.Next() {
				id = rows.Int(0)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	incident()
	if err := Backup(t.Context(), dir, to, false, quiet); err != nil {
		t.Fatal(err)
	}
	since := incident()
	closeDB(t, db)
	if err := Restore(t.Context(), to, dir, true, quiet); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, dir)
	defer closeDB(t, db)
	if next := incident(); next <= since {
		t.Errorf("after the restore an incident gets the id %d, which was given before", next)
	}
}

// A damaged file is found at the start after an orderly end, too, and the error says
// what to do.
func TestOpenFindsDamage(t *testing.T) {
	dir := t.TempDir()
	db := openAt(t, dir)
	if err := note(t.Context(), db, 1); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	file := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"pages": damaged(whole), "no database": []byte(strings.Repeat("hello ", 1000))} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "tocsin restore") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
