package sqlite

import (
	"context"
	"fmt"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// States as they are stored.
const (
	stateActive = iota
	statePaused
	stateDisabled
	stateUnsubscribed
	stateDeleted
)

func stateNumber(s incident.TargetState) int {
	switch s {
	case incident.StatePaused:
		return statePaused
	case incident.StateDisabled:
		return stateDisabled
	case incident.StateUnsubscribed:
		return stateUnsubscribed
	}
	return stateActive
}

func stateName(n int64) incident.TargetState {
	switch n {
	case statePaused:
		return incident.StatePaused
	case stateDisabled:
		return incident.StateDisabled
	case stateUnsubscribed:
		return incident.StateUnsubscribed
	case stateDeleted:
		return "deleted"
	}
	return incident.StateActive
}

const selectTarget = `SELECT id, page, external_id, channel, address, locale, format, secrets, components,
	min_impact, private, every_update, test, state, grp, provider, stripe, incident FROM targets `

// targetRow is a target as stored. incident is 0 unless it came inline.
type targetRow struct {
	incident.Target
	group, provider string
	stripe          int64
	incident        int64
}

func scanTarget(rows *sqlitedb.Rows) (t targetRow, err error) {
	t = targetRow{
		Target: incident.Target{
			ID: rows.Int(0), Page: rows.Text(1), ExternalID: rows.Text(2), Channel: rows.Text(3),
			Address: rows.Text(4), Locale: rows.Text(5), Format: rows.Text(6),
			MinImpact: incident.Impact(rows.Text(9)), Visibility: visibility(rows.Bool(10)),
			EveryUpdate: rows.Bool(11), Test: rows.Bool(12), State: stateName(rows.Int(13)),
		},
		group: rows.Text(14), provider: rows.Text(15), stripe: rows.Int(16), incident: rows.Int(17),
	}
	if t.Secrets, err = decodeList(rows.Text(7)); err != nil {
		return t, err
	}
	t.Components, err = decodeList(rows.Text(8))
	return t, err
}

func visibility(private bool) incident.Visibility {
	if private {
		return incident.Private
	}
	return incident.Public
}

// findTarget returns the one target that a condition names, or
// store.ErrNotFound. A tombstone is not found.
func findTarget(tx *sqlitedb.Tx, where string, args ...any) (t targetRow, err error) {
	rows := tx.Query(selectTarget+where, args...)
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return t, err
		}
		return t, fmt.Errorf("target: %w", store.ErrNotFound)
	}
	return scanTarget(rows)
}

const (
	targetByID       = "WHERE id = ? AND state <> 4"
	targetByExternal = "WHERE page = ? AND external_id = ? AND incident = 0 AND external_id <> '' AND state <> 4"
	targetInline     = "WHERE incident = ? AND channel = ? AND address = ? AND incident <> 0 AND state <> 4"
	targetsListed    = "WHERE id > ? AND incident = 0 AND state <> 4 ORDER BY id LIMIT ?"
)

// Upsert implements store.Targets.
//
// A target that was paused, disabled or unsubscribed stays so when the new
// version says active, which is what a repeated import says of everyone;
// [Store.Patch] reactivates. A disabled target with a new address is another
// matter: it begins anew.
func (s *Store) Upsert(ctx context.Context, targets []*incident.Target) ([]store.Upserted, error) {
	routed, err := s.routeAll(targets)
	if err != nil {
		return nil, err
	}
	var done []store.Upserted
	states := make([]incident.TargetState, len(routed))
	err = s.write(ctx, sqlitedb.Import, func(tx *sqlitedb.Tx) error {
		done = done[:0]
		w := newTargetWriter(tx)
		for i := range routed {
			t := routed[i]
			u, err := w.upsert(&t)
			if err != nil {
				return err
			}
			done, states[i] = append(done, u), t.State
		}
		return w.close()
	})
	if err != nil {
		return nil, err
	}
	for i, u := range done {
		targets[i].ID, targets[i].State = u.ID, states[i]
	}
	return done, nil
}

func (s *Store) routeAll(targets []*incident.Target) ([]targetRow, error) {
	rows := make([]targetRow, len(targets))
	for i, t := range targets {
		group, provider, err := s.route(t)
		if err != nil {
			return nil, err
		}
		rows[i] = targetRow{Target: *t, group: group, provider: provider}
	}
	return rows, nil
}

// Target implements store.Targets. It finds inline targets too.
func (s *Store) Target(ctx context.Context, id int64) (*incident.Target, error) {
	var t targetRow
	err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		t, err = findTarget(tx, targetByID, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &t.Target, nil
}

// ListTargets implements store.Targets, without inline targets.
func (s *Store) ListTargets(ctx context.Context, after int64, limit int) ([]*incident.Target, error) {
	var list []*incident.Target
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(selectTarget+targetsListed, after, limit)
		for rows.Next() {
			t, err := scanTarget(rows)
			if err != nil {
				return err
			}
			list = append(list, &t.Target)
		}
		return rows.Err()
	})
	return list, err
}

// Patch implements store.Targets.
func (s *Store) Patch(ctx context.Context, id int64, change func(*incident.Target) error, asked ...dispatcher.Asked) (*incident.Target, error) {
	var result incident.Target
	err := s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		before, err := findTarget(tx, targetByID, id)
		if err != nil {
			return err
		}
		after := before
		if err := change(&after.Target); err != nil {
			return err
		}
		after.ID = id
		if after.group, after.provider, err = s.route(&after.Target); err != nil {
			return err
		}
		if before.incident == 0 && after.ExternalID != "" {
			holder, err := exists(tx, "SELECT 1 FROM targets "+targetByExternal+" AND id <> ?", after.Page, after.ExternalID, id)
			if err != nil {
				return err
			}
			if holder {
				return &incident.Invalid{Field: "external_id", Reason: "belongs to another target of the page"}
			}
		}
		if after.State == incident.StateActive && before.State != incident.StateActive {
			err = lift(tx, &after)
		} else if after.Channel != before.Channel || after.Address != before.Address {
			err = heedSuppression(tx, &after)
		}
		if err != nil {
			return err
		}
		w := newTargetWriter(tx)
		if _, err := w.replace(before, &after); err != nil {
			return err
		}
		result = after.Target
		if after.State != before.State {
			if err := writeAsked(tx, asked, after.Page, "", string(after.State)); err != nil {
				return err
			}
		}
		return w.close()
	})
	if err != nil {
		return nil, err
	}
	return &result, nil
}

// Delete implements store.Targets: a tombstone stays, so that claims of batches
// planned before see it and the ledger's rows keep their channel. Address and
// secrets are erased.
func (s *Store) Delete(ctx context.Context, id int64, asked ...dispatcher.Asked) error {
	return s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		t, err := findTarget(tx, targetByID, id)
		if err != nil {
			return err
		}
		r, err := raiseRevision(tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE targets SET state = 4, address = '', secrets = '', external_id = '',
			components = '', revision = ? WHERE id = ?`, r, id); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM target_components WHERE target = ?", id); err != nil {
			return err
		}
		return writeAsked(tx, asked, t.Page, "", "deleted")
	})
}
