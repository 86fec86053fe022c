package floor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/tocsin/tocsin/bench/tool"
	"github.com/tocsin/tocsin/internal/peer"
)

// SMTPSourceCommand is the floor for mail that Postfix's smtp-source -d makes: each
// command waits for its reply, and every mail has the same recipient.
type SMTPSourceCommand struct{ Mails }

// Run sends, see [Result]. There are no latencies: smtp-source knows of none.
func (c *SMTPSourceCommand) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	program, err := tool.Find("smtp-source", "postfix")
	if err != nil {
		return err
	}
	return perform(ctx, in, out, c.Limit, func(ctx context.Context) (Result, error) {
		watch, err := runProgram(ctx, nil, program, "-d", "-s", strconv.Itoa(c.Connections), "-m", strconv.Itoa(c.Count),
			"-l", strconv.Itoa(c.Size), "-f", "status@"+mailDomain, "-t", peer.Mailbox(1), c.Address)
		if err != nil {
			return Result{}, err
		}
		return watch.result(c.Count), nil
	})
}

// runProgram runs a program to its end and measures it. It fails if the program does,
// with what it said.
func runProgram(ctx context.Context, stdout io.Writer, program string, args ...string) (*stopwatch, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &said
	watch := stopwatch{whose: syscall.RUSAGE_CHILDREN}
	watch.start()
	err := cmd.Run()
	watch.stop()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(said.Bytes()))
	}
	return &watch, nil
}
