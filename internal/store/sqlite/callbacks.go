package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// lookedAt is how many updates one reading transaction of Complete looks at.
const lookedAt = 256

const (
	insertCallback = "INSERT INTO callbacks (incident, sequence, url) VALUES (?, ?, ?)"

	// incomplete are the updates that wait for their end and have no plan to come.
	incomplete = `SELECT c.incident, c.sequence, c.looked, u.id FROM callbacks c
		JOIN updates u ON u.incident = c.incident AND u.sequence = c.sequence AND u.planning = 0
		WHERE c.completed_at IS NULL AND (c.incident, c.sequence) > (?, ?) ORDER BY c.incident, c.sequence LIMIT +?`
	// firstOpen walks the update's rows from where the last look ended. A closed
	// row stays closed, so each is passed over once in an update's life.
	firstOpen = "SELECT id FROM deliveries WHERE id >= ? AND id < ? AND outcome = 0 ORDER BY id LIMIT 1"
	// outcomesOf reads the update's rows once, when it is complete.
	outcomesOf = `SELECT coalesce(t.channel, ''), d.outcome, count(*), max(d.done_at) FROM deliveries d
		LEFT JOIN targets t ON t.id = ` + targetOfRow + ` WHERE d.id >= ? AND d.id < ? GROUP BY 1, 2`

	// Where a resend opened rows again since the look, looked is another.
	noteLooked   = "UPDATE callbacks SET looked = ? WHERE incident = ? AND sequence = ? AND completed_at IS NULL AND looked = ?"
	noteComplete = "UPDATE callbacks SET completed_at = ?, outcomes = ?, due_at = ? WHERE incident = ? AND sequence = ? AND completed_at IS NULL AND looked = ?"

	dueCallbacks = `SELECT c.incident, c.sequence, c.url, c.attempt, i.page, i.incident_id, coalesce(u.update_id, ''), u.event,
		u.audience, c.outcomes, u.accepted_at, u.planned_at, c.completed_at, u.expires_at FROM callbacks c
		JOIN updates u ON u.incident = c.incident AND u.sequence = c.sequence JOIN incidents i ON i.id = c.incident
		WHERE c.due_at <= ? ORDER BY c.due_at LIMIT +?`

	settleCallback = `UPDATE callbacks SET state = ?1, attempt = ?2, detail = ?3, due_at = ?4, done_at = ?5,
		url = CASE ?1 WHEN 0 THEN url ELSE '' END WHERE incident = ?6 AND sequence = ?7 AND due_at IS NOT NULL`

	callbacksOf = "SELECT sequence, state, attempt, detail, done_at FROM callbacks WHERE incident = ?"
)

// look is one update's turn of Complete.
type look struct {
	incident, sequence int64
	update             int64 // its id
	looked             int64
	// open is the first target whose delivery is open; without one the update is
	// complete, and the rest says how.
	open     int64
	at       time.Time
	outcomes []byte
}

// Complete implements dispatcher.Ledger. It reads beside the writer, which is
// bothered only by what is new: nothing opens again behind what was looked at, for
// the plan is finished and a closed row stays closed; but for a resend, which has
// the next look begin anew.
func (s *Store) Complete(ctx context.Context, now time.Time) (completed int, err error) {
	var last look
	for {
		var looks []look
		if err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
			looks, err = lookAt(tx, last)
			return err
		}); err != nil || len(looks) == 0 {
			return completed, err
		}
		last = looks[len(looks)-1]
		var news []look
		for _, l := range looks {
			if l.open == l.looked && l.open != 0 {
				continue
			}
			if l.open == 0 {
				if err := s.ask(ctx, func(tx *sqlitedb.Tx) error { return l.sum(tx, now) }); err != nil {
					return completed, err
				}
			}
			news = append(news, l)
		}
		n, err := s.noteLooks(ctx, news, now)
		completed += n
		if err != nil || len(looks) < lookedAt {
			return completed, err
		}
	}
}

