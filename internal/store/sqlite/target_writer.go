package sqlite

import (
	"errors"
	"slices"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// stripeWidth is how many targets of one provider stand together in plan order.
const stripeWidth = 32

// targetWriter writes targets within one transaction. close must follow.
type targetWriter struct {
	tx *sqlitedb.Tx
	// counts holds how many targets a line has had, as far as read.
	counts map[line]int64
	// revision of this transaction, 0 until something changed.
	revision int64
}

// line is what stripes are counted in: the targets of one provider.
type line struct {
	incident              int64
	page, group, provider string
}

func newTargetWriter(tx *sqlitedb.Tx) *targetWriter {
	return &targetWriter{tx: tx, counts: make(map[line]int64)}
}

// upsert writes a target that is known by its external id, or inline by its
// address, and sets its ID and State.
func (w *targetWriter) upsert(t *targetRow) (u store.Upserted, err error) {
	var before targetRow
	switch {
	case t.incident != 0:
		before, err = findTarget(w.tx, targetInline, t.incident, t.Channel, t.Address)
	case t.ExternalID != "":
		before, err = findTarget(w.tx, targetByExternal, t.Page, t.ExternalID)
	default:
		err = store.ErrNotFound
	}
	known := err == nil
	if !known && !errors.Is(err, store.ErrNotFound) {
		return u, err
	}
	if known && t.State == incident.StateActive && !(before.State == incident.StateDisabled && before.Address != t.Address) {
		t.State = before.State
	}
	if err := heedSuppression(w.tx, t); err != nil {
		return u, err
	}
	if !known {
		err = w.insert(t)
		return store.Upserted{ID: t.ID}, err
	}
	t.ID = before.ID
	changed, err := w.replace(before, t)
	return store.Upserted{ID: t.ID, Existed: true, Changed: changed}, err
}

const insertTarget = `INSERT INTO targets (incident, page, external_id, channel, grp, provider, stripe, address,
	locale, format, secrets, components, min_impact, min_rank, private, every_update, test, state)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`

func (w *targetWriter) insert(t *targetRow) (err error) {
	if t.stripe, err = w.stripe(t); err != nil {
		return err
	}
	rows := w.tx.Query(insertTarget, t.incident, t.Page, t.ExternalID, t.Channel, t.group, t.provider, t.stripe, t.Address,
		t.Locale, t.Format, encodeList(t.Secrets), encodeList(t.Components), string(t.MinImpact), t.MinImpact.Rank(),
		t.Visibility == incident.Private, t.EveryUpdate, t.Test, stateNumber(t.State))
	for rows.Next() {
		t.ID = rows.Int(0)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := checkTargetID(t.ID); err != nil {
		return err
	}
	return w.insertComponents(t)
}

func (w *targetWriter) insertComponents(t *targetRow) error {
	for _, c := range t.Components {
		if _, err := w.tx.Exec("INSERT INTO target_components VALUES (?, ?) ON CONFLICT DO NOTHING", t.ID, c); err != nil {
			return err
		}
	}
	return nil
}

const updateTarget = `UPDATE targets SET page = ?, external_id = ?, channel = ?, grp = ?, provider = ?, stripe = ?,
	address = ?, locale = ?, format = ?, secrets = ?, components = ?, min_impact = ?, min_rank = ?, private = ?,
	every_update = ?, test = ?, state = ?, fails = CASE WHEN ? THEN 0 ELSE fails END,
	reason = CASE WHEN ? THEN '' ELSE reason END, revision = coalesce(?, revision) WHERE id = ?`

// replace writes after over before, if they differ. What was planned with the
// old version is told by the revision if that matters for sending.
func (w *targetWriter) replace(before targetRow, after *targetRow) (changed bool, err error) {
	after.stripe = before.stripe
	sending := sendingDiffers(&before, after)
	sameComponents := slices.Equal(before.Components, after.Components)
	if !sending && sameComponents && before.ExternalID == after.ExternalID && before.Page == after.Page &&
		before.MinImpact == after.MinImpact && before.Test == after.Test {
		return false, nil
	}
	if before.Page != after.Page || before.group != after.group || before.provider != after.provider {
		if after.stripe, err = w.stripe(after); err != nil {
			return false, err
		}
		// Only backwards in line: a plan that has passed its new place but not its
		// old one would miss it. One that meets it twice notices.
		after.stripe = max(after.stripe, before.stripe+1)
	}
	var revision any
	if sending {
		if w.revision == 0 {
			if w.revision, err = raiseRevision(w.tx); err != nil {
				return false, err
			}
		}
		revision = w.revision
	}
	revived := after.State == incident.StateActive && before.State != incident.StateActive
	if _, err := w.tx.Exec(updateTarget, after.Page, after.ExternalID, after.Channel, after.group, after.provider,
		after.stripe, after.Address, after.Locale, after.Format, encodeList(after.Secrets), encodeList(after.Components),
		string(after.MinImpact), after.MinImpact.Rank(), after.Visibility == incident.Private, after.EveryUpdate, after.Test,
		stateNumber(after.State), revived, after.State != incident.StateDisabled, revision, after.ID); err != nil {
		return false, err
	}
	if sameComponents {
		return true, nil
	}
	if _, err := w.tx.Exec("DELETE FROM target_components WHERE target = ?", after.ID); err != nil {
		return false, err
	}
	return true, w.insertComponents(after)
}

// sendingDiffers says whether a batch planned with one version can't be sent as it
// is once the other holds.
func sendingDiffers(a, b *targetRow) bool {
	return a.Channel != b.Channel || a.Address != b.Address || a.group != b.group || a.provider != b.provider ||
		a.Locale != b.Locale || a.Format != b.Format || a.Visibility != b.Visibility ||
		a.EveryUpdate != b.EveryUpdate || a.State != b.State || !slices.Equal(a.Secrets, b.Secrets)
}

// stripe gives a target its place in its provider's line.
func (w *targetWriter) stripe(t *targetRow) (int64, error) {
	l := line{t.incident, t.Page, t.group, t.provider}
	n, known := w.counts[l]
	if !known {
		rows := w.tx.Query("SELECT targets FROM stripes WHERE incident = ? AND page = ? AND grp = ? AND provider = ?",
			l.incident, l.page, l.group, l.provider)
		for rows.Next() {
			n = rows.Int(0)
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
	}
	w.counts[l] = n + 1
	return n / stripeWidth, nil
}

// close writes the lines' counts.
func (w *targetWriter) close() error {
	for l, n := range w.counts {
		if _, err := w.tx.Exec(`INSERT INTO stripes VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET targets = excluded.targets`, l.incident, l.page, l.group, l.provider, n); err != nil {
			return err
		}
	}
	return nil
}
