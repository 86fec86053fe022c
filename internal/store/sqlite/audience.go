package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	audientColumns = "t.id, t.grp, t.provider, t.address, t.locale, t.format, t.secrets, t.private, t.every_update, t.fails > 0"

	// wanted says which targets subscribed to an update: ?1 its page, ?2 test, ?3
	// the rank of its impact, ?4 private, ?5 whether it is about the whole page, ?6
	// its components as JSON. What is no part of the index targets_audience is
	// looked up row by row. "+c.component" keeps the planner to the target's own
	// few components.
	wanted = `t.state = 0 AND t.incident = 0 AND t.page = ?1 AND t.test = ?2 AND t.min_rank <= ?3 AND t.private >= ?4
		AND (?5 OR t.components = '' OR EXISTS (SELECT 1 FROM target_components c
			WHERE c.target = t.id AND +c.component IN (SELECT value FROM json_each(?6))))`

	// subscribed walks the index from the cursor on.
	subscribed = `SELECT ` + audientColumns + `, t.stripe, t.id FROM targets t
		WHERE ` + wanted + ` AND (t.stripe, t.provider, t.id) > (?7, ?8, ?9)
		ORDER BY t.stripe, t.provider, t.id LIMIT ?10`

	// counted goes through the same targets once; grouping them would sort.
	counted = `SELECT sum(t.channel = 'webhook'), sum(t.channel = 'smtp'), sum(t.channel = 'smpp'),
		sum(t.channel = 'rss'), sum(t.channel = 'websub') FROM targets t WHERE ` + wanted

	// inlined does so for the targets that came with the incident's events: they
	// hear of everything that they may see.
	inlined = `SELECT ` + audientColumns + `, t.stripe, t.id FROM targets t
		WHERE t.state = 0 AND t.incident = ?1 AND t.page = ?2 AND t.test = ?3 AND (t.stripe, t.provider, t.id) > (?4, ?5, ?6)
		AND t.private >= ?7 ORDER BY t.stripe, t.provider, t.id LIMIT ?8`

	// older finds, of some targets as JSON, the rows for this update and the open ones
	// for earlier updates.
	older = `SELECT d.target, d.sequence, d.since, d.batch FROM json_each(?2) j CROSS JOIN deliveries d
		WHERE d.incident = ?1 AND d.target = j.value AND d.sequence <= ?3 AND (d.outcome = 0 OR d.sequence = ?3)`
)

// place is where a target stands in plan order, and what a cursor names.
type place struct {
	stripe   int64
	provider string
	id       int64
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.stripe, o.stripe), strings.Compare(p.provider, o.provider), cmp.Compare(p.id, o.id))
}

func (p place) cursor() string { return fmt.Sprintf("%d %d %s", p.stripe, p.id, p.provider) }

func parseCursor(cursor string) (p place, err error) {
	if cursor == "" {
		return place{stripe: -1}, nil
	}
	parts := strings.SplitN(cursor, " ", 3)
	if len(parts) != 3 {
		return p, fmt.Errorf("%w: the plan's cursor is damaged", dispatcher.ErrLedgerRefused)
	}
	p.provider = parts[2]
	if p.stripe, err = strconv.ParseInt(parts[0], 10, 64); err == nil {
		p.id, err = strconv.ParseInt(parts[1], 10, 64)
	}
	if err != nil {
		return p, fmt.Errorf("%w: the plan's cursor is damaged: %w", dispatcher.ErrLedgerRefused, err)
	}
	return p, nil
}

