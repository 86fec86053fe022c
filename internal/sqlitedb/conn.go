package sqlitedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

// conn is one connection with its prepared statements. It goes around
// database/sql, whose pool, locks and conversions cost more than SQLite itself on
// the statements of the ledger (see BenchmarkSettle). One goroutine uses it at a
// time.
type conn struct {
	driver.Conn
	statements map[string]*statement
	args       []driver.NamedValue // reused between executions
	open       []*Rows             // of the current transaction
}

type statement struct {
	driver.Stmt
	busy bool
}

func connect(ctx context.Context, from driver.Connector) (*conn, error) {
	c, err := from.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, statements: make(map[string]*statement)}, nil
}

// prepare returns the cached statement. Every query text of this program is one
// of a fixed number, so the cache is bounded.
func (c *conn) prepare(query string) (*statement, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	prepared, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	s := &statement{Stmt: prepared}
	c.statements[query] = s
	return s, nil
}

func (c *conn) exec(ctx context.Context, query string, args []any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	bound, err := c.bind(args)
	if err != nil {
		return 0, err
	}
	result, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, bound)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *conn) query(ctx context.Context, query string, args []any) (*Rows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	if s.busy {
		return nil, errors.New("a query is run again inside itself: read its rows to the end first")
	}
	bound, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, bound)
	if err != nil {
		return nil, err
	}
	s.busy = true
	r := &Rows{rows: rows, statement: s, values: make([]driver.Value, len(rows.Columns()))}
	c.open = append(c.open, r)
	return r, nil
}

// closeRows ends what a job left open.
func (c *conn) closeRows() {
	for _, r := range c.open {
		r.Close()
	}
	clear(c.open)
	c.open = c.open[:0]
}

func (c *conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v, err := value(a)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

func value(a any) (driver.Value, error) {
	switch a := a.(type) {
	case nil, int64, string, []byte, bool, float64:
		return a, nil
	case int:
		return int64(a), nil
	case time.Time:
		if a.IsZero() {
			return nil, nil
		}
		return a.UnixMicro(), nil
	}
	return nil, fmt.Errorf("%T is no type of the database", a)
}

func (c *conn) close() error {
	c.closeRows()
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// Tx is a transaction. It is valid only inside the function it was given to, and
// for one goroutine.
type Tx struct{ c *conn }

// Exec runs a statement and returns how many rows it changed. Arguments are nil,
// int, int64, float64, bool, string, []byte and time.Time.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	n, err := tx.c.exec(context.Background(), query, args)
	return n, decided("write to the database", err)
}

// Query runs a query. An error is kept for [Rows.Err]. Rows not read to the end
// have to be closed before the same query is run again; the end of the
// transaction closes the rest.
func (tx *Tx) Query(query string, args ...any) *Rows {
	rows, err := tx.c.query(context.Background(), query, args)
	if err != nil {
		return &Rows{err: err, done: true}
	}
	return rows
}

// Rows is what a query found, row by row.
type Rows struct {
	rows      driver.Rows
	statement *statement
	values    []driver.Value
	err       error
	done      bool
}

// Next goes to the next row. It returns false, and frees the query, at the end and
// on an error, which Err then returns.
func (r *Rows) Next() bool {
	if r.done {
		return false
	}
	err := r.rows.Next(r.values)
	if err == nil {
		return true
	}
	if !errors.Is(err, io.EOF) {
		r.err = err
	}
	r.Close()
	return false
}

// Close ends the reading; it may be called at any time and more than once.
func (r *Rows) Close() {
	if r.done {
		return
	}
	r.done = true
	if err := r.rows.Close(); err != nil && r.err == nil {
		r.err = err
	}
	r.statement.busy = false
}

// Err returns why the query failed or stopped early, nil if it didn't.
func (r *Rows) Err() error { return decided("read from the database", r.err) }

// Int returns column i of the current row, 0 if it is NULL or no number.
func (r *Rows) Int(i int) int64 {
	n, _ := r.values[i].(int64)
	return n
}

// Bool returns whether column i is a number other than 0.
func (r *Rows) Bool(i int) bool { return r.Int(i) != 0 }

// Null returns whether column i is NULL.
func (r *Rows) Null(i int) bool { return r.values[i] == nil }

// Text returns column i, "" if it is NULL or no text.
func (r *Rows) Text(i int) string {
	s, _ := r.values[i].(string)
	return s
}

// Blob returns column i; it belongs to the caller.
func (r *Rows) Blob(i int) []byte {
	b, _ := r.values[i].([]byte)
	return b
}

// Time returns column i as a time in UTC, the zero time if it is NULL.
func (r *Rows) Time(i int) time.Time {
	if r.Null(i) {
		return time.Time{}
	}
	return time.UnixMicro(r.Int(i)).UTC()
}
