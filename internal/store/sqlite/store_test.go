package sqlite

import (
	"os"
	"testing"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
	"github.com/tocsin/tocsin/internal/store/storetest"
)

func TestContract(t *testing.T) {
	// Migrating takes longer than most of the tests: begin with a copy.
	empty := t.TempDir()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: empty})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T, route store.Route) storetest.Fixture {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(empty)); err != nil {
			t.Fatal(err)
		}
		return openFixture(t, dir, route)
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
	s.sweepRows, s.auditRows = 100, 7
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
