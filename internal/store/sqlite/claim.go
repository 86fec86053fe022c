package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue"
)

// Claim implements dispatcher.Ledger. Requests whose lease is the claim are
// answered by reading alone, unless their budget has to know of them; the others by compare-and-set, all in one
// transaction. A lapsed claim of another worker still holds: only
// [Store.Replace] ends it, under a new id.
func (s *Store) Claim(ctx context.Context, epoch int64, until time.Time, requests []dispatcher.ClaimRequest) ([]dispatcher.ClaimAnswer, error) {
	var answers []dispatcher.ClaimAnswer
	claim := func(tx *sqlitedb.Tx) error {
		answers = make([]dispatcher.ClaimAnswer, len(requests))
		c := claimer{tx: tx, stopped: make(map[int64]int), budgets: newBudgets(tx)}
		if err := c.look(requests); err != nil {
			return err
		}
		for i := range requests {
			r := &requests[i]
			a := &answers[i]
			var err error
			if a.State, a.Takes, err = c.take(r, epoch, until); err != nil {
				return err
			}
			if a.State != dispatcher.Claimed {
				continue
			}
			if a.Starts, err = c.starts(r); err != nil {
				return err
			}
			if a.Exceptions, err = c.exceptions(r); err != nil {
				return err
			}
			if a.Heard, err = c.budgets.heard(r); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if slices.ContainsFunc(requests, writes) {
		err = s.write(ctx, sqlitedb.Settle, claim)
	} else {
		err = s.read(ctx, claim)
	}
	return answers, err
}

// claimer answers the requests of one transaction.
type claimer struct {
	tx      *sqlitedb.Tx
	stopped map[int64]int // up to which sequence, by incident, as far as asked
	// changed: some target changed after the oldest batch was planned.
	changed bool
	budgets budgets
	// suspected: some delivery was started and never ended.
	suspected bool
}

// look reads what concerns all requests.
func (c *claimer) look(requests []dispatcher.ClaimRequest) (err error) {
	if len(requests) == 0 {
		return nil
	}
	oldest := requests[0].Batch.Revision
	for _, r := range requests[1:] {
		oldest = min(oldest, r.Batch.Revision)
	}
	if c.changed, err = exists(c.tx, changedTargets, oldest); err == nil {
		c.suspected, err = exists(c.tx, anySuspect)
	}
	return err
}

// revision > 0 is said for the partial index.
const changedTargets = "SELECT 1 FROM targets WHERE revision > ? AND revision > 0 LIMIT 1"

func (c *claimer) take(r *dispatcher.ClaimRequest, epoch int64, until time.Time) (state dispatcher.ClaimState, takes int, err error) {
	rows := c.tx.Query("SELECT holder, takes, receives FROM batches WHERE id = ?", r.Batch.ID)
	there := rows.Next()
	var holder int64
	var receives int
	if there {
		holder, takes, receives = rows.Int(0), int(rows.Int(1)), int(rows.Int(2))
	}
	rows.Close()
	switch {
	case rows.Err() != nil:
		return 0, 0, rows.Err()
	case !there:
		return dispatcher.ClaimGone, 0, nil
	case r.Leased: // and counted by the queue
		return dispatcher.Claimed, receives, nil
	case holder != 0 && holder != epoch:
		return dispatcher.ClaimHeld, 0, nil
	}
	_, err = c.tx.Exec("UPDATE batches SET holder = ?, lease_until = ?, takes = takes + 1 WHERE id = ?", epoch, until, r.Batch.ID)
	return dispatcher.Claimed, takes + 1, err
}

func (c *claimer) exceptions(r *dispatcher.ClaimRequest) ([]dispatcher.Exception, error) {
	upTo, err := c.stoppedUpTo(r.Batch.Incident)
	if err != nil {
		return nil, err
	}
	var list []dispatcher.Exception
	for i := range r.Batch.Deliveries {
		e := dispatcher.Exception{Index: i, Why: dispatcher.WhyInactive, Detail: detailStopped}
		if r.Batch.Sequence > upTo {
			if e.Why, e.Detail, err = c.check(r, &r.Batch.Deliveries[i]); err != nil {
				return nil, err
			}
		}
		if e.Why != 0 {
			list = append(list, e)
		}
	}
	return list, nil
}

const detailStopped = "fan-out stopped"

func (c *claimer) stoppedUpTo(id int64) (int, error) {
	if upTo, known := c.stopped[id]; known {
		return upTo, nil
	}
	rows := c.tx.Query("SELECT stopped FROM incidents WHERE id = ?", id)
	for rows.Next() {
		c.stopped[id] = int(rows.Int(0))
	}
	return c.stopped[id], rows.Err()
}

const (
	rowIsOurs = "SELECT 1 FROM deliveries WHERE id = " + deliveryID + " AND outcome = 0 AND batch = ?"
	newerRow  = "SELECT 1 FROM updates u CROSS JOIN deliveries d ON d.id = (u.id << 32) + ? WHERE u.incident = ? AND u.sequence > ? LIMIT 1"
	olderOpen = "SELECT 1 FROM updates u CROSS JOIN deliveries d ON d.id = (u.id << 32) + ? WHERE u.incident = ? AND u.sequence < ? AND d.outcome = 0 LIMIT 1"
)

// check says why a delivery must not be sent as it is, 0 if it may. The first
// reason in order counts: what ends it before what sends it back.
func (c *claimer) check(r *dispatcher.ClaimRequest, d *queue.Delivery) (dispatcher.Why, string, error) {
	b := r.Batch
	if r.Verify {
		if ours, err := exists(c.tx, rowIsOurs, b.Incident, b.Sequence, d.Target, b.ID); err != nil || !ours {
			return dispatcher.WhyClosed, "", err
		}
	}
	inactive, differs, err := c.target(b.Group, d)
	if err != nil {
		return 0, "", err
	}
	if inactive != "" {
		return dispatcher.WhyInactive, inactive, nil
	}
	if r.Newer && !d.EveryUpdate {
		if newer, err := exists(c.tx, newerRow, d.Target, b.Incident, b.Sequence); err != nil || newer {
			return dispatcher.WhyNewer, "", err
		}
	}
	if d.EveryUpdate && b.Sequence > 1 {
		if blocked, err := exists(c.tx, olderOpen, d.Target, b.Incident, b.Sequence); err != nil || blocked {
			return dispatcher.WhyBlocked, "", err
		}
	}
	if differs {
		return dispatcher.WhyChanged, "", nil
	}
	if r.Budget != nil {
		return c.budgets.check(r, d)
	}
	return 0, "", nil
}

const targetNow = "SELECT state, provider, address, locale, format, private, every_update, secrets, grp FROM targets WHERE id = ?"

// target compares a delivery of a group with its target, if any target changed
// after the plan.
func (c *claimer) target(group string, d *queue.Delivery) (inactive string, differs bool, err error) {
	if !c.changed {
		return "", false, nil
	}
	rows := c.tx.Query(targetNow, d.Target)
	defer rows.Close()
	if !rows.Next() {
		return "", false, rows.Err()
	}
	if inactive = whyInactive(rows.Int(0)); inactive != "" {
		return inactive, false, nil
	}
	secrets, err := decodeList(rows.Text(7))
	differs = rows.Text(1) != d.Provider || rows.Text(2) != d.Address || rows.Text(3) != d.Locale ||
		rows.Text(4) != d.Format || rows.Bool(5) != d.Private || rows.Bool(6) != d.EveryUpdate ||
		!slices.Equal(secrets, d.Secrets) || rows.Text(8) != group
	return "", differs, err
}

// whyInactive says why a target in a state may not be told, "" if it may.
func whyInactive(state int64) string {
	if name := stateName(state); name != incident.StateActive {
		return "target " + string(name)
	}
	return ""
}
