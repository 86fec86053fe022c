package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const selectIncident = "SELECT id, page, incident_id, status, impact, affected, started_at, updated_at, stopped >= sequence, sequence FROM incidents "

const incidentNamed = selectIncident + "WHERE page = ? AND incident_id = ?"

func scanIncident(rows *sqlitedb.Rows) (store.Incident, error) {
	components, err := decodeList(rows.Text(5))
	return store.Incident{
		Key: rows.Int(0), Page: rows.Text(1), IncidentID: rows.Text(2), Status: incident.Status(rows.Text(3)),
		Impact: incident.Impact(rows.Text(4)), Components: components, StartedAt: rows.Time(6), UpdatedAt: rows.Time(7),
		Stopped: rows.Bool(8), Sequence: int(rows.Int(9)),
	}, err
}

// listIncidents names the conditions given, so that each combination finds its
// index.
func listIncidents(page string, status incident.Status) (query string, args []any) {
	var where strings.Builder
	if page != "" {
		where.WriteString("page = ? AND ")
		args = append(args, page)
	}
	if status != "" {
		where.WriteString("status = ? AND ")
		args = append(args, string(status))
	}
	return selectIncident + "WHERE " + where.String() + "id < ? ORDER BY id DESC LIMIT ?", args
}

// Incidents implements store.History.
func (s *Store) Incidents(ctx context.Context, page string, status incident.Status, before int64, limit int) ([]store.Incident, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	query, args := listIncidents(page, status)
	var list []store.Incident
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(query, append(args, before, limit)...)
		for rows.Next() {
			i, err := scanIncident(rows)
			if err != nil {
				return err
			}
			list = append(list, i)
		}
		return rows.Err()
	})
	return list, err
}

// Incident implements store.History.
func (s *Store) Incident(ctx context.Context, page, incidentID string) (*store.Incident, []store.Update, error) {
	var found store.Incident
	var updates []store.Update
	err := s.ask(ctx, func(tx *sqlitedb.Tx) (err error) {
		if found, err = findIncident(tx, page, incidentID); err != nil {
			return err
		}
		if updates, err = listUpdates(tx, found.Key); err != nil {
			return err
		}
		if err := addCallbacks(tx, found.Key, updates); err != nil {
			return err
		}
		return addProgress(tx, found.Key, updates)
	})
	if err != nil {
		return nil, nil, err
	}
	return &found, updates, nil
}

const updatesOf = `SELECT sequence, update_id, event, updated_at, accepted_at, expires_at, planned_at, audience
	FROM updates WHERE incident = ? ORDER BY id DESC`

func listUpdates(tx *sqlitedb.Tx, id int64) ([]store.Update, error) {
	var list []store.Update
	rows := tx.Query(updatesOf, id)
	for rows.Next() {
		var e struct {
			Status  incident.Status `json:"status"`
			Impact  incident.Impact `json:"impact"`
			Title   string          `json:"title"`
			Message string          `json:"message"`
		}
		if err := json.Unmarshal(rows.Blob(2), &e); err != nil {
			return nil, fmt.Errorf("an update in the database is damaged: %w", err)
		}
		list = append(list, store.Update{
			Sequence: int(rows.Int(0)), UpdateID: rows.Text(1), Status: e.Status, Impact: e.Impact, Title: e.Title,
			Message: e.Message, UpdatedAt: rows.Time(3), AcceptedAt: rows.Time(4), ExpiresAt: rows.Time(5),
			PlannedAt: rows.Time(6), Audience: int(rows.Int(7)), Progress: make(map[string]map[dispatcher.Outcome]int),
		})
	}
	return list, rows.Err()
}

// progress reads the rows of an incident's updates, each with its target's channel.
const progress = `SELECT u.sequence, coalesce(t.channel, ''), d.outcome, count(*) FROM updates u
	CROSS JOIN deliveries d ON d.id >= u.id << 32 AND d.id < (u.id + 1) << 32
	LEFT JOIN targets t ON t.id = ` + targetOfRow + ` WHERE u.incident = ? AND u.sequence IS NOT NULL GROUP BY 1, 2, 3`

func addProgress(tx *sqlitedb.Tx, id int64, updates []store.Update) error {
	bySequence := make(map[int64]map[string]map[dispatcher.Outcome]int, len(updates))
	for _, u := range updates {
		if u.Sequence > 0 {
			bySequence[int64(u.Sequence)] = u.Progress
		}
	}
	rows := tx.Query(progress, id)
	for rows.Next() {
		channels := bySequence[rows.Int(0)]
		if channels == nil {
			continue
		}
		name := rows.Text(1)
		if channels[name] == nil {
			channels[name] = make(map[dispatcher.Outcome]int)
		}
		channels[name][dispatcher.Outcome(rows.Int(2))] = int(rows.Int(3))
	}
	return rows.Err()
}

// FindIncident implements store.History.
func (s *Store) FindIncident(ctx context.Context, page, incidentID string) (*store.Incident, error) {
	var found store.Incident
	err := s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		found, err = findIncident(tx, page, incidentID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &found, nil
}

func findIncident(tx *sqlitedb.Tx, page, incidentID string) (store.Incident, error) {
	rows := tx.Query(incidentNamed, page, incidentID)
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return store.Incident{}, err
		}
		return store.Incident{}, fmt.Errorf("incident: %w", store.ErrNotFound)
	}
	return scanIncident(rows)
}

