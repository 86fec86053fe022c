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
