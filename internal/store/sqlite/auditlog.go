package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// auditWindow is how many rows one reading of the log looks at, of each kind: some
// tens of milliseconds.
const auditWindow = 10_000

const (
	rangeOfAudit   = "SELECT (SELECT min(id) FROM audit), (SELECT max(id) FROM audit)"
	rangeOfUpdates = "SELECT (SELECT min(id) FROM updates), (SELECT max(id) FROM updates)"

	selectAudit = "SELECT id, at, page, incident_id, number, update_id, source, actor, action, cause, status, impact FROM audit WHERE "
	// The incident is looked up by row: with a join, SQLite might begin there.
	selectPublished = `SELECT u.id, u.accepted_at, u.page, (SELECT incident_id FROM incidents WHERE id = u.incident),
		u.update_id, u.sequence, u.sender, CAST(u.event AS TEXT) ->> '$.status', CAST(u.event AS TEXT) ->> '$.impact'
		FROM updates u WHERE u.sender IS NOT NULL AND `

	// The incident of a name on one page, and those on all: pages are few, and have no
	// table of their own.
	keyOnPage   = "(SELECT id FROM incidents WHERE page = ? AND incident_id = ?)"
	keysOnPages = `(WITH RECURSIVE pages (name) AS (SELECT min(page) FROM incidents UNION ALL
		SELECT (SELECT min(page) FROM incidents WHERE page > name) FROM pages WHERE name IS NOT NULL)
		SELECT i.id FROM pages CROSS JOIN incidents i WHERE i.page = name AND i.incident_id = ?)`
)

// AuditLog implements store.Audit. Both kinds are read by their keys, which grow in the
// order of writing: there is one writer, and no update is ever removed.
func (s *Store) AuditLog(ctx context.Context, f store.AuditFilter) (part store.AuditPart, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 2 * s.auditRows
	}
	err = s.ask(ctx, func(tx *sqlitedb.Tx) error {
		written, err := s.readAudit(tx, f, limit)
		if err != nil {
			return err
		}
		published, err := s.readPublished(tx, f, limit)
		part = mergeAudit(f.After, written, published, limit)
		return err
	})
	return part, err
}

// auditRun is what one kind of entries has next, in the order of its keys.
type auditRun struct {
	found []auditRow
	// through is the key up to which everything chosen was found; more says that there
	// are rows behind it.
	through int64
	more    bool
}

type auditRow struct {
	id int64
	store.AuditEntry
}

// waits says that nothing can be told until more of the run is read: what it has next
// may be older than what the other one has.
func (r *auditRun) waits() bool { return len(r.found) == 0 && r.more }

// place is the last key before what the run has next.
func (r *auditRun) place() int64 {
	if len(r.found) > 0 {
		return r.found[0].id - 1
	}
	return r.through
}

// mergeAudit tells two runs as one log. Which entry is next depends on the heads alone,
// so it makes no difference where the log is cut.
func mergeAudit(at store.AuditCursor, written, published auditRun, limit int) (part store.AuditPart) {
	for len(part.Entries) < limit && !written.waits() && !published.waits() {
		from, last := &written, &at.Entry
		if len(written.found) == 0 || len(published.found) > 0 && published.found[0].At.Before(written.found[0].At) {
			from, last = &published, &at.Update
		}
		if len(from.found) == 0 {
			break
		}
		e := from.found[0]
		from.found = from.found[1:]
		*last = e.id
		e.Cursor = at
		part.Entries = append(part.Entries, e.AuditEntry)
	}
	part.Next = store.AuditCursor{Entry: written.place(), Update: published.place()}
	part.More = written.more || published.more || len(written.found) > 0 || len(published.found) > 0
	return part
}

// readRun reads the rows behind a key that are chosen, at most limit. Where it walks the
// whole table it goes no farther than a window; the rows of one incident it finds by
// their index.
func (s *Store) readRun(tx *sqlitedb.Tx, bounds string, after int64, limit int, indexed bool, query string, args []any, scan func(*sqlitedb.Rows) store.AuditEntry) (run auditRun, err error) {
	var first, last int64
	rows := tx.Query(bounds)
	for rows.Next() {
		first, last = rows.Int(0), rows.Int(1)
	}
	if err := rows.Err(); err != nil {
		return run, err
	}
	run.through = max(after, last)
	if !indexed {
		run.through = max(after, min(last, max(after, first-1)+int64(s.auditRows)))
	}
	rows = tx.Query(query, append(args, after, run.through, limit)...)
	for rows.Next() {
		run.found = append(run.found, auditRow{rows.Int(0), scan(rows)})
	}
	if len(run.found) == limit {
		run.through = run.found[limit-1].id
	}
	run.more = run.through < last
	return run, rows.Err()
}

