package sqlite

import (
	"context"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// ServiceStates implements store.Probes.
func (s *Store) ServiceStates(ctx context.Context) (states map[string][]byte, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		states = make(map[string][]byte)
		rows := tx.Query("SELECT service, state FROM probes")
		for rows.Next() {
			states[rows.Text(0)] = rows.Blob(1)
		}
		return rows.Err()
	})
	return states, err
}

// SaveServices implements store.Probes.
func (s *Store) SaveServices(ctx context.Context, states map[string][]byte, audit ...store.AuditEntry) error {
	return s.write(ctx, sqlitedb.Import, func(tx *sqlitedb.Tx) error {
		for service, state := range states {
			var err error
			if state == nil {
				_, err = tx.Exec("DELETE FROM probes WHERE service = ?", service)
			} else {
				_, err = tx.Exec("INSERT INTO probes VALUES (?, ?) ON CONFLICT (service) DO UPDATE SET state = excluded.state", service, state)
			}
			if err != nil {
				return err
			}
		}
		return writeAudit(tx, audit)
	})
}
