package main

import (
	"fmt"

	"github.com/tocsin/tocsin/bench/result"
)

type compareCommand struct {
	Before string `arg:"" placeholder:"A.json" help:"Results of before."`
	Then   string `arg:"" placeholder:"B.json" help:"Results of then."`
}

// Help is shown by --help.
func (*compareCommand) Help() string {
	return `Noise is the larger of the two runs' spreads, and 5 % at least; after one round alone, 25 %. Ratios are compared always, absolute figures only ` +
		`between runs on one machine; a quick run is compared with quick runs alone.

Exit codes: 0 nothing became worse beyond the noise; 1 something did; 2 a file can't be read.`
}

// Run prints what moved.
func (c *compareCommand) Run(p *program) error {
	before, err := result.Read(c.Before)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	then, err := result.Read(c.Then)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	for _, run := range []struct {
		name string
		file *result.File
	}{{"before", before}, {"then", then}} {
		kind := "full"
		if run.file.Quick {
			kind = "quick"
		}
		fmt.Fprintf(p.stdout, "%s: %s run of %s, commit %s\n", run.name, kind, run.file.StartedAt.Format("2006-01-02 15:04 MST"), run.file.Commit)
	}
	fmt.Fprintln(p.stdout)
	moves, notes := result.Compare(before, then)
	if err := result.PrintMoves(p.stdout, moves, notes); err != nil {
		return err
	}
	worse := 0
	for _, m := range moves {
		if m.Worse {
			worse++
		}
	}
	if worse > 0 {
		return fmt.Errorf("%d of the %d figures that moved became worse", worse, len(moves))
	}
	return nil
}
