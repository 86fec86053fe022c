package sqlitedb

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql, for the migrations
	"zombiezen.com/go/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// fileName is the database in the data directory.
const fileName = "tocsin.db"

// checkLimit bounds the check after a crash: it is a safeguard, and starting late
// helps nobody. SQLite itself recovers the log on the first read either way.
const checkLimit = 10 * time.Second

// Options say where the database is and how it is used.
type Options struct {
	// Dir is the data directory; it is made if missing.
	Dir string
	// Readers is the number of connections for reading; 4 if 0.
	Readers int
	// MaxPages limits the file's size in pages of 4 KiB; 0 = no limit.
	MaxPages int
	// Log gets a line for what the operator should know; slog.Default if nil.
	Log *slog.Logger
}

// DB is the open database. It is safe for concurrent use.
type DB struct {
	lock    *dirLock
	writer  *writer
	readers chan *conn
	size    int // of readers
	closed  chan struct{}
	close   func() error // once
}

// Open locks the data directory, opens or makes the file tocsin.db in it, checks
// it if the last process did not end well, and brings its schema up to date. The
// error wraps [ErrInUse] if another process is there.
func Open(ctx context.Context, o Options) (db *DB, err error) {
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	dir, err := filepath.Abs(o.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	db = &DB{lock: lock, readers: make(chan *conn, o.Readers), closed: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.closeConns(), lock.release(false))
			db = nil
		}
	}()
	file := filepath.Join(dir, fileName)
	if err := migrate(ctx, file, writerPragmas(o.MaxPages)); err != nil {
		return db, err
	}
	for range o.Readers {
		c, err := connect(uri(file, nil), sqlite.OpenReadWrite, readerPragmas())
		if err != nil {
			return db, decided("open the database for reading", err)
		}
		db.readers <- c
		db.size++
	}
	if lock.crashed {
		if err := db.check(ctx, o.Log); err != nil {
			return db, err
		}
	}
	c, err := connect(uri(file, nil), sqlite.OpenReadWrite, writerPragmas(o.MaxPages))
	if err != nil {
		return db, decided("open the database for writing", err)
	}
	db.writer = newWriter(c)
	db.close = sync.OnceValue(db.shut)
	go db.writer.run()
	return db, nil
}

// writerPragmas: FULL makes every commit durable. The log is written back every
// 16 MiB: rarely enough that pages changed often are written back once, small
// enough that a commit waits only some tens of milliseconds for it. No memory
// map: it counts as resident memory, and an I/O error would be a crash.
func writerPragmas(maxPages int) []string {
	p := []string{
		"busy_timeout(100)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(OFF)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-32768)",
		"mmap_size(0)", "temp_store(MEMORY)",
	}
	if maxPages > 0 {
		p = append(p, "max_page_count("+strconv.Itoa(maxPages)+")")
	}
	return p
}

func readerPragmas() []string {
	return []string{"busy_timeout(5000)", "query_only(ON)", "cache_size(-8192)", "mmap_size(0)", "temp_store(MEMORY)"}
}

// uri names a file to SQLite.
func uri(file string, query url.Values) string {
	return (&url.URL{Scheme: "file", Path: file, RawQuery: query.Encode()}).String()
}

// migrate brings the schema up to date. A crash leaves every migration done or
// not begun: each is one transaction.
func migrate(ctx context.Context, file string, pragmas []string) (err error) {
	db, err := sql.Open("sqlite", uri(file, url.Values{"_pragma": pragmas}))
	if err != nil {
		return fmt.Errorf("name the database file: %w", err)
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, scripts, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	there, known, err := p.GetVersions(ctx)
	if err != nil {
		return decided("read the database's version", err)
	}
	if there > known {
		return fmt.Errorf("the database has version %d, this program knows %d at most: start the newer program that wrote it", there, known)
	}
	if _, err := p.Up(ctx); err != nil {
		return decided("bring the database up to date", err)
	}
	return nil
}

// check looks for damage after an unclean end, for [checkLimit] at most.
func (db *DB) check(ctx context.Context, log *slog.Logger) error {
	log.Info("the last process did not end in order, checking the database")
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	c := <-db.readers
	defer func() { db.readers <- c }()
	defer c.within(limited)()
	rows, err := c.query("PRAGMA quick_check(1)")
	if err != nil {
		return decided("check the database", err)
	}
	defer c.closeRows()
	if rows.Next() && rows.Text(0) != "ok" {
		return fmt.Errorf("the database is damaged (%s): restore a backup, or move tocsin.db away to begin anew", rows.Text(0))
	}
	if rows.Err() != nil && limited.Err() != nil && ctx.Err() == nil {
		log.Warn("the database is too big to be checked in time, going on", "limit", checkLimit)
		return nil
	}
	return rows.Err()
}

// Read calls fn with one consistent view of everything committed before. fn may
// run beside the writer and other readers; it must not keep tx. Waiting for a
// connection ends with ctx.
func (db *DB) Read(ctx context.Context, fn func(tx *Tx) error) error {
	var c *conn
	select {
	case <-db.closed:
		return fmt.Errorf("read from the database: %w", ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	case c = <-db.readers:
	}
	defer func() { db.readers <- c }()
	if _, err := c.exec("BEGIN"); err != nil {
		return decided("begin to read", err)
	}
	err := fn(&Tx{c})
	c.closeRows()
	if _, end := c.exec("COMMIT"); err == nil {
		err = decided("end reading", end)
	}
	return err
}

// Write runs fn in a transaction and returns after COMMIT, or with the error of
// fn after its undoing. fn runs on the writer's goroutine, alone, possibly after
// other jobs in the same transaction, possibly twice, and must not call Write. It
// should take milliseconds: everyone else waits. While another program has the file locked,
// Write waits until ctx ends; once fn has begun, ctx no longer matters.
func (db *DB) Write(ctx context.Context, p Priority, fn func(tx *Tx) error) error {
	return db.writer.do(ctx, p, fn)
}

// Close waits for the running transaction, refuses what still waits, writes the
// log back into the file and gives up the data directory.
func (db *DB) Close() error { return db.close() }

func (db *DB) shut() error {
	close(db.closed)
	db.writer.stop()
	_, err := db.writer.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	err = decided("write the log back", err)
	err = errors.Join(err, db.closeConns())
	return errors.Join(err, db.lock.release(err == nil))
}

func (db *DB) closeConns() error {
	var errs []error
	for range db.size {
		c := <-db.readers
		errs = append(errs, c.close())
	}
	if db.writer != nil {
		errs = append(errs, db.writer.conn.close())
	}
	return errors.Join(errs...)
}
