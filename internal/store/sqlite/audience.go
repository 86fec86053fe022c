package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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

	// subscribed walks the index from the cursor on. SQLite compiles a statement with
	// a bare "LIMIT ?" anew each time it is bound, to plan for the number; not with "+".
	subscribed = `SELECT ` + audientColumns + `, t.stripe, t.id FROM targets t
		WHERE ` + wanted + ` AND (t.stripe, t.provider, t.id) > (?7, ?8, ?9)
		ORDER BY t.stripe, t.provider, t.id LIMIT +?10`

	// counted goes through the same targets once; grouping them would sort.
	counted = `SELECT sum(t.channel = 'webhook'), sum(t.channel = 'smtp'), sum(t.channel = 'smpp'),
		sum(t.channel = 'rss'), sum(t.channel = 'websub') FROM targets t WHERE ` + wanted

	// inlined does so for the targets that came with the incident's events: they
	// hear of everything that they may see.
	inlined = `SELECT ` + audientColumns + `, t.stripe, t.id FROM targets t
		WHERE t.state = 0 AND t.incident = ?1 AND t.page = ?2 AND t.test = ?3 AND (t.stripe, t.provider, t.id) > (?4, ?5, ?6)
		AND t.private >= ?7 ORDER BY t.stripe, t.provider, t.id LIMIT +?8`

	// unsettled are the earlier updates of an incident that may have open rows. One
	// that is open is in a batch, or waits. What expired with its update is closed.
	unsettled = `SELECT u.id, u.sequence FROM updates u WHERE u.incident = ?1 AND u.sequence < ?2
		AND (u.waited AND u.swept_at IS NULL OR EXISTS (SELECT 1 FROM batches b WHERE b.incident = ?1 AND b.sequence = u.sequence))`

	// older finds, of some targets and updates as JSON, the open rows and all of one
	// update.
	older = `SELECT d.id, d.since, d.batch FROM json_each(?1) t CROSS JOIN json_each(?2) u CROSS JOIN deliveries d
		WHERE d.id = (u.value << 32) + t.value AND (d.outcome = 0 OR u.value = ?3)`
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
		general, err := readAudience(tx.Query(subscribed, p.Page, p.Test, p.Highest.Rank(),
			p.Visibility == incident.Private, p.Whole || len(p.Components) == 0, jsonList(p.Components),
			from.stripe, from.provider, from.id, limit+1), limit+1)
		if err != nil {
			return err
		}
		inline, err := readAudience(tx.Query(inlined, p.Incident, p.Page, p.Test, from.stripe, from.provider, from.id,
			p.Visibility == incident.Private, limit+1), 0)
		if err != nil {
			return err
		}
		all := merge(general, inline)
		if page.Last = all.len() <= limit; !page.Last {
			all = all.first(limit)
		}
		if n := all.len(); n > 0 {
			page.Cursor = all.place(n - 1).cursor()
		}
		page.Targets = all.targets
		if p.Sequence > 1 || p.Recheck {
			page.Targets, err = withOlder(tx, p, page.Targets)
		}
		return err
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

func jsonNumbers(list []int64) string {
	out := make([]byte, 0, 12*len(list)+2)
	for _, n := range list {
		out = strconv.AppendInt(append(out, ','), n, 10)
	}
	if len(list) == 0 {
		return "[]"
	}
	out[0] = '['
	return string(append(out, ']'))
}

func jsonList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return encodeList(list)
}

// audience is some targets in plan order, each with its stripe.
type audience struct {
	targets []dispatcher.Audient
	stripes []int64
}

func (a audience) len() int { return len(a.targets) }

func (a audience) first(n int) audience { return audience{a.targets[:n], a.stripes[:n]} }

func (a audience) rest(n int) audience { return audience{a.targets[n:], a.stripes[n:]} }

func (a audience) place(i int) place {
	t := &a.targets[i]
	return place{a.stripes[i], t.Provider, t.Target}
}

