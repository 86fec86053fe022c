package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func inspect(t *testing.T, dir string) Condition {
	t.Helper()
	c, err := Inspect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ownerOf(t *testing.T, dir string) Owner {
	t.Helper()
	o, err := OwnerOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOwnerOf(t *testing.T) {
	dir := t.TempDir()
	if o := ownerOf(t, filepath.Join(dir, "missing")); o != (Owner{}) {
		t.Errorf("a directory that isn't there has the owner %+v", o)
	}
	if o := ownerOf(t, dir); o != (Owner{}) || len(names(t, dir)) > 0 {
		t.Errorf("an empty directory has the owner %+v and now the files %q", o, names(t, dir))
	}
	db := open(t, Options{Dir: dir})
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if o := ownerOf(t, dir); o != (Owner{Held: true, Process: os.Getpid(), Host: host}) {
		t.Errorf("this process has it, not %+v", o)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if o := ownerOf(t, dir); o != (Owner{}) {
		t.Errorf("after an end in order the owner is %+v", o)
	}
	crash(t, dir)
	if o := ownerOf(t, dir); o != (Owner{Crashed: true}) {
		t.Errorf("after a crash the owner is %+v", o)
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	known := inspect(t, dir).Known
	if c := inspect(t, dir); c != (Condition{Known: known}) || known < 3 {
		t.Errorf("nothing there is found as %+v", c)
	}
	if err := os.WriteFile(filepath.Join(dir, "tocsin.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := inspect(t, dir); c != (Condition{Known: known}) {
		t.Errorf("an empty file, as a crash may leave, is found as %+v", c)
	}
	db := open(t, Options{Dir: dir})
	if err := db.Write(t.Context(), Accept, set("a", 7)); err != nil {
		t.Fatal(err)
	}
	// With its log, as after a crash.
	if c := inspect(t, dir); c.Damage != "" || c.Version != known || c.Bytes == 0 || c.Unfinished {
		t.Errorf("a database with a log is found as %+v", c)
	}
	if get(t, db, "a") != 7 {
		t.Error("the engine lost what it had")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	if c := inspect(t, dir); c.Damage != "" || c.Version != known || c.Bytes == 0 {
		t.Errorf("a database in order is found as %+v", c)
	}
	if after := names(t, dir); len(after) != len(before) {
		t.Errorf("the files were %q and are %q", before, after)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := Inspect(ended, dir); err != nil || !c.Unfinished || c.Damage != "" {
		t.Errorf("out of time: %+v, %v", c, err)
	}
}

func TestInspectFindsDamage(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	if err := db.Write(t.Context(), Accept, func(tx *Tx) error {
		for i := range 200 {
			if err := set(fmt.Sprintf("%0100d", i), i)(tx); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tocsin.db")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(content[len(content)-4096:]) // the last page belongs to the rows above
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := inspect(t, dir); c.Damage == "" {
		t.Error("a page that is lost is found to be in order")
	}
	for i := 2 * 4096; i < len(content); i++ { // pages but for the schema's
		content[i] ^= 0x5a
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := inspect(t, dir); c.Damage == "" {
		t.Error("scrambled pages are found to be in order")
	}
	if err := os.WriteFile(file, []byte("this is no database, and never was: it is much too short for one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := inspect(t, dir); c.Damage == "" {
		t.Error("a text is found to be a database in order")
	}
}

func TestInspectWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tocsin.db"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), dir); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}
