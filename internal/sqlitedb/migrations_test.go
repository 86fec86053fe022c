package sqlitedb

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pressly/goose/v3"
)

// earlier makes a database as programs before the next version left it.
func earlier(t *testing.T, dir string, version int64, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", uri(filepath.Join(dir, fileName), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, scripts, goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = p.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesOfMessagesAreKeptByTheDay(t *testing.T) {
	dir := t.TempDir()
	earlier(t, dir, 7, `INSERT INTO handles (provider, handle, incident, target, sequence, at, delivered) VALUES
		('main', 'b', 1, 2, 3, 172799999999, 1), ('main', 'a', 4, 5, 6, 172800000000, 0), ('other', 'a', 7, 8, 9, NULL, 0)`)
	db := open(t, Options{Dir: dir})
	var got [][5]int64
	var names []string
	if err := db.Read(t.Context(), func(tx *Tx) error {
		rows := tx.Query("SELECT day, incident, target, sequence, delivered, provider || ':' || handle FROM handles ORDER BY incident")
		for rows.Next() {
			got = append(got, [5]int64{rows.Int(0), rows.Int(1), rows.Int(2), rows.Int(3), rows.Int(4)})
			names = append(names, rows.Text(5))
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if want := [][5]int64{{1, 1, 2, 3, 1}, {2, 4, 5, 6, 0}, {0, 7, 8, 9, 0}}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if want := []string{"main:b", "main:a", "other:a"}; !slices.Equal(names, want) {
		t.Errorf("kept %q, want %q", names, want)
	}
}

func TestCountedMessagesAreThoseOfTheChannel(t *testing.T) {
	dir := t.TempDir()
	earlier(t, dir, 12, "INSERT INTO spent VALUES ('webhook', 7, 1), ('smpp:a', 7, 20), ('smpp:b', 7, 300), ('smpp:b', 8, 4000)")
	var got []string
	if err := open(t, Options{Dir: dir}).Read(t.Context(), func(tx *Tx) error {
		rows := tx.Query("SELECT account || ' ' || hour || ' ' || messages FROM counted ORDER BY hour, account")
		for rows.Next() {
			got = append(got, rows.Text(0))
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"smpp 7 320", "webhook 7 1", "smpp 8 4000"}; !slices.Equal(got, want) {
		t.Errorf("counted %q, want %q", got, want)
	}
}

func TestDeliveriesAreKeyedByTheirUpdate(t *testing.T) {
	dir := t.TempDir()
	const update = `INSERT INTO updates (id, incident, sequence, hash, event, private, test, updated_at, accepted_at, highest,
		components, whole, planning) VALUES `
	earlier(t, dir, 16,
		update+`(7, 1, 1, '', '', 0, 0, 0, 0, '', '', 0, 0), (8, 1, NULL, '', '', 0, 0, 0, 0, '', '', 0, 0),
			(9, 1, 2, '', '', 0, 0, 0, 0, '', '', 0, 0), (10, 2, 1, '', '', 0, 0, 0, 0, '', '', 0, 0)`,
		`INSERT INTO deliveries (incident, target, sequence, outcome, batch, attempt, class, since, due_at, sent_at, done_at, detail, edition) VALUES
			(1, 5, 1, 1, 30, 2, 1, 100, NULL, 110, 120, 'http 200', 1), (1, 5, 2, 0, NULL, 1, 2, 101, 130, 111, NULL, 'http 500', 0),
			(1, 4294967295, 1, 0, 31, 0, 0, 102, NULL, NULL, NULL, '', 0), (2, 5, 1, 5, 32, 1, 3, 103, NULL, 113, 123, 'http 400', 0)`)
	db := open(t, Options{Dir: dir})
	var got []string
	var waited []int64
	if err := db.Read(t.Context(), func(tx *Tx) error {
		rows := tx.Query(`SELECT concat_ws(' ', id >> 32, id & 4294967295, outcome, coalesce(batch, '-'), attempt, class, since,
			coalesce(due_at, '-'), coalesce(sent_at, '-'), coalesce(done_at, '-'), detail, edition) FROM deliveries ORDER BY id`)
		for rows.Next() {
			got = append(got, rows.Text(0))
		}
		rows = tx.Query("SELECT id FROM updates WHERE waited = 1")
		for rows.Next() {
			waited = append(waited, rows.Int(0))
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{
		"7 5 1 30 2 1 100 - 110 120 http 200 1", "7 4294967295 0 31 0 0 102 - - -  0",
		"9 5 0 - 1 2 101 130 111 - http 500 0", "10 5 5 32 1 3 103 - 113 123 http 400 0",
	}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if want := []int64{9}; !slices.Equal(waited, want) {
		t.Errorf("rows of updates %v waited, want %v", waited, want)
	}
}
