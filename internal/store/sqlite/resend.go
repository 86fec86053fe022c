package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	newestUpdate = `SELECT i.sequence, i.stopped, u.planning, u.expires_at, u.private, u.id FROM incidents i
		JOIN updates u ON u.incident = i.id AND u.sequence = i.sequence WHERE i.id = ?`

	selectResend = `SELECT id, incident, sequence, name, choice, as_new, asked_by, asked_at, resent, under_way, absent, untold,
		ended, done_at, cursor FROM resends `
	resendByKey       = selectResend + "WHERE id = ?"
	resendByName      = selectResend + "WHERE incident = ? AND name = ?"
	resendRepeated    = selectResend + "WHERE incident = ? AND sequence = ? AND asked_at > ? AND choice = ? AND as_new = ? AND name IS NULL ORDER BY id DESC LIMIT 1"
	resendsOf         = selectResend + "WHERE incident = ? ORDER BY id DESC LIMIT ?"
	unfinishedResends = "SELECT id FROM resends WHERE done_at IS NULL ORDER BY id LIMIT ?"
	insertResend      = "INSERT INTO resends (incident, sequence, name, choice, as_new, asked_by, asked_at) VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?) RETURNING id"
	// noteResend lands only if nobody else did this part.
	noteResend = `UPDATE resends SET resent = ?, under_way = ?, absent = ?, untold = ?, ended = ?, done_at = ?, cursor = ?
		WHERE id = ? AND cursor = ? AND done_at IS NULL`

	// These walk an update's rows after a target.
	chosenByOutcome = "SELECT id, outcome FROM deliveries WHERE id > ? AND id < ? AND outcome = ? ORDER BY id LIMIT ?"
	chosenUnheard   = "SELECT id, outcome FROM deliveries WHERE id > ? AND id < ? AND outcome NOT IN (1, 2) ORDER BY id LIMIT ?"
	outcomeOf       = "SELECT outcome FROM deliveries WHERE id = ?"

	mayBeTold = "SELECT state, private FROM targets WHERE id = ?"

	// sendAgain has a closed row wait, due now. What is known of the last attempt
	// stays, and so does the count of attempts.
	sendAgain = `UPDATE deliveries SET outcome = 0, batch = NULL, due_at = ?1, since = ?1, done_at = NULL, edition = edition + ?2
		WHERE id = ?3 AND outcome = ?4`

	// lookAnew has the search for an update's end begin again, from a place where
	// it never was: what is opened may be behind the last one.
	lookAnew = "UPDATE callbacks SET looked = min(looked, 0) - 1 WHERE incident = ? AND sequence = ? AND completed_at IS NULL"
)

// resend is one on its way through an update's rows.
type resend struct {
	dispatcher.Resent
	cursor int64 // the last target looked at
}

// chosen is a target of a resend and what its row says.
type chosen struct {
	target  int64
	outcome int64
	absent  bool // there is no row
}

// BeginResend implements dispatcher.ResendLedger.
func (s *Store) BeginResend(ctx context.Context, r dispatcher.Resend) (*dispatcher.Resent, error) {
	r.Choice.Targets = slices.Compact(slices.Sorted(slices.Values(r.Choice.Targets)))
	if r.DryRun {
		return s.tryResend(ctx, r)
	}
	choice, err := json.Marshal(r.Choice)
	if err != nil {
		return nil, fmt.Errorf("%w: encode the choice of a resend: %w", dispatcher.ErrLedgerRefused, err)
	}
	var begun *resend
	err = s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		u, refused := resendable(tx, &r)
		var err error
		// What was begun before is answered even if it could not begin any more.
		if begun, err = repeatedResend(tx, &r, u.sequence, string(choice)); err != nil || begun != nil {
			return err
		}
		if refused != nil {
			return refused
		}
		begun = &resend{Resent: dispatcher.Resent{Resend: r}}
		begun.Sequence = u.sequence
		rows := tx.Query(insertResend, r.Incident, u.sequence, r.Name, string(choice), r.AsNew, r.By, r.At)
		for rows.Next() {
			begun.Key = rows.Int(0)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		asked := dispatcher.Asked{By: r.By, At: r.At, Cause: fmt.Sprintf("an operator had sequence %d sent again: resend %d", u.sequence, begun.Key)}
		return writeAskedOf(tx, []dispatcher.Asked{asked}, r.Incident, "resent")
	})
	if err != nil {
		return nil, err
	}
	return &begun.Resent, nil
}