// lookAt looks at the updates after the last one.
func lookAt(tx *sqlitedb.Tx, last look) ([]look, error) {
	var looks []look
	rows := tx.Query(incomplete, last.incident, last.sequence, lookedAt)
	for rows.Next() {
		looks = append(looks, look{incident: rows.Int(0), sequence: rows.Int(1), looked: rows.Int(2), update: rows.Int(3)})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range looks {
		l := &looks[i]
		rows := tx.Query(firstOpen, idOf(l.update, max(l.looked, 0)), idOf(l.update+1, 0))
		for rows.Next() {
			l.open = targetOf(rows.Int(0))
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return looks, nil
}

// sum counts how the deliveries of a complete update ended, and when the last did:
// the plan's end if there were none, now if that was stopped.
func (l *look) sum(tx *sqlitedb.Tx, now time.Time) error {
	l.at = time.Time{}
	rows := tx.Query("SELECT planned_at FROM updates WHERE id = ?", l.update)
	for rows.Next() {
		l.at = rows.Time(0)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	counts := make(map[string]map[dispatcher.Outcome]int)
	rows = tx.Query(outcomesOf, idOf(l.update, 0), idOf(l.update+1, 0))
	for rows.Next() {
		channel := rows.Text(0)
		if counts[channel] == nil {
			counts[channel] = make(map[dispatcher.Outcome]int)
		}
		counts[channel][dispatcher.Outcome(rows.Int(1))] = int(rows.Int(2))
		if done := rows.Time(3); done.After(l.at) {
			l.at = done
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if l.at.IsZero() {
		l.at = now
	}
	var err error
	l.outcomes, err = json.Marshal(counts)
	return err
}

func (s *Store) noteLooks(ctx context.Context, news []look, now time.Time) (completed int, err error) {
	if len(news) == 0 {
		return 0, nil
	}
	err = s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		completed = 0
		for _, l := range news {
			var n int64
			var err error
			if l.open != 0 {
				_, err = tx.Exec(noteLooked, l.open, l.incident, l.sequence, l.looked)
			} else {
				n, err = tx.Exec(noteComplete, l.at, string(l.outcomes), now, l.incident, l.sequence, l.looked)
			}
			if err != nil {
				return err
			}
			completed += int(n)
		}
		return nil
	})
	return completed, err
}

// DueCallbacks implements dispatcher.Ledger.
func (s *Store) DueCallbacks(ctx context.Context, now time.Time, limit int) ([]*dispatcher.Callback, error) {
	var list []*dispatcher.Callback
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query(dueCallbacks, now, limit)
		for rows.Next() {
			c := &dispatcher.Callback{
				Incident: rows.Int(0), Sequence: int(rows.Int(1)), URL: incident.CallbackURL(rows.Text(2)), Attempt: int(rows.Int(3)),
				Page: rows.Text(4), IncidentID: rows.Text(5), UpdateID: rows.Text(6), Audience: int(rows.Int(8)),
				AcceptedAt: rows.Time(10), PlannedAt: rows.Time(11), CompletedAt: rows.Time(12), ExpiresAt: rows.Time(13),
			}
			var e struct {
				Status incident.Status `json:"status"`
			}
			if err := json.Unmarshal(rows.Blob(7), &e); err != nil {
				return fmt.Errorf("an update in the database is damaged: %w", err)
			}
			c.Status = e.Status
			if err := json.Unmarshal([]byte(rows.Text(9)), &c.Outcomes); err != nil {
				return fmt.Errorf("the outcomes of an update in the database are damaged: %w", err)
			}
			list = append(list, c)
		}
		return rows.Err()
	})
	return list, err
}

// SettleCallback implements dispatcher.Ledger. The URL of a callback that has ended
// is not kept.
func (s *Store) SettleCallback(ctx context.Context, r dispatcher.CallbackSettlement) error {
	return s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(settleCallback, int(r.State), r.Attempt, r.Detail, r.DueAt, r.DoneAt, r.Incident, r.Sequence)
		return err
	})
}

// addCallbacks says how far the callbacks of an incident's updates are.
func addCallbacks(tx *sqlitedb.Tx, id int64, updates []store.Update) error {
	bySequence := make(map[int64]*store.Callback)
	rows := tx.Query(callbacksOf, id)
	for rows.Next() {
		bySequence[rows.Int(0)] = &store.Callback{
			State: dispatcher.CallbackState(rows.Int(1)), Attempt: int(rows.Int(2)), Detail: rows.Text(3), DoneAt: rows.Time(4),
		}
	}
	for i := range updates {
		updates[i].Callback = bySequence[int64(updates[i].Sequence)]
	}
	return rows.Err()
}
