package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type configCommand struct {
	Check configCheckCommand `cmd:"" help:"Say whether a configuration can be run, and how it reads in full."`
}

type configCheckCommand struct {
	File  string `arg:"" optional:"" help:"Configuration file; none checks the defaults and the environment."`
	Quiet bool   `short:"q" help:"Say nothing if it is in order."`
}

// Help is shown by --help.
func (*configCheckCommand) Help() string {
	return `Reads the file, the defaults and the TOCSIN_ environment exactly as serve does, reports everything at fault ` +
		`with its line, and prints what would be in force, without secrets. Nothing is opened or connected to.

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
	if !c.Quiet {
		fmt.Fprint(p.stdout, cfg.Redacted())
		fmt.Fprintln(p.stderr, "The configuration is in order.")
	}
	return nil
}

type versionCommand struct{}

// Run prints the version, as far as the build knows it.
func (versionCommand) Run(p *program) error {
	fmt.Fprintf(p.stdout, "tocsin %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// version names the build: a module version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}