func (a *audience) add(some audience) {
	a.targets = append(a.targets, some.targets...)
	a.stripes = append(a.stripes, some.stripes...)
}

// readAudience reads all rows, about so many. The addresses are parts of one string.
func readAudience(rows *sqlitedb.Rows, expected int) (a audience, err error) {
	var addresses []byte
	var ends []int
	var before dispatcher.Audient
	for rows.Next() {
		if a.targets == nil {
			a.targets, a.stripes, ends = make([]dispatcher.Audient, 0, expected), make([]int64, 0, expected), make([]int, 0, expected)
		}
		t, err := scanAudient(rows, &before)
		if err != nil {
			return a, err
		}
		addresses = rows.AppendText(addresses, columnAddress)
		a.targets, a.stripes, ends = append(a.targets, t), append(a.stripes, rows.Int(10)), append(ends, len(addresses))
		before = t
	}
	text, from := string(addresses), 0
	for i, to := range ends {
		a.targets[i].Address, from = text[from:to], to
	}
	return a, rows.Err()
}

// columnAddress is the place of the address in audientColumns.
const columnAddress = 3

// scanAudient reads audientColumns but the address. What is as in the row before is
// taken from there.
func scanAudient(rows *sqlitedb.Rows, before *dispatcher.Audient) (a dispatcher.Audient, err error) {
	a = dispatcher.Audient{
		Target: rows.Int(0), Group: rows.TextLike(1, before.Group), Provider: rows.TextLike(2, before.Provider),
		Locale: rows.TextLike(4, before.Locale), Format: rows.TextLike(5, before.Format),
		Private: rows.Bool(7), EveryUpdate: rows.Bool(8), Failing: rows.Bool(9),
	}
	a.Secrets, err = decodeList(rows.Text(6))
	return a, err
}

// merge joins two lists in plan order to one.
func merge(a, b audience) audience {
	if b.len() == 0 {
		return a
	}
	var out audience
	for a.len() > 0 && b.len() > 0 {
		if a.place(0).compare(b.place(0)) < 0 {
			out.add(a.first(1))
			a = a.rest(1)
		} else {
			out.add(b.first(1))
			b = b.rest(1)
		}
	}
	out.add(a)
	out.add(b)
	return out
}

// withOlder notes the targets' open rows of earlier updates and, if the plan asks for
// it, leaves out who has a row for this one already. As a rule all that was planned
// earlier is settled, and there is nothing to look for.
func withOlder(tx *sqlitedb.Tx, p *dispatcher.Plan, all []dispatcher.Audient) ([]dispatcher.Audient, error) {
	sequences := make(map[int64]int) // by update
	rows := tx.Query(unsettled, p.Incident, p.Sequence)
	for rows.Next() {
		sequences[rows.Int(0)] = int(rows.Int(1))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	own := int64(-1)
	if p.Recheck {
		ids := deliveryIDs{tx: tx}
		var err error
		if own, err = ids.updateID(p.Incident, p.Sequence); err != nil {
			return nil, err
		}
		sequences[own] = p.Sequence
	}
	if len(all) == 0 || len(sequences) == 0 {
		return all, nil
	}
	at := make(map[int64]int, len(all))
	targets := make([]int64, len(all))
	for i := range all {
		at[all[i].Target] = i
		targets[i] = all[i].Target
	}
	planned := make(map[int64]bool)
	rows = tx.Query(older, jsonNumbers(targets), jsonNumbers(slices.Sorted(maps.Keys(sequences))), own)
	for rows.Next() {
		id := rows.Int(0)
		if updateOf(id) == own {
			planned[targetOf(id)] = true
			continue
		}
		a := &all[at[targetOf(id)]]
		if since := rows.Time(1); a.Since.IsZero() || !since.IsZero() && since.Before(a.Since) {
			a.Since = since
		}
		if rows.Null(2) {
			a.Waiting = append(a.Waiting, sequences[updateOf(id)])
		}
	}
	return slices.DeleteFunc(all, func(a dispatcher.Audient) bool { return planned[a.Target] }), rows.Err()
}
