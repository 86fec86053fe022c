package sqlite

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

const (
	// toldSoFar counts the deliveries of older updates: those the target took, those
	// of them sent after ?4, and those that a worker has in hand.
	toldSoFar = `SELECT count(*) FILTER (WHERE d.outcome = 1), count(*) FILTER (WHERE d.outcome = 1 AND d.sent_at > ?4),
		count(*) FILTER (WHERE d.outcome = 0 AND d.batch IS NOT NULL AND EXISTS (
			SELECT 1 FROM batches b WHERE b.id = d.batch AND (b.held = 1 OR b.holder <> 0)))
		FROM updates u CROSS JOIN deliveries d ON d.id = (u.id << 32) + ?2 WHERE u.incident = ?1 AND u.sequence < ?3`
	// toldOfAll are the deliveries of all incidents that a target was claimed for and
	// that may count: whether it took them and they were sent after ?2, and whether a
	// worker has them in hand.
	toldOfAll = `SELECT m.incident, m.sequence, d.outcome = 1 AND d.sent_at > ?2,
		d.outcome = 0 AND d.batch IS NOT NULL AND EXISTS (SELECT 1 FROM batches b WHERE b.id = d.batch AND (b.held = 1 OR b.holder <> 0))
		FROM messages m LEFT JOIN updates u ON u.incident = m.incident AND u.sequence = m.sequence
		LEFT JOIN deliveries d ON d.id = (u.id << 32) + m.target WHERE m.target = ?1`
	noteMessage = "INSERT INTO messages (target, incident, sequence) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
	dropMessage = "DELETE FROM messages WHERE target = ? AND incident = ? AND sequence = ?"

	statusOf = "SELECT CAST(event AS TEXT) ->> '$.status' FROM updates WHERE incident = ? AND sequence = ?"

	countMessages = "INSERT INTO counted (account, hour, messages) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET messages = messages + excluded.messages"
	takenBefore   = "SELECT 1 FROM deliveries WHERE id = ? AND outcome = 1 AND sent_at IS ?"
	dropCounts    = "DELETE FROM counted WHERE account = ? AND hour < ?"
)

// hoursKept is how long it is known what was taken in an hour.
const hoursKept = 48

// hourOf is one hour of an account.
type hourOf struct {
	account string
	hour    int64
}

// budgets are what the requests of one claim may send.
type budgets struct {
	tx   *sqlitedb.Tx
	last map[updateName]bool
}

func newBudgets(tx *sqlitedb.Tx) budgets { return budgets{tx, make(map[updateName]bool)} }

// writes says whether a claim changes anything.
func writes(r dispatcher.ClaimRequest) bool {
	return !r.Leased || r.Budget != nil && r.Budget.PerTarget.Messages > 0
}

// check says what of its target's budget keeps a delivery from being sent. What it lets
// through counts for those after it; what it doesn't must not stand in the way of others
// that wait.
func (b *budgets) check(r *dispatcher.ClaimRequest, d *queue.Delivery) (why dispatcher.Why, detail string, err error) {
	if !r.Budget.OfTargets() {
		return 0, "", nil
	}
	all := r.Budget.PerTarget.Messages > 0
	spent, err := b.spent(r, d)
	if err == nil && all {
		err = b.spentOnAll(r, d, &spent)
	}
	if err != nil {
		return 0, "", err
	}
	why, detail = r.Budget.Check(spent, false)
	if why != 0 { // only now does it matter
		last, err := b.ends(r.Batch.Incident, r.Batch.Sequence)
		if err != nil {
			return 0, "", err
		}
		if last {
			why, detail = r.Budget.Check(spent, true)
		}
	}
	if all {
		note := noteMessage
		if why != 0 {
			note = dropMessage
		}
		_, err = b.tx.Exec(note, d.Target, r.Batch.Incident, r.Batch.Sequence)
	}
	return why, detail, err
}

