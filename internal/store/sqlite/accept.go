package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// Accept implements dispatcher.Ledger.
func (s *Store) Accept(ctx context.Context, arrivals []*dispatcher.Arrival, decide dispatcher.DecideFunc) ([]dispatcher.Acceptance, error) {
	events := make([][]byte, len(arrivals))
	for i, a := range arrivals {
		var err error
		// Without the secrets of inline targets: those are kept with the targets.
		if events[i], err = json.Marshal(a.Event); err != nil {
			return nil, fmt.Errorf("%w: %w", dispatcher.ErrLedgerRefused, err)
		}
	}
	var result []dispatcher.Acceptance
	err := s.write(ctx, sqlitedb.Accept, func(tx *sqlitedb.Tx) error {
		result = make([]dispatcher.Acceptance, 0, len(arrivals))
		for i, a := range arrivals {
			acc, err := s.accept(tx, a, events[i], decide)
			if err != nil {
				return err
			}
			result = append(result, acc)
		}
		return nil
	})
	return result, err
}

func (s *Store) accept(tx *sqlitedb.Tx, a *dispatcher.Arrival, event []byte, decide dispatcher.DecideFunc) (acc dispatcher.Acceptance, err error) {
	id, state, err := incidentState(tx, a)
	if err != nil {
		return acc, err
	}
	d := decide(state, a)
	d.UpdatedAt, d.ExpiresAt, d.AcceptedAt = stored(d.UpdatedAt), stored(d.ExpiresAt), stored(d.AcceptedAt)
	acc.Decision = d
	switch d.Result {
	case dispatcher.AcceptedRefused:
		return acc, nil
	case dispatcher.AcceptedDuplicate:
		if d.Resume {
			acc.Plan, err = planOf(tx, id, d.Sequence)
		}
		return acc, err
	case dispatcher.AcceptedStale:
		return acc, insertUpdate(tx, id, a, event, d)
	}
	inline, err := s.routeInline(a.Event)
	if bad, ok := errors.AsType[*incident.Invalid](err); ok {
		acc.Decision = dispatcher.Decision{Result: dispatcher.AcceptedRefused, Field: bad.Field, Reason: bad.Reason}
		return acc, nil
	}
	if err != nil {
		return acc, err
	}
	if id, err = writeIncident(tx, id, a, d); err != nil {
		return acc, err
	}
	if err := insertUpdate(tx, id, a, event, d); err != nil {
		return acc, err
	}
	if a.Event.CallbackURL != "" {
		if _, err := tx.Exec(insertCallback, id, d.Sequence, string(a.Event.CallbackURL)); err != nil {
			return acc, err
		}
	}
	w := newTargetWriter(tx)
	for i := range inline {
		inline[i].incident = id
		if _, err := w.upsert(&inline[i]); err != nil {
			return acc, err
		}
	}
	if err := w.close(); err != nil {
		return acc, err
	}
	acc.Plan, err = planOf(tx, id, d.Sequence)
	return acc, err
}

// routeInline routes the event's own targets; a fault names the target in the
// event.
func (s *Store) routeInline(e *incident.Event) ([]targetRow, error) {
	rows := make([]targetRow, len(e.Targets))
	for i := range e.Targets {
		t := e.Targets[i]
		t.Page = e.Page
		group, provider, err := s.route(&t)
		if bad, ok := errors.AsType[*incident.Invalid](err); ok {
			return nil, &incident.Invalid{Field: fmt.Sprintf("targets[%d].%s", i, bad.Field), Reason: bad.Reason}
		}
		if err != nil {
			return nil, err
		}
		rows[i] = targetRow{Target: t, group: group, provider: provider}
	}
	return rows, nil
}

const selectIncidentState = `SELECT i.id, i.sequence, i.hash, i.updated_at, u.planning, i.highest, i.components,
	i.whole FROM incidents i JOIN updates u ON u.incident = i.id AND u.sequence = i.sequence
	WHERE i.page = ? AND i.incident_id = ?`

func incidentState(tx *sqlitedb.Tx, a *dispatcher.Arrival) (id int64, s dispatcher.IncidentState, err error) {
	rows := tx.Query(selectIncidentState, a.Event.Page, a.Event.IncidentID)
	for rows.Next() {
		id = rows.Int(0)
		s = dispatcher.IncidentState{
			Exists: true, Sequence: int(rows.Int(1)), Hash: hash(rows.Blob(2)), UpdatedAt: rows.Time(3), Planned: !rows.Bool(4),
			Highest: incident.Impact(rows.Text(5)), Whole: rows.Bool(7),
		}
		if s.Components, err = decodeList(rows.Text(6)); err != nil {
			return id, s, err
		}
	}
	if err := rows.Err(); err != nil || !s.Exists || a.UpdateID == "" {
		return id, s, err
	}
	rows = tx.Query("SELECT sequence, planning FROM updates WHERE incident = ? AND update_id = ?", id, a.UpdateID)
	for rows.Next() {
		s.KnownHere = true
		s.Known = int(rows.Int(0))
		s.KnownPlanned = !rows.Bool(1)
	}
	return id, s, rows.Err()
}

func hash(b []byte) (h [16]byte) {
	copy(h[:], b)
	return h
}

const (
	insertIncident = `INSERT INTO incidents (sequence, hash, status, impact, affected, started_at, updated_at, highest,
		components, whole, page, incident_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`
	updateIncident = `UPDATE incidents SET sequence = ?, hash = ?, status = ?, impact = ?, affected = ?, started_at = ?,
		updated_at = ?, highest = ?, components = ?, whole = ? WHERE id = ?`
)

// writeIncident makes d the incident's latest update; id is 0 for a new incident.
func writeIncident(tx *sqlitedb.Tx, id int64, a *dispatcher.Arrival, d dispatcher.Decision) (int64, error) {
	e := a.Event
	args := []any{d.Sequence, a.Hash[:], string(e.Status), string(e.Impact), encodeList(e.AffectedComponents),
		e.StartedAt, d.UpdatedAt, string(d.Highest), encodeList(d.Components), d.Whole}
	if id != 0 {
		_, err := tx.Exec(updateIncident, append(args, id)...)
		return id, err
	}
	rows := tx.Query(insertIncident, append(args, e.Page, e.IncidentID)...)
	for rows.Next() {
		id = rows.Int(0)
	}
	return id, rows.Err()
}

const newUpdate = `INSERT INTO updates (incident, sequence, update_id, hash, event, private, test, updated_at,
	received_at, accepted_at, expires_at, highest, components, whole, planning, page, sender)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, '')) RETURNING id`

// insertUpdate writes a new update, or a stale one, which has no sequence and no
// plan.
func insertUpdate(tx *sqlitedb.Tx, id int64, a *dispatcher.Arrival, event []byte, d dispatcher.Decision) error {
	var name any
	if d.UpdateID != "" {
		name = d.UpdateID
	}
	rows := tx.Query(newUpdate, id, orNull(int64(d.Sequence)), name, a.Hash[:], event,
		a.Event.Visibility == incident.Private, a.Event.Test, d.UpdatedAt, a.ReceivedAt, d.AcceptedAt, d.ExpiresAt,
		string(d.Highest), encodeList(d.Components), d.Whole, d.Sequence > 0, a.Event.Page, a.Sender)
	for rows.Next() {
		if err := checkUpdateID(rows.Int(0)); err != nil {
			return err
		}
	}
	return rows.Err()
}
