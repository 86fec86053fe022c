package sqlite

import (
	"context"
	"fmt"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

const timeline = `SELECT sequence, event, updated_at, accepted_at, expires_at FROM updates
	WHERE incident = ?1 AND sequence <= ?2 AND (private = 0 OR sequence = ?2
		OR (SELECT private FROM updates WHERE incident = ?1 AND sequence = ?2) = 1)
	AND test = (SELECT test FROM updates WHERE incident = ?1 AND sequence = ?2)
	ORDER BY sequence DESC LIMIT +?3`

// Content implements dispatcher.Ledger. The timeline of a public update leaves out
// private ones, for its rendering is shown to everyone; that of a real one leaves out
// tests, and the other way round, for whoever hears of the one never hears of the other.
func (s *Store) Content(ctx context.Context, id int64, sequence int) (*channels.Update, error) {
	var u *channels.Update
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		u = nil
		rows := tx.Query(timeline, id, sequence, channels.MaxRecent)
		for rows.Next() {
			e, err := incident.Decode(rows.Blob(1))
			if err != nil {
				return fmt.Errorf("read update %d of incident %d: %w", rows.Int(0), id, err)
			}
			if u == nil {
				if rows.Int(0) != int64(sequence) {
					break
				}
				u = channels.Project(e)
				u.Sequence, u.UpdatedAt, u.AcceptedAt, u.ExpiresAt = sequence, rows.Time(2), rows.Time(3), rows.Time(4)
			}
			u.Timeline = append(u.Timeline, channels.ProjectEntry(e, int(rows.Int(0)), rows.Time(2)))
		}
		return rows.Err()
	})
	if err == nil && u == nil {
		err = fmt.Errorf("%w: update %d of incident %d isn't there", dispatcher.ErrLedgerRefused, sequence, id)
	}
	return u, err
}
