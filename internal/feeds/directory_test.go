package feeds

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func openDirectory(t *testing.T) (*Directory, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "feeds")
	d, err := OpenDirectory(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, name
}

// files returns what is below a directory, by name.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDirectory(t *testing.T) {
	d, root := openDirectory(t)
	s := NewShelf()
	for _, word := range []string{"one", "two"} {
		for _, name := range []string{"default", "default/eu"} {
			c := content(word, noon)
			if err := d.Write(name, s.Publish(name, c)); err != nil {
				t.Fatal(err)
			}
			found := files(t, root)
			for f := range Formats {
				file := name + f.Extension()
				if found[file] != string(c.Bodies[f]) || unzip(t, found[file+".gz"]) != string(c.Bodies[f]) {
					t.Errorf("%s is not what was published", file)
				}
			}
		}
	}
	if found := files(t, root); len(found) != 12 {
		t.Errorf("%d files, want 12", len(found))
	}
	if err := d.Remove("default"); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("other/none"); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	for name := range files(t, root) {
		if !strings.HasPrefix(name, "default/") {
			t.Errorf("%s stays", name)
		}
	}
}

// What is there already is not written again; what could not be written is.
func TestDirectoryWritesChanges(t *testing.T) {
	d, root := openDirectory(t)
	s := NewShelf()
	write := func(c Content) error { return d.Write("default", s.Publish("default", c)) }
	if err := write(content("one", noon)); err != nil {
		t.Fatal(err)
	}
	stamp := func() (all []string) {
		for f := range Formats {
			info, err := os.Stat(filepath.Join(root, "default"+f.Extension()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info.ModTime().String())
		}
		return all
	}
	before := stamp()
	if err := write(content("one", noon)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, stamp()) {
		t.Error("files were written again without need")
	}
	// A folder where the file belongs stands for every trouble with a disk.
	file := filepath.Join(root, "default.json")
	os.Remove(file)
	if err := os.MkdirAll(filepath.Join(file, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := write(content("two", noon))
	if err == nil || strings.Contains(Cause(err), "default") || Cause(err) == "failed" {
		t.Errorf("%v, in short %q: want a cause that names no file", err, Cause(err))
	}
	if _, err := os.Stat(filepath.Join(root, unfinished+"default.json")); err == nil {
		t.Error("an unfinished file stays")
	}
	os.RemoveAll(file)
	if err := write(content("two", noon)); err != nil {
		t.Fatal(err)
	}
	if found := files(t, root); len(found) != 6 || !strings.HasPrefix(found["default.json"], "two") || !strings.HasPrefix(found["default.atom"], "two") {
		t.Errorf("%d files, some of them old", len(found))
	}
}

func TestDirectoryIsPublic(t *testing.T) {
	d, root := openDirectory(t)
	s := NewShelf()
	c := content("one", noon)
	if err := d.Write("a", s.Publish("a", c)); err != nil {
		t.Fatal(err)
	}
	c.Private = true
	if err := d.Write("a", s.Publish("a", c)); err != nil {
		t.Fatal(err)
	}
	if found := files(t, root); len(found) != 0 {
		t.Errorf("a private feed has %d files", len(found))
	}
}

// TestDirectoryAfterCrash begins where a process died in the middle of a file.
func TestDirectoryAfterCrash(t *testing.T) {
	d, root := openDirectory(t)
	if err := os.WriteFile(filepath.Join(root, unfinished+"default.atom"), []byte(strings.Repeat("half", 10_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	c := content("one", noon)
	if err := d.Write("default", NewShelf().Publish("default", c)); err != nil {
		t.Fatal(err)
	}
	if found := files(t, root); len(found) != 6 || found["default.atom"] != string(c.Bodies[Atom]) {
		t.Errorf("%d files", len(found))
	}
}

func TestDirectoryStaysInside(t *testing.T) {
	d, root := openDirectory(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "page")); err != nil {
		t.Fatal(err)
	}
	e := NewShelf().Publish("page/a", content("one", noon))
	for _, name := range []string{"page/a", "../a"} {
		if err := d.Write(name, e); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if found := files(t, outside); len(found) != 0 {
		t.Errorf("%d files outside", len(found))
	}
}

func TestReserved(t *testing.T) {
	for name, want := range map[string]bool{"a": false, "a.b": false, "atom": false, "a.atom": true, "a.rss": true, "a.json": true, "a.gz": true, ".a": true} {
		if Reserved(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
