package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
)

func TestDataFolders(t *testing.T) {
	o := options(t, "")
	data := o.Config.Data
	all := examine(t, o)
	wantFinding(t, all["data folder"], OK, "can be made")
	wantFinding(t, all["data disk sync"], Skipped, "no folder")
	wantFinding(t, all["store"], OK, "none yet")
	if _, err := os.Stat(data); err == nil {
		t.Error("the folder was made")
	}

	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	all = examine(t, o)
	wantFinding(t, all["data folder"], OK, "there, can be written")
	if f := all["data disk sync"]; f.Result != OK && f.Result != Warning { // as this disk is
		t.Errorf("%+v", f)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := os.Chmod(data, 0o755); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, examine(t, o)["data folder"], Warning, "mode 0755")

	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(data, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, examine(t, o)["data folder"], Failure, "is no folder")
}

// The judgement of what root never meets.
func TestFoldersThatCantBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		at     folder
		err    error
		levels int
		want   Result
		found  string
	}{
		"another user's":     {folder{at: "/x", writable: os.ErrPermission, foreign: true}, nil, 1, Skipped, "another user"},
		"our own":            {folder{at: "/x", writable: os.ErrPermission}, nil, 1, Failure, "nothing can be written"},
		"hidden":             {folder{}, os.ErrPermission, 1, Skipped, "no permission"},
		"a level":            {folder{at: "/x", absent: 1}, nil, 1, OK, "can be made"},
		"two levels":         {folder{at: "/x", absent: 2}, nil, 1, Failure, "nor is the folder above"},
		"no place for it":    {folder{at: "/x", absent: 1, writable: errBroken}, nil, 1, Failure, "can't be made (broken)"},
		"broken by the disk": {folder{}, errBroken, 1, Failure, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			wantFinding(t, judgeFolder(Finding{}, tc.at, tc.err, tc.levels), tc.want, tc.found)
		})
	}
}

func TestFeedFolder(t *testing.T) {
	dir := t.TempDir()
	o := options(t, "rss: {directory: "+filepath.Join(dir, "feeds")+"}")
	wantFinding(t, examine(t, o)["feed folder"], OK, "can be made")
	o = options(t, "rss: {directory: "+filepath.Join(dir, "a", "b")+"}")
	wantFinding(t, examine(t, o)["feed folder"], Failure, "nor is the folder above")
	o = options(t, "")
	wantFinding(t, examine(t, o)["feed folder"], Skipped, "not written as files")
}

func TestSync(t *testing.T) {
	wantFinding(t, judgeSync(2*time.Millisecond, nil), OK, "2ms")
	wantFinding(t, judgeSync(20*time.Millisecond, nil), Warning, "20ms")
	wantFinding(t, judgeSync(70*time.Millisecond, nil), Warning, "70ms")
	wantFinding(t, judgeSync(0, errBroken), Skipped, "broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := measureSync(ended, dir); err == nil {
		t.Error("measured without time")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestStores(t *testing.T) {
	for name, tc := range map[string]struct {
		owner sqlitedb.Owner
		c     sqlitedb.Condition
		err   error
		want  Result
		found string
	}{
		"whole":     {sqlitedb.Owner{}, sqlitedb.Condition{Bytes: 4 << 20, Version: 3, Known: 3}, nil, OK, "4.0 MiB, schema 3, whole"},
		"older":     {sqlitedb.Owner{}, sqlitedb.Condition{Bytes: 4 << 20, Version: 2, Known: 3}, nil, OK, "schema 2"},
		"newer":     {sqlitedb.Owner{}, sqlitedb.Condition{Bytes: 4 << 20, Version: 4, Known: 3}, nil, Failure, "schema 4, this program knows 3"},
		"damaged":   {sqlitedb.Owner{}, sqlitedb.Condition{Bytes: 4 << 20, Damage: "page 7 is wrong"}, nil, Failure, "page 7 is wrong"},
		"crashed":   {sqlitedb.Owner{Crashed: true}, sqlitedb.Condition{Bytes: 1, Version: 3, Known: 3}, nil, OK, "did not end in order"},
		"too large": {sqlitedb.Owner{}, sqlitedb.Condition{Bytes: 1 << 40, Version: 3, Known: 3, Unfinished: true}, nil, Skipped, "too large to be checked"},
		"hidden":    {sqlitedb.Owner{}, sqlitedb.Condition{}, os.ErrPermission, Skipped, "no permission"},
		"broken":    {sqlitedb.Owner{}, sqlitedb.Condition{}, errBroken, Failure, "broken"},
	} {
		t.Run(name, func(t *testing.T) { wantFinding(t, judgeStore(tc.owner, tc.c, tc.err), tc.want, tc.found) })
	}
}

// A real store: free, then in use by an engine that is this process.
func TestStoreInUse(t *testing.T) {
	o := options(t, "")
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Dir: o.Config.Data})
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	o.System = goodSystem(func(s *System, files map[string]string) {
		s.Host = host
		at := "proc/" + strconv.Itoa(os.Getpid())
		files[at+"/limits"] = "Limit                     Soft Limit           Hard Limit           Units\n" +
			"Max processes             15000                15000                processes\n" +
			"Max open files            1200                 4096                 files"
		files[at+"/cgroup"] = "0::/"
		s.MemoryLimit = 1
	})
	all := examine(t, o)
	wantFinding(t, all["store"], Warning, "in use by a running engine (process "+strconv.Itoa(os.Getpid())+" on "+host+"), of which the control listener says nothing")
	wantFinding(t, all["open files"], Warning, "1200 (raising it to the hard limit of 4096 was refused) in the running engine")

	o.System.Host = "another" // then the process of that number isn't the engine
	wantFinding(t, examine(t, o)["open files"], OK, "65536 from here")

	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, examine(t, o)["store"], OK, "whole")
}
