package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// patience bounds everything that has to happen by itself.
const patience = 2 * time.Minute

// engine is `tocsin serve` as a process of its own, on one data folder and one
// address over all its lives. Its methods are for one goroutine.
type engine struct {
	t       Host
	binary  string
	address string
	folder  string // of all that it has
	data    string
	config  string
	logs    string // folder
	peers   int    // the port of its receivers
	environ []string
	// under is a command line that the engine's is given to, as prlimit's.
	under []string

	process *run.Process // of its last life
	ended   <-chan struct{}
}

// newEngine configures an engine that may send to one port of the loopback
// network, and to a producer. It starts nothing.
func newEngine(t Host, o *Options, peers int, producer string) *engine {
	t.Helper()
	e := &engine{t: t, binary: o.Engine, address: freeAddress(t), peers: peers, folder: t.TempDir(), logs: t.ArtifactDir()}
	e.data, e.config = filepath.Join(e.folder, "data"), filepath.Join(e.folder, "tocsin.yaml")
	config := fmt.Sprintf(`listen: %s
data: %q
deployment: %s
egress: {allow: ["127.0.0.0/8:%d", %q], http: true}
callback: {secrets: [%s]}
webhook: {connect_timeout: 2s, timeout: 5s}
retry: {base: 200ms, cap: 2s, expires_after: 1h}
`, e.address, e.data, o.deployment(), peers, producer, callbackKey)
	if err := os.WriteFile(e.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TOCSIN_") {
			e.environ = append(e.environ, entry)
		}
	}
	e.environ = append(e.environ, "TOCSIN_QUEUE="+o.Queue)
	t.Cleanup(func() {
		if e.process != nil {
			e.process.Kill()
		}
		if t.Failed() {
			t.Logf("the engine's last words:\n%s", e.lastWords())
		}
	})
	return e
}

// freeAddress finds a port below those that the kernel takes for outgoing
// connections: while the engine is down nobody else gets it, and a client that
// dials it can't be connected to itself.
func freeAddress(t Host) string {
	t.Helper()
	for range 1000 {
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+rand.IntN(12_000)))
		if err == nil {
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("found no free port between 20000 and 32000")
	return ""
}

// start starts the process; it does not wait for it to be ready.
func (e *engine) start() {
	e.t.Helper()
	line := append(slices.Clone(e.under), e.binary, "serve", "--config", e.config)
	var err error
	if e.process, err = run.Start(run.Command{Name: "engine", Path: line[0], Args: line[1:], Env: e.environ, Logs: e.logs}); err != nil {
		e.t.Fatal(err)
	}
	e.ended = e.process.Ended()
}

// kill ends the process with SIGKILL and returns just before when.
func (e *engine) kill() (at time.Time) {
	e.t.Helper()
	if err := e.process.Died(); err != nil {
		e.t.Fatal(err)
	}
	at = time.Now()
	e.process.Kill()
	return at
}

// signal sends the process a signal.
func (e *engine) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.process.Signal(s); err != nil {
		e.t.Fatal(errors.Join(err, e.process.Died()))
	}
}

// stop ends the process as an operator does, which has to go well.
func (e *engine) stop() {
	e.t.Helper()
	if err := errors.Join(e.process.Died(), e.process.Stop(patience)); err != nil {
		e.t.Fatal(err)
	}
}

// configure adds to the configuration of an engine that is not running; of a key that
// is there it changes the line.
func (e *engine) configure(yaml string) {
	e.t.Helper()
	text, err := os.ReadFile(e.config)
	if err != nil {
		e.t.Fatal(err)
	}
	key, _, _ := strings.Cut(yaml, ":")
	lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.HasPrefix(line, key+":") })
	if err := os.WriteFile(e.config, []byte(strings.Join(lines, "")+yaml), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) log() string { return filepath.Join(e.logs, "engine.log") }

// allow lets an engine that is not running send to more addresses.
func (e *engine) allow(address string) {
	e.t.Helper()
	e.replace("allow: [", fmt.Sprintf("allow: [%q, ", address))
}

// replace changes what the configuration of an engine that is not running says.
func (e *engine) replace(old, with string) {
	e.t.Helper()
	text, err := os.ReadFile(e.config)
	if err == nil && !strings.Contains(string(text), old) {
		err = fmt.Errorf("the configuration doesn't say %q", old)
	}
	if err == nil {
		err = os.WriteFile(e.config, []byte(strings.Replace(string(text), old, with, 1)), 0o600)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// logged returns all that the engine's lives have said.
func (e *engine) logged() string {
	e.t.Helper()
	log, err := os.ReadFile(e.log())
	if err != nil {
		e.t.Fatal(err)
	}
	return string(log)
}

func (e *engine) lastWords() []byte {
	const most = 8 << 10
	log, err := os.ReadFile(e.log())
	if err != nil {
		return []byte(err.Error())
	}
	return log[max(0, len(log)-most):]
}

// eventually asks every so often until the answer is yes. The error that comes
// with a no is shown should the patience end.
func eventually(t Host, what string, every time.Duration, holds func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		ok, err := holds(ctx)
		if ok {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("never came true: %s (%v)", what, err)
		}
	}
}
