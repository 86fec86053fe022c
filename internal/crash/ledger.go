package crash

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/internal/peer"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/internal/store/sqlite"
)

// ledgerPage is how many rows are read at once.
const ledgerPage = 1000

// openRows returns the deliveries that are open in the ledger of a dead engine.
// It reads a copy: opening the database would begin the recovery that is the next
// engine's.
func (tr *trial) openRows(ctx context.Context) (open map[peer.Delivery]bool, err error) {
	folder, err := os.MkdirTemp(tr.engine.folder, "copy-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	for _, name := range []string{"tocsin.db", "tocsin.db-wal"} {
		content, err := os.ReadFile(filepath.Join(tr.engine.data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), content, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{Dir: folder, Readers: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ledger := sqlite.New(db, nil) // writes nothing
	incidents, err := ledger.Incidents(ctx, "", "", 0, ledgerPage)
	if err != nil {
		return nil, err
	}
	open = make(map[peer.Delivery]bool)
	outcome := dispatcher.Open
	for _, i := range incidents {
		filter := store.DeliveryFilter{Outcome: &outcome, Limit: ledgerPage}
		for {
			rows, err := ledger.Deliveries(ctx, i.Key, filter)
			if err != nil {
				return nil, err
			}
			for _, r := range rows {
				open[peer.Delivery{Target: tr.numbers[r.Target], Incident: i.IncidentID, Sequence: r.Sequence}] = true
			}
			if len(rows) < ledgerPage {
				break
			}
			last := rows[len(rows)-1]
			filter.After = dispatcher.Row{Incident: i.Key, Target: last.Target, Sequence: last.Sequence}
		}
	}
	return open, nil
}

// ledger reads from the running engine what became of every delivery, and the
// sequence of every update.
func (tr *trial) ledger(ctx context.Context) (outcomes map[peer.Delivery]string, sequences map[string]int, err error) {
	outcomes, sequences = make(map[peer.Delivery]string), make(map[string]int)
	for _, id := range tr.incidents() {
		updates, err := tr.api.incident(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		for _, u := range updates {
			sequences[u.UpdateID] = u.Sequence
		}
		rows, err := tr.api.deliveries(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range rows {
			outcomes[peer.Delivery{Target: tr.numbers[r.Target], Incident: id, Sequence: r.Sequence}] = r.Outcome
		}
	}
	return outcomes, sequences, nil
}
