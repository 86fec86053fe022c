package sqlite

import (
	"errors"
	"fmt"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// A delivery's id is that of its update and, in the lower targetBits, its target: one
// integer, which SQLite finds in a fraction of the time that a key of three fields
// takes. An update's deliveries lie together, in the order of their targets.
const (
	targetBits = 32
	maxTarget  = 1<<targetBits - 1
	maxUpdate  = 1<<(63-targetBits) - 1

	// updateOfRow and targetOfRow take the id of a row d apart.
	updateOfRow = "d.id >> 32"
	targetOfRow = "d.id & 4294967295"
	// deliveryID is the id of a row by its incident, sequence and target; NULL, which
	// is no row's, if there is no such update.
	deliveryID = "((SELECT id FROM updates WHERE incident = ? AND sequence = ?) << 32) + ?"
	findUpdate = "SELECT id FROM updates WHERE incident = ? AND sequence = ?"
)

// idOf returns the id of an update's delivery to a target; -1, which is no row's, for
// what can be no target.
func idOf(update, target int64) int64 {
	if target < 0 || target > maxTarget {
		return -1
	}
	return update<<targetBits | target
}

// targetOf returns the target of a delivery, updateOf the id of its update.
func targetOf(id int64) int64 { return id & maxTarget }

func updateOf(id int64) int64 { return id >> targetBits }

// errTooMany is returned for what can't be numbered any more. A database with so many
// has long outgrown any disk.
var errTooMany = errors.New("begin anew with another data directory: this one has had all that can be numbered")

func checkTargetID(id int64) error {
	if id > maxTarget {
		return fmt.Errorf("%d targets: %w", int64(maxTarget), errTooMany)
	}
	return nil
}

func checkUpdateID(id int64) error {
	if id > maxUpdate {
		return fmt.Errorf("%d updates: %w", int64(maxUpdate), errTooMany)
	}
	return nil
}

// updateName is what the rest of the program calls an update.
type updateName struct {
	incident int64
	sequence int
}

// deliveryIDs finds the ids of deliveries within one transaction, in which most are
// of a few updates.
type deliveryIDs struct {
	tx     *sqlitedb.Tx
	last   updateName
	update int64 // the id of last
	others map[updateName]int64
}

// of returns a row's id; one that no row has, if its update isn't there.
func (k *deliveryIDs) of(r dispatcher.Row) (int64, error) {
	update, err := k.updateID(r.Incident, r.Sequence)
	if err != nil || update == 0 {
		return -1, err
	}
	return idOf(update, r.Target), nil
}

// updateID returns the id of an update, 0 if it isn't there.
func (k *deliveryIDs) updateID(incident int64, sequence int) (int64, error) {
	u := updateName{incident, sequence}
	if u == k.last {
		return k.update, nil
	}
	id, known := k.others[u]
	if !known {
		rows := k.tx.Query(findUpdate, incident, sequence)
		for rows.Next() {
			id = rows.Int(0)
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
		if k.others == nil {
			k.others = make(map[updateName]int64)
		}
		k.others[u] = id
	}
	k.last, k.update = u, id
	return id, nil
}

// noteWaiting is written with the first row of an update that waits: from then on it
// is looked for among those that a newer update supersedes.
const noteWaiting = "UPDATE updates SET waited = 1 WHERE id = ? AND waited = 0"

func noteWaits(tx *sqlitedb.Tx, update int64) error {
	_, err := tx.Exec(noteWaiting, update)
	return err
}
