package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

type configCommand struct {
	Print configPrintCommand `cmd:"" help:"Print the configuration in force, without secrets."`
	Check configCheckCommand `cmd:"" help:"Say whether a configuration can be run, and how it reads in full."`
}

type configCheckCommand struct {
	File  string `arg:"" optional:"" help:"Configuration file; none checks the defaults and the environment."`
	Quiet bool   `short:"q" help:"Say nothing if it is in order."`
}

// Help is shown by --help.
func (*configCheckCommand) Help() string {
	return `Reads the file, the defaults and the TOCSIN_ environment exactly as serve does, and the templates, keys and certificates that ` +
		`they name, reports everything at fault with its line, and prints what would be in force, without secrets. Nothing is ` +
		`connected to.

    tocsin config check tocsin.yaml

Exit code 0 if it can be run, 2 if not.`
}

// Run checks the configuration.
func (c *configCheckCommand) Run(p *program) error {
	flags := configFlags{Config: c.File}
	cfg, err := flags.load(p)
	if err != nil {
		return err
	}
	if err := newOutlets(cfg).check(); err != nil {
		return err
	}
	if _, err := controlTLS(cfg, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if !c.Quiet {
		fmt.Fprint(p.stdout, cfg.Redacted())
		fmt.Fprintln(p.stderr, "The configuration is in order.")
	}
	return nil
}

type configPrintCommand struct {
	configFlags
}

// Help is shown by --help.
func (*configPrintCommand) Help() string {
	return `Prints, as YAML, what serve with the same flags would run with: the file, the defaults, the TOCSIN_ environment and the ` +
		`flags. Secrets are left out, so that it can be shown to others, and it is no configuration to start from.

    tocsin config print --config tocsin.yaml --listen 127.0.0.1:9090

Exit code 0, or 2 if the configuration can't be run.`
}

// Run prints the configuration.
func (c *configPrintCommand) Run(p *program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	fmt.Fprint(p.stdout, cfg.Redacted())
	return nil
}

type versionCommand struct{}

// Run prints the version, as far as the build knows it.
func (versionCommand) Run(p *program) error {
	fmt.Fprintf(p.stdout, "tocsin %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// buildVersion is set by the Makefile.
var buildVersion string

// version names the build: what it was given, a module version, or the commit.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}