// heard says who heard of the incident that a batch ends.
func (b *budgets) heard(r *dispatcher.ClaimRequest) (list []dispatcher.Heard, err error) {
	if r.Budget == nil || !r.Budget.Counts() || r.Batch.Sequence == 1 {
		return nil, nil
	}
	if last, err := b.ends(r.Batch.Incident, r.Batch.Sequence); err != nil || !last {
		return nil, err
	}
	list = make([]dispatcher.Heard, len(r.Batch.Deliveries))
	for i := range list {
		spent, err := b.spent(r, &r.Batch.Deliveries[i])
		if err != nil {
			return nil, err
		}
		list[i] = spent.Heard()
	}
	return list, nil
}

// spent counts what a target was told of a delivery's incident.
func (b *budgets) spent(r *dispatcher.ClaimRequest, d *queue.Delivery) (s dispatcher.Spent, err error) {
	if r.Batch.Sequence == 1 { // there is nothing older
		return s, nil
	}
	rows := b.tx.Query(toldSoFar, r.Batch.Incident, d.Target, r.Batch.Sequence, r.Now.Add(-r.Budget.PerIncident.Every))
	for rows.Next() {
		s.Told, s.Recent, s.UnderWay = int(rows.Int(0)), int(rows.Int(1)), int(rows.Int(2))
	}
	return s, rows.Err()
}

// spentOnAll counts what a target was told of all incidents, but for the delivery
// itself, and forgets what counts no more: closed without having been taken, sent too long
// ago, or with nobody. What waits is noted again by its next claim.
func (b *budgets) spentOnAll(r *dispatcher.ClaimRequest, d *queue.Delivery, s *dispatcher.Spent) error {
	own := updateName{r.Batch.Incident, r.Batch.Sequence}
	var old []updateName
	rows := b.tx.Query(toldOfAll, d.Target, r.Now.Add(-r.Budget.PerTarget.Every))
	for rows.Next() {
		switch of := (updateName{rows.Int(0), int(rows.Int(1))}); {
		case of == own:
		case rows.Bool(2):
			s.AllRecent++
		case rows.Bool(3):
			s.AllUnderWay++
		default:
			old = append(old, of)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, of := range old {
		if _, err := b.tx.Exec(dropMessage, d.Target, of.incident, of.sequence); err != nil {
			return err
		}
	}
	return nil
}

// ends says whether an update ends its incident.
func (b *budgets) ends(id int64, sequence int) (bool, error) {
	u := updateName{id, sequence}
	last, known := b.last[u]
	if known {
		return last, nil
	}
	rows := b.tx.Query(statusOf, id, sequence)
	for rows.Next() {
		last = incident.Status(rows.Text(0)).Terminal()
	}
	b.last[u] = last
	return last, rows.Err()
}

// tally counts the messages that one transaction settles as taken.
type tally struct {
	tx   *sqlitedb.Tx
	took map[hourOf]int
}

// add counts the settlement of a row on its accounts, before it is written. A repeated one counts
// once.
func (t *tally) add(id int64, r *dispatcher.Settlement) error {
	if r.Outcome != dispatcher.Delivered || len(r.Accounts) == 0 {
		return nil
	}
	if known, err := exists(t.tx, takenBefore, id, r.SentAt); err != nil || known {
		return err
	}
	if t.took == nil {
		t.took = make(map[hourOf]int)
	}
	for _, account := range r.Accounts {
		t.took[hourOf{account, dispatcher.HourOf(r.DoneAt)}]++
	}
	return nil
}

// write adds to what was counted before, and forgets what was days ago.
func (t *tally) write() error {
	for h, n := range t.took {
		if _, err := t.tx.Exec(countMessages, h.account, h.hour, n); err != nil {
			return err
		}
		if _, err := t.tx.Exec(dropCounts, h.account, h.hour-hoursKept); err != nil {
			return err
		}
	}
	return nil
}

// Counted implements dispatcher.Ledger.
func (s *Store) Counted(ctx context.Context, since time.Time) (list []dispatcher.HourCount, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		list = nil
		rows := tx.Query("SELECT account, hour, messages FROM counted WHERE hour >= ? ORDER BY account, hour", dispatcher.HourOf(since))
		for rows.Next() {
			list = append(list, dispatcher.HourCount{Account: rows.Text(0), Hour: rows.Int(1), Messages: int(rows.Int(2))})
		}
		return rows.Err()
	})
	return list, err
}
