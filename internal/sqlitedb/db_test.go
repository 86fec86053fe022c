package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"zombiezen.com/go/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// set writes a counter, the tests' stand-in for everything stored.
func set(name string, value int) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)
		return err
	}
}

func get(t *testing.T, db *DB, name string) (value int64) {
	t.Helper()
	if err := db.Read(t.Context(), func(tx *Tx) error {
		rows := tx.Query("SELECT value FROM counters WHERE name = ?", name)
		for rows.Next() {
			value = rows.Int(0)
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestWhatIsWrittenIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	if err := db.Write(t.Context(), Accept, set("a", 7)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, db, "a"); got != 7 {
		t.Errorf("a reader after the write saw %d", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "lock")); err != nil || len(text) > 0 {
		t.Errorf("after an orderly end the lock says %q, %v", text, err)
	}
	if got := get(t, open(t, Options{Dir: dir}), "a"); got != 7 {
		t.Errorf("after reopening: %d", got)
	}
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	_, err := Open(t.Context(), Options{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid(), " on ")) {
		t.Fatalf("a second opening: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir})
}

func TestClosed(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Write(t.Context(), Settle, set("a", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
	if err := db.Read(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after the end: %v", err)
	}
}

// occupy blocks the writer inside a job until release is called, so that jobs added
// meanwhile share the transaction.
func occupy(t *testing.T, db *DB) (release func()) {
	t.Helper()
	begun, done := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := db.Write(context.Background(), Settle, func(tx *Tx) error {
			begin()
			<-done
			return set("first", 1)(tx)
		}); err != nil {
			t.Error(err)
		}
	})
	<-begun
	return func() { close(done); wait.Wait() }
}

// waiting blocks until n jobs wait.
func waiting(t *testing.T, db *DB, n int) {
	t.Helper()
	for {
		db.writer.mu.Lock()
		have := 0
		for _, q := range db.writer.waiting {
			have += len(q)
		}
		db.writer.mu.Unlock()
		if have == n {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the jobs never came to wait")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAFailingJobUndoesOnlyItself(t *testing.T) {
	for p := range priorities {
		t.Run(fmt.Sprint(p), func(t *testing.T) { testAFailingJobUndoesOnlyItself(t, p) })
	}
}

func testAFailingJobUndoesOnlyItself(t *testing.T, p Priority) {
	db := open(t, Options{Dir: t.TempDir()})
	release := occupy(t, db)
	refusal := errors.New("refused")
	var jobs sync.WaitGroup
	for i := range 6 {
		jobs.Go(func() {
			err := db.Write(t.Context(), p, func(tx *Tx) error {
				if err := set(fmt.Sprint("job", i), 1)(tx); err != nil || i%2 == 0 {
					return err
				}
				return refusal
			})
			if want := i%2 == 1; errors.Is(err, refusal) != want {
				t.Errorf("job %d: %v", i, err)
			}
		})
	}
	waiting(t, db, 6)
	release()
	jobs.Wait()
	for i := range 6 {
		if got, want := get(t, db, fmt.Sprint("job", i)), int64(1-i%2); got != want {
			t.Errorf("job %d left %d, want %d", i, got, want)
		}
	}
	if get(t, db, "first") != 1 {
		t.Error("the first job of the transaction was undone")
	}
	// And alone, where there is no savepoint.
	if err := db.Write(t.Context(), p, func(tx *Tx) error {
		return errors.Join(set("alone", 1)(tx), refusal)
	}); !errors.Is(err, refusal) || get(t, db, "alone") != 0 {
		t.Errorf("a job alone: %v, left %d", err, get(t, db, "alone"))
	}
}

func TestARefusalThatWroteNothingUndoesNothing(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	release := occupy(t, db)
	refusal := errors.New("refused")
	runs := 0
	var jobs sync.WaitGroup
	jobs.Go(func() {
		if err := db.Write(t.Context(), Settle, func(tx *Tx) error { runs++; return set("before", 1)(tx) }); err != nil {
			t.Error(err)
		}
	})
	waiting(t, db, 1)
	jobs.Go(func() {
		err := db.Write(t.Context(), Settle, func(tx *Tx) error {
			rows := tx.Query("SELECT 1")
			for rows.Next() {
			}
			return errors.Join(rows.Err(), refusal)
		})
		if !errors.Is(err, refusal) {
			t.Errorf("the refused job: %v", err)
		}
	})
	waiting(t, db, 2)
	release()
	jobs.Wait()
	if got := get(t, db, "before"); runs != 1 || got != 1 {
		t.Errorf("the job before ran %d times and left %d, want one run that is kept", runs, got)
	}
}

func TestPriorities(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	release := occupy(t, db)
	var mu sync.Mutex
	var order []Priority
	var jobs sync.WaitGroup
	for _, p := range []Priority{Import, Plan, Accept, Settle} {
		jobs.Go(func() {
			if err := db.Write(t.Context(), p, func(*Tx) error {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, p)
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	waiting(t, db, 4)
	release()
	jobs.Wait()
	if want := []Priority{Settle, Accept, Plan, Import}; !slices.Equal(order, want) {
		t.Errorf("jobs ran in the order %v, want %v", order, want)
	}
}

func TestAJobDoesNotStarve(t *testing.T) {
	w := newWriter(nil)
	old, fresh := &job{since: time.Now().Add(-2 * patience)}, &job{since: time.Now()}
	w.add(Settle, fresh)
	w.add(Import, old)
	if w.next() != old || w.next() != fresh || w.next() != nil {
		t.Error("a job that waited for long was not the next")
	}
}

func TestAnAbandonedJobNeverRuns(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	release := occupy(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	var jobs sync.WaitGroup
	jobs.Go(func() {
		if err := db.Write(ctx, Settle, set("abandoned", 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("an abandoned job: %v", err)
		}
	})
	waiting(t, db, 1)
	cancel()
	jobs.Wait()
	release()
	if err := db.Write(ctx, Settle, set("abandoned", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a job begun after its context's end: %v", err)
	}
	if get(t, db, "abandoned") != 0 {
		t.Error("an abandoned job ran")
	}
}

func TestAJobThatHasBegunIsWaitedFor(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	if err := db.Write(ctx, Settle, func(tx *Tx) error {
		cancel()
		return set("begun", 1)(tx)
	}); err != nil {
		t.Errorf("a job whose context ended after it had begun: %v", err)
	}
	if get(t, db, "begun") != 1 {
		t.Error("it isn't there")
	}
}

func TestALockedFileIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	other, err := connect(uri(filepath.Join(dir, "tocsin.db"), nil), sqlite.OpenReadWrite, []string{"busy_timeout(1000)"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, err := other.exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if err := db.Write(short, Settle, set("a", 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a write to a locked file: %v", err)
	}
	var jobs sync.WaitGroup
	for i := range 3 {
		jobs.Go(func() {
			if err := db.Write(t.Context(), Settle, set(fmt.Sprint("job", i), 1)); err != nil {
				t.Errorf("a write that waited: %v", err)
			}
		})
	}
	waiting(t, db, 3)
	if _, err := other.exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	jobs.Wait()
	if got := get(t, db, "job0") + get(t, db, "job1") + get(t, db, "job2"); got != 3 || get(t, db, "a") != 0 {
		t.Errorf("%d of 3 waiting writes are there, %d of the one given up", got, get(t, db, "a"))
	}
}

func TestAFullDatabaseSaysSoAndStaysWhole(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir, MaxPages: 120})
	fill := func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO intake (body, update_id, source) VALUES (?, '', '')", make([]byte, 16<<10))
		return err
	}
	written := 0
	var err error
	for err == nil && written < 1000 {
		if err = db.Write(t.Context(), Accept, fill); err == nil {
			written++
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d rows: %v", written, err)
	}
	// A job that fits shares a transaction with one that doesn't.
	release := occupy(t, db)
	var jobs sync.WaitGroup
	for _, fn := range []func(*Tx) error{fill, set("fits", 1)} {
		jobs.Go(func() { db.Write(t.Context(), Accept, fn) })
	}
	waiting(t, db, 2)
	release()
	jobs.Wait()
	if get(t, db, "fits") != 1 || get(t, db, "first") != 1 {
		t.Error("a job that fits failed with one that doesn't")
	}
	count := func(db *DB) (n int64, check string) {
		if err := db.Read(t.Context(), func(tx *Tx) error {
			rows := tx.Query("SELECT count(*) FROM intake")
			for rows.Next() {
				n = rows.Int(0)
			}
			rows = tx.Query("PRAGMA integrity_check")
			for rows.Next() {
				check += rows.Text(0)
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
		return n, check
	}
	if n, check := count(db); n != int64(written) || check != "ok" {
		t.Errorf("%d rows of %d, integrity %s", n, written, check)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Options{Dir: dir})
	if n, check := count(db); n != int64(written) || check != "ok" {
		t.Errorf("after reopening: %d rows of %d, integrity %s", n, written, check)
	}
	if err := db.Write(t.Context(), Accept, fill); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestAReaderSeesOneMoment(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	if err := db.Read(t.Context(), func(tx *Tx) error {
		see := func() (n int64) {
			rows := tx.Query("SELECT value FROM counters WHERE name = 'a'")
			for rows.Next() {
				n = rows.Int(0)
			}
			return n
		}
		see()
		if err := db.Write(t.Context(), Settle, set("a", 1)); err != nil {
			return err
		}
		if see() != 0 {
			t.Error("a reader saw a change within its transaction")
		}
		if _, err := tx.Exec("DELETE FROM counters"); err == nil {
			t.Error("a reader can write")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if get(t, db, "a") != 1 {
		t.Error("the next reader didn't see the change")
	}
}

func TestRows(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	now := time.Date(2026, 11, 21, 5, 0, 0, 123_456_789, time.UTC)
	err := db.Read(t.Context(), func(tx *Tx) error {
		const query = "SELECT ?, ?, ?, ?, ?, ?"
		rows := tx.Query(query, now, time.Time{}, "text", []byte("blob"), true, nil)
		if !rows.Next() {
			return rows.Err()
		}
		if again := tx.Query(query, 1, 2, 3, 4, 5, 6); again.Next() || again.Err() == nil {
			t.Error("a query ran inside itself")
		}
		if !rows.Time(0).Equal(now.Truncate(time.Microsecond)) || !rows.Time(1).IsZero() || !rows.Null(1) ||
			rows.Text(2) != "text" || string(rows.Blob(3)) != "blob" || !rows.Bool(4) || rows.Int(5) != 0 || rows.Text(5) != "" {
			t.Errorf("values: %v %v %q %q %v %v", rows.Time(0), rows.Time(1), rows.Text(2), rows.Blob(3), rows.Bool(4), rows.Null(5))
		}
		if rows.Next() || rows.Err() != nil {
			t.Errorf("after the last row: %v", rows.Err())
		}
		if bad := tx.Query("SELECT ?", 'x'); bad.Next() || bad.Err() == nil {
			t.Error("an argument of an unknown type was taken")
		}
		left := tx.Query(query, 1, 2, 3, 4, 5, 6) // left open: the end of the transaction closes it
		left.Next()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAConstraintIsToldApart(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	err := db.Write(t.Context(), Settle, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO counters VALUES ('ping', 1)")
		return err
	})
	if !errors.Is(err, ErrConstraint) {
		t.Errorf("a violated constraint: %v", err)
	}
}

// crash leaves the lock's text as a killed process would.
func crash(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("process 1 on elsewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAStartIsFollowedByACheck(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	if err := db.Write(t.Context(), Accept, func(tx *Tx) error {
		for i := range 200 {
			if err := set(fmt.Sprintf("%0100d", i), i)(tx); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	crash(t, dir)
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tocsin.db")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[len(data)-4096:]) // the last page belongs to the rows above
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged database after an orderly end: %v", err)
	}
	crash(t, dir)
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged database after a crash: %v", err)
	}
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	if err := db.Write(t.Context(), Accept, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("a newer database: %v", err)
	}
}