// repeatedResend finds the request that this one repeats, nil if there is none.
func repeatedResend(tx *sqlitedb.Tx, r *dispatcher.Resend, sequence int, choice string) (known *resend, err error) {
	if r.Name != "" {
		known, err = findResend(tx, resendByName, r.Incident, r.Name)
	} else {
		known, err = findResend(tx, resendRepeated, r.Incident, cmp.Or(r.Sequence, sequence), r.At.Add(-dispatcher.ResendRepeat), choice, r.AsNew)
	}
	if err != nil || known == nil {
		return nil, err
	}
	was, err := json.Marshal(known.Choice)
	if err == nil && (string(was) != choice || known.AsNew != r.AsNew) {
		err = refuseResend("this request_id was that of another resend of the incident: give each its own")
	}
	known.Repeated = true
	return known, err
}

func refuseResend(format string, args ...any) error {
	return &dispatcher.ResendRefused{Reason: fmt.Sprintf(format, args...)}
}

// newest is what a resend has to know of the newest update of an incident.
type newest struct {
	id       int64
	sequence int
	private  bool
}

// resendable returns the newest update of an incident, and why it can't be sent
// again.
func resendable(tx *sqlitedb.Tx, r *dispatcher.Resend) (u newest, err error) {
	rows := tx.Query(newestUpdate, r.Incident)
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return u, err
		}
		return u, fmt.Errorf("an update that was sent: %w", store.ErrNotFound)
	}
	u = newest{id: rows.Int(5), sequence: int(rows.Int(0)), private: rows.Bool(4)}
	switch expires := rows.Time(3); {
	case r.Sequence > u.sequence:
		return u, fmt.Errorf("update %d: %w", r.Sequence, store.ErrNotFound)
	case r.Sequence != 0 && r.Sequence < u.sequence:
		return u, refuseResend("update %d is not the newest, and an older one is never sent after a newer one: "+
			"resend update %d, which has the whole timeline", r.Sequence, u.sequence)
	case rows.Int(1) >= int64(u.sequence):
		return u, refuseResend("the fan-out of update %d was stopped: publish a new update instead", u.sequence)
	case !r.At.Before(expires):
		return u, refuseResend("update %d expired at %s: publish a new update that says how things are now", u.sequence, expires.Format(time.RFC3339))
	case rows.Bool(2):
		return u, refuseResend("update %d is still being planned: ask again once it has its planned_at", u.sequence)
	}
	return u, nil
}

