package public

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, keyFile)
	first, err := LoadKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	stored, err := os.ReadFile(file)
	if err != nil || len(stored) != 32 || !bytes.Equal(stored, first) {
		t.Errorf("a key of %d bytes, %v", len(stored), err)
	}
	again, err := LoadKey(dir)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("the second time another key, or %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	other, err := LoadKey(t.TempDir())
	if err != nil || bytes.Equal(other, first) {
		t.Errorf("another directory has the same key, or %v", err)
	}
}

func TestLoadKeyAtOnce(t *testing.T) {
	dir := t.TempDir()
	keys := make([][]byte, 16)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			key, err := LoadKey(dir)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	group.Wait()
	for _, key := range keys {
		if !bytes.Equal(key, keys[0]) {
			t.Fatal("several keys")
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct {
		prepare func(file string) error
		want    string
	}{
		"empty":    {func(file string) error { return os.WriteFile(file, nil, 0o600) }, "restore it"},
		"cut off":  {func(file string) error { return os.WriteFile(file, []byte(secret[:31]), 0o600) }, "restore it"},
		"too long": {func(file string) error { return os.WriteFile(file, []byte(secret+"\n"), 0o600) }, "restore it"},
		"a folder": {func(file string) error { return os.Mkdir(file, 0o700) }, "restore it"},
		"open to everyone": {func(file string) error {
			return os.WriteFile(file, []byte(secret), 0o644)
		}, "chmod 600"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, keyFile)
		if err := c.prepare(file); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("a directory that isn't there")
	}
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, keyFile), []byte(secret), 0o660); err != nil {
		t.Fatal(err)
	}
	if key, err := LoadKey(shared); err != nil || string(key) != secret {
		t.Errorf("on a volume of a group: %v", err)
	}
}
