package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
)

// fileFacts are the limits of a process.
type fileFacts struct {
	soft, hard int
	// engine says that they are those of the engine that runs.
	engine bool
	// needed is how many connections the configuration has at least.
	needed int
}

// fewestConnections is what no fan-out should have less of.
const fewestConnections = 1000

func (x *examination) files(context.Context) []Finding {
	return []Finding{x.fileLimit(), x.filesPerProcess(), x.filesOfAll()}
}

func (x *examination) fileLimit() Finding {
	facts := fileFacts{needed: connectionsOf(x.Config)}
	process, running := x.engine()
	var err error
	if running {
		facts.engine = true
		facts.soft, facts.hard, err = x.limitsOf(process)
	} else {
		facts.soft, facts.hard, err = x.System.Files()
	}
	if err != nil {
		return Finding{Check: "open files"}.unread(err)
	}
	return judgeFiles(facts)
}

// connectionsOf is what the configuration asks for at once: dials up to the gate, one
// webhook host at its limit, and all relays and centres.
func connectionsOf(c *config.Config) int {
	n := c.Egress.Gate + c.Webhook.Connections
	for _, r := range c.SMTP {
		n += r.Connections
	}
	for _, a := range c.SMPP {
		n += a.Binds
	}
	return n
}

func judgeFiles(facts fileFacts) Finding {
	budget := egress.BudgetOf(facts.soft)
	least := max(fewestConnections, facts.needed)
	f := Finding{
		Check:  "open files",
		Wanted: fmt.Sprintf("%d or more, for %s connections", OpenFiles, count(egress.BudgetOf(OpenFiles))),
		Effect: fmt.Sprintf("%s connections at once, what is beyond waits", count(budget)),
		Fix:    fmt.Sprintf("LimitNOFILE=%d in the systemd unit, deploy/limits.d elsewhere; then start the engine again", OpenFiles),
	}
	found := strconv.Itoa(facts.soft)
	if facts.hard > facts.soft {
		found += fmt.Sprintf(" (raising it to the hard limit of %d was refused)", facts.hard)
	}
	if facts.engine {
		found += " in the running engine"
	} else {
		found += " from here (a service has limits of its own)"
	}
	switch {
	case budget < least:
		f.Effect += fmt.Sprintf("; %s are the least for this configuration", count(least))
		return f.fail(found)
	case facts.soft < OpenFiles:
		return f.warn(found)
	}
	return f.ok(found)
}

// limitsOf reads the limits of another process.
func (x *examination) limitsOf(process string) (soft, hard int, err error) {
	text, err := x.System.text(process + "/limits")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			break
		}
		soft, err := strconv.Atoi(fields[0])
		hard, err2 := strconv.Atoi(fields[1])
		return soft, hard, errors.Join(err, err2)
	}
	return 0, 0, errors.New("the limits of the engine's process can't be read")
}

func (x *examination) filesPerProcess() Finding {
	f := Finding{
		Check: "fs.nr_open", Wanted: fmt.Sprintf("%d or more", OpenFiles),
		Effect: "no limit of open files can be set above it",
		Fix:    "remove what lowers it from /etc/sysctl.conf and /etc/sysctl.d; its default is 1048576",
	}
	n, err := x.System.numbers("proc/sys/fs/nr_open")
	if err != nil {
		return f.unread(err)
	}
	found := strconv.FormatInt(n[0], 10)
	if n[0] < OpenFiles {
		return f.warn(found)
	}
	return f.ok(found)
}

// filesOfAll reads file-nr: the files that are open, unused ones, and file-max.
func (x *examination) filesOfAll() Finding {
	f := Finding{
		Check: "fs.file-max", Wanted: fmt.Sprintf("%d free or more", OpenFiles),
		Effect: "the whole machine runs out of files, and every program on it fails",
		Fix:    "raise fs.file-max, or find the program that holds so many (ls /proc/*/fd)",
	}
	n, err := x.System.numbers("proc/sys/fs/file-nr")
	if err == nil && len(n) != 3 {
		err = errors.New("it has not three numbers")
	}
	if err != nil {
		return f.unread(err)
	}
	free := n[2] - n[0]
	found := fmt.Sprintf("%s free of %s", humanize.Comma(free), humanize.Comma(n[2]))
	if n[2] > 1<<60 {
		found = "no limit"
	}
	if free < OpenFiles {
		return f.warn(found)
	}
	return f.ok(found)
}

func count(n int) string { return humanize.Comma(int64(n)) }
