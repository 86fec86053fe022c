package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// takenAtOnce is how many of those that are over go with each that is added.
const takenAtOnce = 4

// forgetTaken deletes the oldest of those signed before a time, at most so many.
const forgetTaken = `DELETE FROM taken WHERE (at, source, print) IN
	(SELECT at, source, print FROM taken WHERE at < ? ORDER BY at LIMIT +?)`

// RememberTaken implements store.Replays.
func (s *Store) RememberTaken(ctx context.Context, source string, at time.Time, print [16]byte, old time.Time) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("INSERT INTO taken VALUES (?, ?, ?) ON CONFLICT DO NOTHING", at, source, print[:]); err != nil {
			return err
		}
		_, err := tx.Exec(forgetTaken, old, takenAtOnce)
		return err
	})
}

// Taken implements store.Replays.
func (s *Store) Taken(ctx context.Context, since time.Time, each func(source string, at time.Time, print [16]byte)) error {
	for more := true; more; {
		if err := s.write(ctx, sqlitedb.Import, func(tx *sqlitedb.Tx) error {
			n, err := tx.Exec(forgetTaken, since, s.sweepRows)
			more = n == int64(s.sweepRows)
			return err
		}); err != nil {
			return err
		}
	}
	return s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query("SELECT at, source, print FROM taken")
		for rows.Next() {
			var print [16]byte
			copy(print[:], rows.Blob(2))
			each(rows.Text(1), rows.Time(0), print)
		}
		return rows.Err()
	})
}