func (s *Store) readAudit(tx *sqlitedb.Tx, f store.AuditFilter, limit int) (auditRun, error) {
	query, args := listAudit(f)
	return s.readRun(tx, rangeOfAudit, f.After.Entry, limit, f.Page != "" && f.IncidentID != "", query, args, scanAudit)
}

func (s *Store) readPublished(tx *sqlitedb.Tx, f store.AuditFilter, limit int) (auditRun, error) {
	query, args := listPublished(f)
	return s.readRun(tx, rangeOfUpdates, f.After.Update, limit, f.IncidentID != "", query, args, scanPublished)
}

// listAudit walks the log by its key, or by incident; + keeps SQLite from the index of
// times, which it would have to sort. The last arguments are the keys, and the limit.
func listAudit(f store.AuditFilter) (query string, args []any) {
	var c conditions
	switch {
	case f.Page != "" && f.IncidentID != "":
		c.add("page = ? AND incident_id = ?", f.Page, f.IncidentID)
	case f.IncidentID != "":
		c.add("+incident_id = ?", f.IncidentID)
	case f.Page != "":
		c.add("+page = ?", f.Page)
	}
	c.times("+at", f)
	return selectAudit + c.text.String() + "id > ? AND id <= ? ORDER BY id LIMIT +?", c.args
}

// listPublished walks the updates by their key; + keeps SQLite from it where the
// incident's index leads to fewer. Those of an incident are sorted: they are few.
func listPublished(f store.AuditFilter) (query string, args []any) {
	var c conditions
	key := "u.id"
	switch {
	case f.Page != "" && f.IncidentID != "":
		key = "+u.id"
		c.add("u.incident = "+keyOnPage, f.Page, f.IncidentID)
	case f.IncidentID != "":
		key = "+u.id"
		c.add("u.incident IN "+keysOnPages, f.IncidentID)
	case f.Page != "":
		c.add("+u.page = ?", f.Page)
	}
	c.times("u.accepted_at", f)
	return selectPublished + c.text.String() + key + " > ? AND " + key + " <= ? ORDER BY u.id LIMIT +?", c.args
}

// conditions are those of a query that has more behind them.
type conditions struct {
	text strings.Builder
	args []any
}

func (c *conditions) add(text string, args ...any) {
	c.text.WriteString(text + " AND ")
	c.args = append(c.args, args...)
}

func (c *conditions) times(column string, f store.AuditFilter) {
	if !f.From.IsZero() {
		c.add(column+" >= ?", f.From)
	}
	if !f.Until.IsZero() {
		c.add(column+" < ?", f.Until)
	}
}

func scanAudit(rows *sqlitedb.Rows) store.AuditEntry {
	return store.AuditEntry{
		At: rows.Time(1), Page: rows.Text(2), IncidentID: rows.Text(3), Number: int(rows.Int(4)),
		UpdateID: rows.Text(5), Source: rows.Text(6), Actor: rows.Text(7), Action: rows.Text(8), Cause: rows.Text(9),
		Status: incident.Status(rows.Text(10)), Impact: incident.Impact(rows.Text(11)),
	}
}

func scanPublished(rows *sqlitedb.Rows) store.AuditEntry {
	e := store.AuditEntry{
		At: rows.Time(1), Page: rows.Text(2), IncidentID: rows.Text(3), UpdateID: rows.Text(4), Source: store.SourceEvents,
		Actor: rows.Text(6), Action: "accepted", Cause: fmt.Sprintf("a producer published it, as update %d", rows.Int(5)),
		Status: incident.Status(rows.Text(7)), Impact: incident.Impact(rows.Text(8)),
	}
	if rows.Null(5) {
		e.Action, e.Cause = "stale", "a producer published it, older than the newest update: it was kept and not sent"
	}
	return e
}
