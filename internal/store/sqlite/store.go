// Package sqlite keeps targets and the ledger in the embedded database. It
// implements dispatcher.Ledger and the ports of package store.
//
// Promise: what a method returned for without an error is on disk; what it
// returned an error for didn't happen (a failed commit aside, and every method may
// be repeated). Reading never waits for writing, nor the other way round.
//
// Words: a stripe is the place of a target in line with others of its provider,
// in steps of 32: audiences are read stripe by stripe, so that providers
// interleave. The revision is a counter of the deployment that every change of a
// target raises which sending has to know of. A tombstone is what stays of a
// deleted target. To wait is to be open and in no batch.
package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// Store is the store on the embedded database. It is safe for concurrent use.
type Store struct {
	db    *sqlitedb.DB
	route store.Route
	// sweepRows bounds one transaction of Expire and Stop.
	sweepRows int
	// auditRows bounds one reading of the audit log.
	auditRows int
	// questions leaves readers to the ledger while people ask about big
	// incidents: one slot for each question asked at once.
	questions chan struct{}
	shown     shownUpdates
}

// questionsAtOnce is fewer than the database has readers.
const questionsAtOnce = 2

var (
	_ dispatcher.Ledger = (*Store)(nil)
	_ store.Targets     = (*Store)(nil)
	_ store.History     = (*Store)(nil)
	_ store.Subscribers = (*Store)(nil)
	_ store.Receipts    = (*Store)(nil)
	_ store.Routes      = (*Store)(nil)
	_ store.Health      = (*Store)(nil)
	_ store.Cases       = (*Store)(nil)
	_ store.Audit       = (*Store)(nil)
	_ store.Probes      = (*Store)(nil)
	_ store.Replays     = (*Store)(nil)
)

// New returns the store of an open database, which the caller closes after the
// last use of the store. route is asked for every target written.
func New(db *sqlitedb.DB, route store.Route) *Store {
	return &Store{db: db, route: route, sweepRows: sweepRows, auditRows: auditWindow, questions: make(chan struct{}, questionsAtOnce)}
}

// Ping implements store.Health: it writes, so that a full disk shows.
func (s *Store) Ping(ctx context.Context) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE counters SET value = value + 1 WHERE name = 'ping'")
		return err
	})
}

// Register implements dispatcher.Ledger. One row per worker name stays. The
// database has one process at a time, so the claims of earlier ones end here.
func (s *Store) Register(ctx context.Context, worker string, now time.Time) (epoch int64, err error) {
	err = s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("DELETE FROM workers WHERE worker = ?", worker); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE batches SET holder = 0, lease_until = NULL WHERE holder <> 0"); err != nil {
			return err
		}
		if err := forgetStray(tx); err != nil {
			return err
		}
		rows := tx.Query("INSERT INTO workers (worker, registered_at) VALUES (?, ?) RETURNING epoch", worker, now)
		for rows.Next() {
			epoch = rows.Int(0)
		}
		return rows.Err()
	})
	return epoch, err
}

// Paused implements dispatcher.Ledger.
func (s *Store) Paused(ctx context.Context) (list []string, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query("SELECT provider FROM pauses ORDER BY provider")
		for rows.Next() {
			list = append(list, rows.Text(0))
		}
		return rows.Err()
	})
	return list, err
}

// SetPaused implements dispatcher.Ledger.
func (s *Store) SetPaused(ctx context.Context, provider string, paused bool, asked ...dispatcher.Asked) error {
	query, action := "DELETE FROM pauses WHERE provider = ?", "resumed"
	if paused {
		query, action = "INSERT INTO pauses VALUES (?) ON CONFLICT DO NOTHING", "paused"
	}
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(query, provider); err != nil {
			return err
		}
		return writeAsked(tx, asked, "", "", action)
	})
}

func (s *Store) write(ctx context.Context, p sqlitedb.Priority, fn func(*sqlitedb.Tx) error) error {
	return known(s.db.Write(ctx, p, fn))
}

func (s *Store) read(ctx context.Context, fn func(*sqlitedb.Tx) error) error {
	return known(s.db.Read(ctx, fn))
}

// ask reads like read, but waits its turn.
func (s *Store) ask(ctx context.Context, fn func(*sqlitedb.Tx) error) error {
	select {
	case s.questions <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.questions }()
	return s.read(ctx, fn)
}

// known puts the database's errors under those of the ports.
func known(err error) error {
	switch {
	case errors.Is(err, sqlitedb.ErrFull):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case errors.Is(err, sqlitedb.ErrConstraint):
		return fmt.Errorf("%w: %w", dispatcher.ErrLedgerRefused, err)
	}
	return err
}

// exists says whether a query finds anything.
func exists(tx *sqlitedb.Tx, query string, args ...any) (bool, error) {
	rows := tx.Query(query, args...)
	found := rows.Next()
	rows.Close()
	return found, rows.Err()
}

func revision(tx *sqlitedb.Tx) (r int64, err error) {
	rows := tx.Query("SELECT value FROM counters WHERE name = 'revision'")
	for rows.Next() {
		r = rows.Int(0)
	}
	return r, rows.Err()
}

func raiseRevision(tx *sqlitedb.Tx) (int64, error) {
	if _, err := tx.Exec("UPDATE counters SET value = value + 1 WHERE name = 'revision'"); err != nil {
		return 0, err
	}
	return revision(tx)
}

// encodeList writes a list as it is stored: ” when empty.
func encodeList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	out, err := json.Marshal(list)
	if err != nil { // strings can't fail
		panic(fmt.Sprintf("encode a list of strings: %v", err))
	}
	return string(out)
}

func decodeList(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("a list in the database is damaged: %w", err)
	}
	return list, nil
}

// stored cuts a time to what the database keeps.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// orNull stores 0 as NULL.
func orNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