// Audience implements dispatcher.Ledger.
func (s *Store) Audience(ctx context.Context, p *dispatcher.Plan, limit int) (*dispatcher.AudiencePage, error) {
	from, err := parseCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	page := &dispatcher.AudiencePage{Cursor: p.Cursor}
	err = s.read(ctx, func(tx *sqlitedb.Tx) (err error) {
		if page.Revision, err = revision(tx); err != nil {
			return err
		}
		// One more than asked for says whether anything follows.
		general, err := audients(tx.Query(subscribed, p.Page, p.Test, p.Highest.Rank(),
			p.Visibility == incident.Private, p.Whole || len(p.Components) == 0, jsonList(p.Components),
			from.stripe, from.provider, from.id, limit+1), limit)
		if err != nil {
			return err
		}
		inline, err := audients(tx.Query(inlined, p.Incident, p.Page, p.Test, from.stripe, from.provider, from.id,
			p.Visibility == incident.Private, limit+1), 0)
		if err != nil {
			return err
		}
		all := merge(general, inline)
		if page.Last = len(all) <= limit; !page.Last {
			all = all[:limit]
		}
		if len(all) > 0 {
			page.Cursor = all[len(all)-1].cursor()
		}
		if p.Sequence > 1 || p.Recheck {
			if all, err = withOlder(tx, p, all); err != nil {
				return err
			}
		}
		page.Targets = make([]dispatcher.Audient, len(all))
		for i := range all {
			page.Targets[i] = all[i].Audient
		}
		return nil
	})
	return page, err
}

// AudienceCount implements store.History.
func (s *Store) AudienceCount(ctx context.Context, q store.AudienceQuery) (map[string]int, error) {
	count := make(map[string]int)
	err := s.ask(ctx, func(tx *sqlitedb.Tx) error {
		rows := tx.Query(counted, q.Page, q.Test, q.Impact.Rank(), q.Visibility == incident.Private,
			len(q.Components) == 0, jsonList(q.Components))
		for rows.Next() {
			for i, channel := range []string{incident.ChannelWebhook, incident.ChannelSMTP, incident.ChannelSMPP,
				incident.ChannelRSS, incident.ChannelWebSub} {
				if n := int(rows.Int(i)); n > 0 { // NULL, where there are no targets, is 0
					count[channel] = n
				}
			}
		}
		return rows.Err()
	})
	return count, err
}

func jsonList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return encodeList(list)
}

type placed struct {
	dispatcher.Audient
	place
}

func audients(rows *sqlitedb.Rows, expected int) ([]placed, error) {
	list := make([]placed, 0, expected)
	for rows.Next() {
		a, err := scanAudient(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, placed{a, place{rows.Int(10), a.Provider, a.Target}})
	}
	return list, rows.Err()
}

// scanAudient reads audientColumns.
func scanAudient(rows *sqlitedb.Rows) (a dispatcher.Audient, err error) {
	a = dispatcher.Audient{
		Target: rows.Int(0), Group: rows.Text(1), Provider: rows.Text(2), Address: rows.Text(3), Locale: rows.Text(4),
		Format: rows.Text(5), Private: rows.Bool(7), EveryUpdate: rows.Bool(8), Failing: rows.Bool(9),
	}
	a.Secrets, err = decodeList(rows.Text(6))
	return a, err
}

// merge joins two lists in plan order to one.
func merge(a, b []placed) []placed {
	if len(b) == 0 {
		return a
	}
	out := make([]placed, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(b[0].place) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// withOlder notes the targets' open rows of earlier updates, and leaves out who has a
// row for this one already.
func withOlder(tx *sqlitedb.Tx, p *dispatcher.Plan, all []placed) ([]placed, error) {
	at := make(map[int64]int, len(all))
	ids := make([]byte, 0, 8*len(all)+2)
	for i := range all {
		at[all[i].id] = i
		ids = strconv.AppendInt(append(ids, ','), all[i].id, 10)
	}
	if len(all) == 0 {
		return all, nil
	}
	ids[0] = '['
	planned := make(map[int64]bool)
	rows := tx.Query(older, p.Incident, string(append(ids, ']')), p.Sequence)
	for rows.Next() {
		id, sequence := rows.Int(0), int(rows.Int(1))
		if sequence == p.Sequence {
			planned[id] = true
			continue
		}
		a := &all[at[id]].Audient
		if since := rows.Time(2); a.Since.IsZero() || !since.IsZero() && since.Before(a.Since) {
			a.Since = since
		}
		if rows.Null(3) {
			a.Waiting = append(a.Waiting, sequence)
		}
	}
	return slices.DeleteFunc(all, func(a placed) bool { return planned[a.id] }), rows.Err()
}
