package sqlite

import (
	"testing"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/queue/queuetest"
)

func TestContract(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Fixture { return openFixture(t, t.TempDir()) })
}

func openFixture(t *testing.T, dir string) queuetest.Fixture {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	q, err := New(t.Context(), db, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return queuetest.Fixture{
		Queue: q, Intake: q,
		Reopen: func(t *testing.T) queuetest.Fixture {
			t.Helper()
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return openFixture(t, dir)
		},
		Aside: func(t *testing.T) []queuetest.Aside {
			t.Helper()
			var list []queuetest.Aside
			err := db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
				rows := tx.Query("SELECT body, update_id, field, reason FROM intake_invalid ORDER BY id")
				for rows.Next() {
					list = append(list, queuetest.Aside{Body: rows.Blob(0), UpdateID: rows.Text(1), Field: rows.Text(2), Reason: rows.Text(3)})
				}
				return rows.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			return list
		},
	}
}