// tryResend goes all the way and changes nothing.
func (s *Store) tryResend(ctx context.Context, r dispatcher.Resend) (*dispatcher.Resent, error) {
	var try *resend
	err := s.ask(ctx, func(tx *sqlitedb.Tx) error {
		try = &resend{Resent: dispatcher.Resent{Resend: r, DoneAt: r.At}}
		u, err := resendable(tx, &r)
		if err != nil {
			return err
		}
		try.Sequence = u.sequence
		for ended := false; !ended; {
			var list []chosen
			if list, ended, err = try.next(tx, u.id, s.sweepRows); err != nil {
				return err
			}
			for _, c := range list {
				if tell, err := try.tells(tx, u, c); err != nil {
					return err
				} else if tell {
					try.Sent++
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &try.Resent, nil
}

// ContinueResend implements dispatcher.ResendLedger. The rows between those chosen
// are passed over by the reader, not on the writer's time.
func (s *Store) ContinueResend(ctx context.Context, key int64, now time.Time) (*dispatcher.Resent, error) {
	p, err := s.nextPart(ctx, key)
	if err != nil {
		return nil, err
	}
	done, err := s.sendPart(ctx, p, now)
	if errors.Is(err, errMovedOn) { // another call did this part; the next one sees it
		done, err = &p.resend, nil
	}
	if err != nil {
		return nil, err
	}
	return &done.Resent, nil
}

// part is the next part of a resend, as read.
type part struct {
	resend
	from  int64    // the cursor before
	list  []chosen // up to the cursor
	ended bool     // nothing follows
}

func (s *Store) nextPart(ctx context.Context, key int64) (p part, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		r, err := findResend(tx, resendByKey, key)
		if err != nil {
			return err
		}
		if r == nil {
			return fmt.Errorf("%w: there is no such resend", dispatcher.ErrLedgerRefused)
		}
		p = part{resend: *r, from: r.cursor}
		if !r.DoneAt.IsZero() {
			return nil
		}
		ids := deliveryIDs{tx: tx}
		update, err := ids.updateID(r.Incident, r.Sequence)
		if err == nil {
			p.list, p.ended, err = p.next(tx, update, s.sweepRows)
		}
		return err
	})
	return p, err
}

// sendPart does a part, once.
func (s *Store) sendPart(ctx context.Context, p part, now time.Time) (*resend, error) {
	if !p.DoneAt.IsZero() {
		return &p.resend, nil
	}
	var done resend
	err := s.write(ctx, sqlitedb.Plan, func(tx *sqlitedb.Tx) error {
		done = p.resend
		done.Untold = maps.Clone(p.Untold)
		if p.ended {
			done.DoneAt = now
		}
		if err := done.reopen(tx, p.list, now); err != nil {
			return err
		}
		return done.note(tx, p.from)
	})
	return &done, err
}

// next reads the targets chosen after the cursor of the update with this id, at most
// limit, and moves it behind them.
func (r *resend) next(tx *sqlitedb.Tx, update int64, limit int) (list []chosen, ended bool, err error) {
	switch {
	case r.Choice.Targets != nil:
		i, found := slices.BinarySearch(r.Choice.Targets, r.cursor)
		if found {
			i++
		}
		some := r.Choice.Targets[i:]
		for _, target := range some[:min(len(some), limit)] {
			c := chosen{target: target, absent: true}
			rows := tx.Query(outcomeOf, idOf(update, target))
			for rows.Next() {
				c.outcome, c.absent = rows.Int(0), false
			}
			if err := rows.Err(); err != nil {
				return nil, false, err
			}
			list = append(list, c)
		}
	case r.Choice.Unheard:
		list, err = chosenRows(tx.Query(chosenUnheard, idOf(update, r.cursor), idOf(update+1, 0), limit))
	default:
		list, err = chosenRows(tx.Query(chosenByOutcome, idOf(update, r.cursor), idOf(update+1, 0), int(r.Choice.Outcome), limit))
	}
	if len(list) > 0 {
		r.cursor = list[len(list)-1].target
	}
	return list, len(list) < limit, err
}

func chosenRows(rows *sqlitedb.Rows) (list []chosen, err error) {
	for rows.Next() {
		list = append(list, chosen{target: targetOf(rows.Int(0)), outcome: rows.Int(1)})
	}
	return list, rows.Err()
}

// reopen sends the chosen again, unless the update can't be any more: then the
// resend ends.
func (r *resend) reopen(tx *sqlitedb.Tx, list []chosen, now time.Time) error {
	check := r.Resend
	check.At = now
	u, err := resendable(tx, &check)
	if refused, ok := errors.AsType[*dispatcher.ResendRefused](err); ok {
		r.Ended, r.DoneAt = refused.Reason, now
		return nil
	}
	if err != nil {
		return err
	}
	opened := false
	for _, c := range list {
		tell, err := r.tells(tx, u, c)
		if err != nil {
			return err
		}
		if !tell {
			continue
		}
		n, err := tx.Exec(sendAgain, now, r.AsNew, idOf(u.id, c.target), c.outcome)
		if err != nil {
			return err
		}
		if n == 0 { // it was opened, or delivered, since it was read
			r.UnderWay++
			continue
		}
		if err := forgetSuspect(tx, dispatcher.Row{Incident: r.Incident, Target: c.target, Sequence: r.Sequence}); err != nil {
			return err
		}
		opened = true
		r.Sent++
	}
	if !opened {
		return nil
	}
	if err := noteWaits(tx, u.id); err != nil {
		return err
	}
	_, err = tx.Exec(lookAnew, r.Incident, r.Sequence)
	return err
}

// tells says whether a target's delivery is to be sent again, and counts it if not.
func (r *resend) tells(tx *sqlitedb.Tx, u newest, c chosen) (bool, error) {
	switch {
	case c.absent:
		r.Absent++
		return false, nil
	case c.outcome == int64(dispatcher.Open):
		r.UnderWay++
		return false, nil
	}
	why := "target deleted"
	rows := tx.Query(mayBeTold, c.target)
	for rows.Next() {
		if why = whyInactive(rows.Int(0)); why == "" && u.private && !rows.Bool(1) {
			why = "target public, update private"
		}
	}
	if why != "" {
		if r.Untold == nil {
			r.Untold = make(map[string]int)
		}
		r.Untold[why]++
	}
	return why == "", rows.Err()
}

func (r *resend) note(tx *sqlitedb.Tx, from int64) error {
	untold, err := json.Marshal(r.Untold)
	if err != nil {
		return fmt.Errorf("%w: encode the counts of a resend: %w", dispatcher.ErrLedgerRefused, err)
	}
	n, err := tx.Exec(noteResend, r.Sent, r.UnderWay, r.Absent, string(untold), r.Ended, r.DoneAt, r.cursor, r.Key, from)
	if err == nil && n == 0 {
		return errMovedOn
	}
	return err
}

// UnfinishedResends implements dispatcher.ResendLedger.
func (s *Store) UnfinishedResends(ctx context.Context, limit int) (keys []int64, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		keys = nil
		rows := tx.Query(unfinishedResends, limit)
		for rows.Next() {
			keys = append(keys, rows.Int(0))
		}
		return rows.Err()
	})
	return keys, err
}

// Resends implements store.History.
func (s *Store) Resends(ctx context.Context, incident int64, limit int) (list []dispatcher.Resent, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query(resendsOf, incident, limit)
		for rows.Next() {
			r, err := scanResend(rows)
			if err != nil {
				return err
			}
			list = append(list, r.Resent)
		}
		return rows.Err()
	})
	return list, err
}

func findResend(tx *sqlitedb.Tx, query string, args ...any) (*resend, error) {
	rows := tx.Query(query, args...)
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	return scanResend(rows)
}

func scanResend(rows *sqlitedb.Rows) (*resend, error) {
	r := &resend{Resent: dispatcher.Resent{
		Resend: dispatcher.Resend{Incident: rows.Int(1), Sequence: int(rows.Int(2)), Name: rows.Text(3), AsNew: rows.Bool(5),
			By: rows.Text(6), At: rows.Time(7)},
		Key: rows.Int(0), Sent: int(rows.Int(8)), UnderWay: int(rows.Int(9)), Absent: int(rows.Int(10)),
		Ended: rows.Text(12), DoneAt: rows.Time(13),
	}, cursor: rows.Int(14)}
	err := json.Unmarshal([]byte(rows.Text(4)), &r.Choice)
	if err == nil {
		err = json.Unmarshal([]byte(rows.Text(11)), &r.Untold)
	}
	if err != nil {
		err = fmt.Errorf("%w: a resend in the database is damaged: %w", dispatcher.ErrLedgerRefused, err)
	}
	return r, err
}
