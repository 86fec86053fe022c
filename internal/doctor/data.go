package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// dataFolder measures before it reads much, so that one doesn't slow the other.
func (x *examination) dataFolder(ctx context.Context) []Finding {
	at, err := lookAtFolder(x.Config.Data)
	all := []Finding{judgeDataFolder(x.Config.Data, at, err)}
	if err == nil {
		d, err := x.System.Disk(at.at)
		all = append(all, judgeDisk(d, err), x.sync(ctx, at))
	}
	return append(all, x.store(ctx))
}

func judgeDataFolder(name string, at folder, err error) Finding {
	f := judgeFolder(Finding{
		Check: "data folder", Wanted: "there or can be made, can be written, closed to others",
		Effect: "the engine doesn't start",
		Fix:    fmt.Sprintf("make %s for the engine's user (mode 0700), or name another with data", name),
	}, at, err, math.MaxInt)
	if f.Result == OK && at.absent == 0 && at.mode.Perm()&0o077 != 0 {
		f.Effect = "other users of this machine may read addresses and secrets of targets"
		f.Fix = "chmod 0700 " + name
		return f.warn(fmt.Sprintf("there, can be written, mode %04o", at.mode.Perm()))
	}
	return f
}

// Bounds of free space, in bytes: a million deliveries with their log take less than
// the first; less than the second isn't one fan-out.
const (
	spaceWanted = 2 << 30
	spaceLeast  = 256 << 20
	filesLeast  = 1000
)

func judgeDisk(d Disk, err error) Finding {
	f := Finding{
		Check: "data disk", Wanted: size(spaceWanted) + " free on a local disk",
		Effect: "with the disk full nothing is accepted (507), and outcomes wait in memory",
		Fix:    "make room, or move the data folder to a larger disk",
	}
	if err != nil {
		return f.unread(err)
	}
	found := fmt.Sprintf("%s, %s free", d.Kind, size(int64(min(d.Free, math.MaxInt64))))
	switch {
	case d.ReadOnly:
		f.Effect, f.Fix = "the engine doesn't start", "mount it for writing, or name another folder with data"
		return f.fail(found + ", read-only")
	case d.Remote:
		f.Effect = "SQLite's log and locks don't work over a network: the ledger may be damaged, or have two owners"
		f.Fix = "put the data folder on a local disk"
		return f.fail(found)
	case d.Volatile:
		f.Effect = "it is memory: targets, incidents and the ledger are gone when the machine restarts"
		f.Fix = "put the data folder on a disk"
		return f.fail(found)
	case d.Free < spaceLeast:
		return f.fail(found)
	case d.FreeFiles != 0 && d.FreeFiles < filesLeast:
		return f.warn(found + fmt.Sprintf(", room for %d files", d.FreeFiles))
	case d.Free < spaceWanted:
		return f.warn(found)
	}
	return f.ok(found)
}

// Bounds of one write to disk: a group of results is committed within 50 ms, and a
// commit has two of them now and then.
const (
	syncGood = 10 * time.Millisecond
	syncBad  = 50 * time.Millisecond
)

func (x *examination) sync(ctx context.Context, at folder) Finding {
	if at.absent > 0 || at.writable != nil {
		return Finding{Check: "data disk sync"}.skip("there is no folder to write to")
	}
	took, err := measureSync(ctx, at.at)
	return judgeSync(took, err)
}

func judgeSync(took time.Duration, err error) Finding {
	f := Finding{
		Check: "data disk sync", Wanted: fmt.Sprintf("%v or less", syncGood),
		Effect: fmt.Sprintf("each commit takes so long: some %s a second, with up to 50 ms of results in each", count(int(time.Second/max(took, 1)))),
		Fix:    "use a disk of its own, an SSD, or a volume with more operations a second",
	}
	if err != nil {
		return f.unread(err)
	}
	found := took.Round(10 * time.Microsecond).String()
	switch {
	case took > syncBad:
		f.Effect = "commits take longer than the engine plans for: deliveries come late, and more of them twice after a crash"
		return f.warn(found)
	case took > syncGood:
		return f.warn(found)
	}
	return f.ok(found)
}

func (x *examination) store(ctx context.Context) Finding {
	owner, err := x.owner()
	if err != nil {
		return Finding{Check: "store"}.unread(err)
	}
	if owner.Held {
		return judgeHeld(owner, x.ask(ctx))
	}
	c, err := sqlitedb.Inspect(ctx, x.Config.Data)
	if now, err := sqlitedb.OwnerOf(x.Config.Data); err == nil && now.Held {
		return judgeHeld(now, x.ask(ctx)) // it started meanwhile: what was read may be of two moments
	}
	return judgeStore(owner, c, err)
}

// judgeHeld is about a store that an engine has open: only that can say more.
func judgeHeld(owner sqlitedb.Owner, a answer) Finding {
	f := Finding{
		Check: "store", Wanted: "in use by an engine that says store: ok",
		Effect: "another engine can't start in this data folder",
		Fix:    "see the engine's log; stop that process if it is not meant to run",
	}
	found := "in use by a running engine"
	if owner.Process > 0 {
		found += fmt.Sprintf(" (process %d on %s)", owner.Process, owner.Host)
	}
	switch state, told := a.parts["store"]; {
	case !told:
		return f.warn(found + ", of which the control listener says nothing" + prefixed(": ", a.why))
	case state != "ok":
		f.Effect = "nothing is accepted, and outcomes are not recorded"
		return f.fail(found + ", which says of it: " + state)
	}
	return f.ok(found + ", which says that it is ready")
}

func judgeStore(owner sqlitedb.Owner, c sqlitedb.Condition, err error) Finding {
	f := Finding{
		Check: "store", Wanted: "whole, of this version or older",
		Effect: "the engine doesn't start",
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return f.unread(err)
	case err != nil:
		f.Fix = "see what is at the data folder"
		return f.fail(err.Error())
	case c.Damage != "":
		f.Fix = "restore a backup with tocsin restore FILE --force, or move tocsin.db (with -wal and -shm) away to begin anew"
		return f.fail("damaged: " + c.Damage)
	case c.Version > c.Known:
		f.Fix = "start the newer program that wrote it"
		return f.fail(fmt.Sprintf("schema %d, this program knows %d", c.Version, c.Known))
	case c.Bytes == 0:
		return f.ok("none yet, the engine makes it")
	}
	found := size(c.Bytes) + ", schema " + strconv.Itoa(c.Version)
	if owner.Crashed {
		found += ", its last engine did not end in order (the next goes on where it was)"
	}
	if c.Unfinished {
		return f.skip(found + "; too large to be checked in this time, --timeout gives more")
	}
	return f.ok(found + ", whole")
}
