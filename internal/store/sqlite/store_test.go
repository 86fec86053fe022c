package sqlite

import (
	"testing"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, route store.Route) storetest.Fixture {
		return openFixture(t, t.TempDir(), route)
	})
}

func openFixture(t *testing.T, dir string, route store.Route) storetest.Fixture {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := New(db, route)
	s.sweepRows = 100
	return storetest.Fixture{
		Store: s, Step: s.sweepRows,
		Reopen: func(t *testing.T) storetest.Fixture {
			t.Helper()
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return openFixture(t, dir, route)
		},
	}
}
