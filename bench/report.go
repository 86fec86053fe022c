package main

import (
	"fmt"
	"path/filepath"

	"github.com/tocsin/tocsin/bench/report"
	"github.com/tocsin/tocsin/bench/result"
)

type reportCommand struct {
	Results string `arg:"" placeholder:"results.json" help:"Results of a run."`
	Output  string `short:"o" placeholder:"FILE" help:"Where the page goes; report.html beside the results without it."`
}

// Help is shown by --help.
func (*reportCommand) Help() string {
	return `The page stands alone: it opens offline, on a phone and on paper. Every run writes one beside its results.

    tocsin-bench report bench/out/latest/results.json -o report.html

Exit codes: 0 done; 1 the page can't be written; 2 the results can't be read.`
}

// Run writes the page and says where it is.
func (c *reportCommand) Run(p *program) error {
	file, err := result.Read(c.Results)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	output := c.Output
	if output == "" {
		output = filepath.Join(filepath.Dir(c.Results), "report.html")
	}
	if err := report.WriteFile(output, file); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, output)
	return nil
}
