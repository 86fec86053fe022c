package sqlite

import (
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
	spentSoFar = `SELECT sum(messages) FILTER (WHERE hour = ?2), sum(messages) FROM spent WHERE grp = ?1 AND hour BETWEEN ?3 AND ?2`
	statusOf   = "SELECT CAST(event AS TEXT) ->> '$.status' FROM updates WHERE incident = ? AND sequence = ?"
)

// hoursKept is how long it is known what was sent in an hour.
const hoursKept = 48

// hourOf is one hour of a group.
type hourOf struct {
	group string
	hour  int64
}

// hour counts hours since 1970.
func hour(at time.Time) int64 { return at.Unix() / int64(time.Hour/time.Second) }

// budgets are what the requests of one claim may send.
type budgets struct {
	tx    *sqlitedb.Tx
	spent map[string]*dispatcher.Spent // by group
	last  map[updateName]bool
}

func newBudgets(tx *sqlitedb.Tx) budgets {
	return budgets{tx, make(map[string]*dispatcher.Spent), make(map[updateName]bool)}
}

// check says what of its budget keeps a delivery from being sent; what it lets
// through counts for those after it.
func (b *budgets) check(r *dispatcher.ClaimRequest, d *queue.Delivery) (dispatcher.Why, string, error) {
	group, err := b.groupSpent(r)
	if err != nil {
		return 0, "", err
	}
	s := *group
	if r.Batch.Sequence > 1 { // else there is nothing older
		rows := b.tx.Query(toldSoFar, r.Batch.Incident, d.Target, r.Batch.Sequence, r.Now.Add(-r.Budget.PerIncident.Every))
		for rows.Next() {
			s.Told, s.Recent, s.UnderWay = int(rows.Int(0)), int(rows.Int(1)), int(rows.Int(2))
		}
		if err := rows.Err(); err != nil {
			return 0, "", err
		}
	}
	why, detail := r.Budget.Check(s, false)
	if why != 0 { // only now does it matter
		last, err := b.ends(r.Batch.Incident, r.Batch.Sequence)
		if err != nil {
			return 0, "", err
		}
		if last {
			why, detail = r.Budget.Check(s, true)
		}
	}
	if why == 0 {
		group.Hour++
		group.Day++
	}
	return why, detail, nil
}

func (b *budgets) groupSpent(r *dispatcher.ClaimRequest) (*dispatcher.Spent, error) {
	if s := b.spent[r.Batch.Group]; s != nil {
		return s, nil
	}
	s := new(dispatcher.Spent)
	if r.Budget.PerHour > 0 || r.Budget.PerDay > 0 {
		now := hour(r.Now)
		rows := b.tx.Query(spentSoFar, r.Batch.Group, now, now-now%24)
		for rows.Next() {
			s.Hour, s.Day = int(rows.Int(0)), int(rows.Int(1)) // NULL, where there are none, is 0
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	b.spent[r.Batch.Group] = s
	return s, nil
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

// spend counts messages that were taken, and forgets those of days ago.
func spend(tx *sqlitedb.Tx, took map[hourOf]int) error {
	for h, n := range took {
		if _, err := tx.Exec(`INSERT INTO spent (grp, hour, messages) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET messages = messages + excluded.messages`, h.group, h.hour, n); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM spent WHERE grp = ? AND hour < ?", h.group, h.hour-hoursKept); err != nil {
			return err
		}
	}
	return nil
}
