package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
)

// conn is one connection with its prepared statements. It goes around
// database/sql, whose pool, locks and conversions cost more than SQLite itself on
// the statements of the ledger (see BenchmarkSettle). One goroutine uses it at a
// time.
type conn struct {
	*sqlite.Conn
	statements map[string]*statement
	open       []*Rows // of the current transaction
	wrote      bool    // the current job ran something else than SELECT
}

type statement struct {
	*sqlite.Stmt
	arguments int
	reads     bool // and does nothing else
	busy      bool
}

// connect opens the file and sets pragmas, each as in "busy_timeout(100)".
func connect(file string, flags sqlite.OpenFlags, pragmas []string) (*conn, error) {
	opened, err := sqlite.OpenConn(file, flags|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: opened, statements: make(map[string]*statement)}
	for _, p := range pragmas {
		if err := c.pragma(p); err != nil {
			return nil, errors.Join(fmt.Errorf("set %s: %w", p, err), c.close())
		}
	}
	return c, nil
}

func (c *conn) pragma(set string) error {
	s, _, err := c.PrepareTransient("PRAGMA " + set)
	if err != nil {
		return err
	}
	for more := true; more && err == nil; {
		more, err = s.Step()
	}
	return errors.Join(err, s.Finalize())
}

// prepare returns the cached statement with its arguments bound. Every query text
// of this program is one of a fixed number, so the cache is bounded.
func (c *conn) prepare(query string, args []any) (*statement, error) {
	s := c.statements[query]
	if s == nil {
		prepared, rest, err := c.PrepareTransient(query)
		if err != nil {
			return nil, err
		}
		if rest > 0 {
			return nil, errors.Join(errors.New("a query has to be one statement"), prepared.Finalize())
		}
		s = &statement{Stmt: prepared, arguments: prepared.BindParamCount(), reads: strings.HasPrefix(query, "SELECT")}
		c.statements[query] = s
	}
	if s.busy {
		return nil, errors.New("a query is run again inside itself: read its rows to the end first")
	}
	c.wrote = c.wrote || !s.reads
	return s, s.bind(args)
}

// bind gives every parameter a value: those of the last execution are still there.
func (s *statement) bind(args []any) error {
	if len(args) != s.arguments {
		return fmt.Errorf("%d arguments for %d parameters", len(args), s.arguments)
	}
	for i, a := range args {
		i++
		switch a := a.(type) {
		case nil:
			s.BindNull(i)
		case int:
			s.BindInt64(i, int64(a))
		case int64:
			s.BindInt64(i, a)
		case bool:
			s.BindBool(i, a)
		case float64:
			s.BindFloat(i, a)
		case string:
			s.BindText(i, a)
		case []byte:
			if a == nil {
				s.BindNull(i)
			} else {
				s.BindBytes(i, a)
			}
		case time.Time:
			if a.IsZero() {
				s.BindNull(i)
			} else {
				s.BindInt64(i, a.UnixMicro())
			}
		default:
			// Without its name: naming it would have every argument of every
			// statement escape to the heap.
			return fmt.Errorf("argument %d has no type of the database", i)
		}
	}
	return nil
}

func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query, args)
	if err != nil {
		return 0, err
	}
	for more := true; more; {
		if more, err = s.Step(); err != nil {
			return 0, err
		}
	}
	return int64(c.Changes()), s.Reset()
}

func (c *conn) query(query string, args ...any) (*Rows, error) {
	s, err := c.prepare(query, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	r := &Rows{s: s}
	c.open = append(c.open, r)
	return r, nil
}

// within ends what runs on the connection when ctx ends, until the function it
// returns is called.
func (c *conn) within(ctx context.Context) func() {
	c.SetInterrupt(ctx.Done())
	return func() { c.SetInterrupt(nil) }
}

// closeRows ends what a job left open.
func (c *conn) closeRows() {
	for _, r := range c.open {
		r.Close()
	}
	clear(c.open)
	c.open = c.open[:0]
}

func (c *conn) close() error {
	c.closeRows()
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.Finalize())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// Tx is a transaction. It is valid only inside the function it was given to, and
// for one goroutine.
type Tx struct{ c *conn }

// Exec runs a statement and returns how many rows it changed. Arguments are nil,
// int, int64, float64, bool, string, []byte and time.Time, as many as the statement
// has parameters.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	n, err := tx.c.exec(query, args...)
	return n, decided("write to the database", err)
}

// Query runs a query. An error is kept for [Rows.Err]. Rows not read to the end
// have to be closed before the same query is run again; the end of the
// transaction closes the rest.
func (tx *Tx) Query(query string, args ...any) *Rows {
	rows, err := tx.c.query(query, args...)
	if err != nil {
		return &Rows{err: err, done: true}
	}
	return rows
}

// Rows is what a query found, row by row. Columns are those of the row that Next
// went to last, and only until it is called again.
type Rows struct {
	s       *statement
	err     error
	done    bool
	scratch []byte
}

// Next goes to the next row. It returns false, and frees the query, at the end and
// on an error, which Err then returns.
func (r *Rows) Next() bool {
	if r.done {
		return false
	}
	more, err := r.s.Step()
	if more {
		return true
	}
	r.err = err
	r.Close()
	return false
}

// Close ends the reading; it may be called at any time and more than once.
func (r *Rows) Close() {
	if r.done {
		return
	}
	r.done = true
	// Reset repeats the error of the last step, which is known already.
	if err := r.s.Reset(); err != nil && r.err == nil {
		r.err = err
	}
	r.s.busy = false
}

// Err returns why the query failed or stopped early, nil if it didn't.
func (r *Rows) Err() error { return decided("read from the database", r.err) }

// Int returns column i of the current row, 0 if it is NULL.
func (r *Rows) Int(i int) int64 { return r.s.ColumnInt64(i) }

// Bool returns whether column i is a number other than 0.
func (r *Rows) Bool(i int) bool { return r.Int(i) != 0 }

// Null returns whether column i is NULL.
func (r *Rows) Null(i int) bool { return r.s.ColumnIsNull(i) }

// Text returns column i, "" if it is NULL.
func (r *Rows) Text(i int) string { return r.s.ColumnText(i) }

// AppendText appends column i to dst: nothing if it is NULL.
func (r *Rows) AppendText(dst []byte, i int) []byte {
	n := r.s.ColumnLen(i)
	dst = slices.Grow(dst, n)
	return dst[:len(dst)+r.s.ColumnBytes(i, dst[len(dst):len(dst)+n])]
}

// TextLike is Text. Where the column is what the caller has already, as from the row
// before, it returns that.
func (r *Rows) TextLike(i int, have string) string {
	if r.s.ColumnLen(i) != len(have) {
		return r.Text(i)
	}
	if r.scratch = r.AppendText(r.scratch[:0], i); string(r.scratch) == have {
		return have
	}
	return string(r.scratch)
}

// Blob returns column i, nil if it is NULL; it belongs to the caller.
func (r *Rows) Blob(i int) []byte {
	if r.Null(i) {
		return nil
	}
	b := make([]byte, r.s.ColumnLen(i))
	r.s.ColumnBytes(i, b)
	return b
}

// Time returns column i as a time in UTC, the zero time if it is NULL.
func (r *Rows) Time(i int) time.Time {
	if r.Null(i) {
		return time.Time{}
	}
	return time.UnixMicro(r.Int(i)).UTC()
}