// deliveriesOf walks an update's rows from ?1 to ?2; without ?3, whatever their
// outcome.
const (
	selectDeliveries = `SELECT d.id, coalesce(t.channel, ''), d.outcome, d.attempt, d.class, d.detail, d.due_at, d.sent_at, d.done_at
	FROM deliveries d LEFT JOIN targets t ON t.id = ` + targetOfRow + `
	WHERE d.id >= ?1 AND d.id <= ?2 AND (?3 < 0 OR d.outcome = ?3)`
	orderDeliveries = " ORDER BY d.id LIMIT ?4"

	deliveriesOf = selectDeliveries + orderDeliveries
	retryingOf   = selectDeliveries + " AND d.outcome = 0 AND d.attempt > 0" + orderDeliveries
	untriedOf    = selectDeliveries + " AND d.outcome = 0 AND d.attempt = 0" + orderDeliveries
	// unheardOf asks for newer rows of those alone that were not delivered;
	// superseded ones have some.
	unheardOf = selectDeliveries + ` AND d.outcome NOT IN (1, 2) AND NOT EXISTS (SELECT 1 FROM updates o
	JOIN updates v ON v.incident = o.incident AND v.sequence > o.sequence
	CROSS JOIN deliveries n ON n.id = (v.id << 32) + (` + targetOfRow + `) WHERE o.id = ?1 >> 32)` + orderDeliveries

	// updatesIn are the updates of an incident with rows; with ?2, that one alone.
	updatesIn = "SELECT id, sequence FROM updates WHERE incident = ?1 AND sequence > 0 AND (?2 = 0 OR sequence = ?2) ORDER BY sequence"
)

func deliveriesQuery(s store.Standing) string {
	switch s {
	case store.Retrying:
		return retryingOf
	case store.Untried:
		return untriedOf
	case store.Unheard:
		return unheardOf
	}
	return deliveriesOf
}

// Deliveries implements store.History. The rows come by target and sequence, but lie by
// update and target: of each update so many are read as may be among the first.
func (s *Store) Deliveries(ctx context.Context, id int64, f store.DeliveryFilter) ([]store.Delivery, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	var list []store.Delivery
	err := s.ask(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		updates := tx.Query(updatesIn, id, f.Sequence)
		for updates.Next() {
			some, err := deliveriesIn(tx, updates.Int(0), int(updates.Int(1)), f, limit)
			if err != nil {
				return err
			}
			list = append(list, some...)
		}
		return updates.Err()
	})
	slices.SortFunc(list, func(a, b store.Delivery) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Sequence, b.Sequence))
	})
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, err
}

// deliveriesIn returns the first of an update's rows that a filter chooses.
func deliveriesIn(tx *sqlitedb.Tx, update int64, sequence int, f store.DeliveryFilter, limit int) ([]store.Delivery, error) {
	first, last, outcome := f.After.Target, int64(maxTarget), -1
	if sequence <= f.After.Sequence { // that target's row is behind the cursor
		first++
	}
	if f.Target != 0 {
		first, last = max(first, f.Target), min(f.Target, last)
	}
	if f.Outcome != nil {
		outcome = int(*f.Outcome)
	}
	if first > last {
		return nil, nil
	}
	var list []store.Delivery
	rows := tx.Query(deliveriesQuery(f.Standing), idOf(update, first), idOf(update, last), outcome, limit)
	for rows.Next() {
		d := store.Delivery{
			Target: targetOf(rows.Int(0)), Channel: rows.Text(1), Sequence: sequence, Outcome: dispatcher.Outcome(rows.Int(2)),
			Attempt: int(rows.Int(3)), Detail: rows.Text(5), DueAt: rows.Time(6), SentAt: rows.Time(7), DoneAt: rows.Time(8),
		}
		if class := channels.Class(rows.Int(4)); class != 0 {
			d.Class = class.String()
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

const knownUpdate = `SELECT 1 FROM incidents i JOIN updates u ON u.incident = i.id
	WHERE i.page = ? AND i.incident_id = ? AND u.update_id = ?`

// KnownUpdate implements store.History.
func (s *Store) KnownUpdate(ctx context.Context, page, incidentID, updateID string) (known bool, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		known, err = exists(tx, knownUpdate, page, incidentID, updateID)
		return err
	})
	return known, err
}

const latestEvent = `SELECT u.event, u.updated_at,
	u.test AND NOT EXISTS (SELECT 1 FROM updates o WHERE o.incident = i.id AND o.sequence IS NOT NULL AND o.test = 0)
	FROM incidents i JOIN updates u ON u.incident = i.id AND u.sequence = i.sequence WHERE i.page = ? AND i.incident_id = ?`

// LatestEvent implements store.History.
func (s *Store) LatestEvent(ctx context.Context, page, incidentID string) (e *incident.Event, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		e = nil
		rows := tx.Query(latestEvent, page, incidentID)
		defer rows.Close()
		for rows.Next() {
			if e, err = incident.Decode(rows.Blob(0)); err != nil {
				return fmt.Errorf("read the newest update of an incident: %w", err)
			}
			e.UpdatedAt, e.Test = rows.Time(1), rows.Bool(2)
		}
		return rows.Err()
	})
	return e, err
}
