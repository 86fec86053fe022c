package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
)

// dataFlags name the data directory, as serve's flags do.
type dataFlags struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file (YAML) of the engine."`
	Data   string `placeholder:"DIR" help:"Folder of the engine's data (./data)."`
}

// dir reads the configuration for its data directory.
func (f *dataFlags) dir(p *program) (string, error) {
	flags := configFlags{Config: f.Config, Data: f.Data}
	cfg, err := flags.load(p)
	if err != nil {
		return "", err
	}
	return cfg.Data, nil
}

type backupCommand struct {
	dataFlags
	File  string `arg:"" help:"The file to write."`
	Force bool   `help:"Replace the file, if there is one."`
}

// Help is shown by --help.
func (*backupCommand) Help() string {
	return `Copies the store to a file, beside a running engine or without one, on its machine and as its user:

    tocsin backup --config tocsin.yaml /backup/tocsin.db --force

The copy is the store as it was when the command began. It is checked before it gets its name, so that FILE is always a whole ` +
		`backup or the one before. It holds the targets with their addresses and secrets: keep it as you keep those. Keep public.key ` +
		`of the data folder with it, once: the links in mails that were sent are signed with it.

Exit code 0 if it was made, 1 if not.`
}

// Run makes the backup.
func (c *backupCommand) Run(ctx context.Context, p *program) error {
	dir, err := c.dir(p)
	if err != nil {
		return err
	}
	done := newPercent(p.stderr, "copied")
	if err := sqlitedb.Backup(ctx, dir, c.File, c.Force, done.tell); err != nil {
		return inTheWay(err)
	}
	fmt.Fprintf(p.stderr, "%s is a backup of %s, %d MB.\n", c.File, dir, done.total>>20)
	return nil
}

type restoreCommand struct {
	dataFlags
	File  string `arg:"" help:"A backup."`
	Force bool   `help:"Replace the store that is there."`
}

// Help is shown by --help.
func (*restoreCommand) Help() string {
	return `Puts a backup in the place of the store. The engine has to be stopped; the backup is checked in full before anything ` +
		`is replaced:

    tocsin restore --config tocsin.yaml /backup/tocsin.db --force

The engine then goes on where it was when the backup was taken: everything accepted until then reaches its end. What was sent ` +
		`since is sent again, with the same idempotency key; what was accepted since is not known any more.

Exit code 0 if it was done, 1 if not, 3 if an engine runs.`
}

// Run restores the backup.
func (c *restoreCommand) Run(ctx context.Context, p *program) error {
	dir, err := c.dir(p)
	if err != nil {
		return err
	}
	done := newPercent(p.stderr, "copied")
	if err := sqlitedb.Restore(ctx, c.File, dir, c.Force, done.tell); err != nil {
		return inTheWay(err)
	}
	fmt.Fprintf(p.stderr, "%s is restored from %s; start the engine.\n", dir, c.File)
	return nil
}

// inTheWay gives an error its exit code.
func inTheWay(err error) error {
	switch {
	case errors.Is(err, sqlitedb.ErrExists):
		return usageError(err)
	case errors.Is(err, sqlitedb.ErrInUse):
		return unavailableError(err)
	}
	return err
}

// percent tells how far something is, every second at most.
type percent struct {
	w     io.Writer
	what  string
	told  time.Time
	total int64
}

func newPercent(w io.Writer, what string) *percent {
	return &percent{w: w, what: what, told: time.Now()}
}

func (p *percent) tell(done, total int64) {
	p.total = total
	if time.Since(p.told) < time.Second || total == 0 {
		return
	}
	p.told = time.Now()
	fmt.Fprintf(p.w, "%d %% of %d MB %s\n", 100*done/total, total>>20, p.what)
}
