// Command tocsin is the engine and all its tools in one binary.
//
// What each command does, with examples, is in its --help. The exit codes are
// fixed: 0 done; 1 a promise, goal or check failed; 2 usage or configuration; 3
// a needed service isn't there; 130 interrupted, after a clean stop. An engine
// that ends because of SIGTERM did as it was told: 0.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		stop(stopSignal{<-signals})
		<-signals
		// Nothing accepted depends on a clean end: what is not settled comes
		// again at the next start.
		fmt.Fprintln(os.Stderr, "tocsin: ended at once")
		os.Exit(exitInterrupted)
	}()
	os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// stopSignal is why the context of a command ended.
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string { return "stopped by " + s.String() }

// terminated reports whether ctx ended because of SIGTERM.
func terminated(ctx context.Context) bool {
	s, ok := context.Cause(ctx).(stopSignal)
	return ok && s.Signal == syscall.SIGTERM
}
