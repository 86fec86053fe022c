package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/tocsin/tocsin/internal/peer"
)

// commands is the command line; see each type's Help.
type commands struct {
	Help helpFlag `short:"h" help:"Show what a command does, with examples."`

	Serve      serveCommand      `cmd:"" help:"Run the engine."`
	Publish    publishCommand    `cmd:"" help:"Publish one update of an incident and watch it go out."`
	Targets    targetsCommand    `cmd:"" help:"Import, list and test who is told."`
	Incidents  incidentsCommand  `cmd:"" help:"List incidents."`
	Incident   incidentCommand   `cmd:"" help:"Open, update, resolve, schedule or cancel an incident by hand."`
	Deliveries deliveriesCommand `cmd:"" help:"Say who was told of an incident, who not, and why."`
	Resend     resendCommand     `cmd:"" help:"Send an incident's newest update again to those who have not heard."`
	Audit      auditCommand      `cmd:"" help:"Export who or what changed incidents."`
	Parked     parkedCommand     `cmd:"" help:"List, show and return what was given up on the broker."`
	Demo       demoCommand       `cmd:"" help:"Tell 10,000 local targets of an incident, and prove it."`
	Backup     backupCommand     `cmd:"" help:"Copy the store to a file, while the engine runs."`
	Restore    restoreCommand    `cmd:"" help:"Put a backup in the place of the store."`
	Doctor     doctorCommand     `cmd:"" help:"Compare this machine and the services around it with what the engine needs."`
	Config     configCommand     `cmd:"" help:"Check or print a configuration."`
	Completion completionCommand `cmd:"" help:"Print a script that completes this command line in a shell."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
	Complete   completeCommand   `cmd:"" hidden:"" help:"Say how a command line may go on, for the scripts of completion."`
	Peer       peerCommand       `cmd:"" hidden:"" help:"Play the receivers, for the demo and for tests."`
}

const description = `Tocsin tells everyone who subscribed that something is down.

Try it: tocsin demo. Then: tocsin serve, and in another terminal tocsin targets import FILE and tocsin publish FILE. ` +
	`tocsin COMMAND --help has examples.`

// program is what a command has of the world around it.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// lookup is [os.LookupEnv] on the program's environment.
func (p *program) lookup(name string) (value string, ok bool) {
	for _, entry := range p.environ { // the last one wins, as in os/exec
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// terminal returns the width of the terminal that w is, 0 if it is none.
func terminal(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Main runs one command and returns its exit code. It ends early, and cleanly,
// when ctx does. Everything but a command's result goes to stderr.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	err := p.run(ctx, args)
	code := exitCode(ctx, err)
	switch {
	case code == exitInterrupted:
		fmt.Fprintln(stderr, "tocsin: interrupted")
	case err != nil:
		fmt.Fprintln(stderr, "tocsin:", err)
	}
	return code
}

func (p *program) run(ctx context.Context, args []string) error {
	parser, err := kong.New(&commands{}, kong.Name("tocsin"), kong.Description(description),
		kong.Writers(p.stdout, p.stderr), kong.NoDefaultHelp(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"mix": peer.DefaultMix().String(), "channels": defaultChannels}, kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(p))
	if err != nil {
		panic("tocsin: the command line is defined wrongly: " + err.Error())
	}
	command, err := parser.Parse(args)
	if errors.Is(err, errHelped) {
		return nil
	}
	if err != nil {
		return usageError(fmt.Errorf("%w; see %s --help", err, usedCommand(err)))
	}
	return command.Run()
}

// usedCommand names the command whose help fits a faulty command line.
func usedCommand(err error) string {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		if selected := parse.Context.Selected(); selected != nil {
			return selected.FullPath()
		}
	}
	return "tocsin"
}

// helpFlag prints help and ends the command; unlike kong's own it does not end
// the process.
type helpFlag bool

var errHelped = errors.New("help was asked for")

// BeforeReset is kong's hook that comes before anything is checked.
func (helpFlag) BeforeReset(c *kong.Context) error {
	if err := c.PrintUsage(false); err != nil {
		return err
	}
	return errHelped
}

// IgnoreDefault is for kong: the flag has none.
func (helpFlag) IgnoreDefault() {}
