package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/run"
	"github.com/tocsin/tocsin/internal/testenv"
)

// Rig is what scenarios stand on. It is for one goroutine; Close ends it.
type Rig struct {
	// Tocsin and Bench are the binaries: the engine, and the one that sinks and
	// floors are commands of.
	Tocsin, Bench string
	// Folder is on the disk whose fsync is measured; all that is made in it is
	// removed by Close.
	Folder string
	// Logs takes what the processes say, and stays.
	Logs string
	// Environ is what processes get, without variables that would configure an
	// engine.
	Environ []string
	// Progress shows how far the work is; each text replaces the one before.
	Progress func(text string)
	// Tuning is what is different about the engines or floors that are measured.
	Tuning Tuning

	port   int // of all sinks, so that data with their addresses can be used again
	http   *http.Client
	data   map[population]string // folders with imported targets
	broker *testenv.RabbitMQ
	runs   int // engines started so far
	notes  []string
}

// NewRig prepares a rig below a folder, which has the logs afterwards.
func NewRig(tocsin, bench, folder string, environ []string, progress func(string)) (*Rig, error) {
	logs := filepath.Join(folder, "logs")
	err := os.MkdirAll(logs, 0o755)
	if err == nil {
		folder, err = os.MkdirTemp(folder, ".work-")
	}
	if err == nil {
		folder, err = filepath.Abs(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("folder of the benchmark: %w", err)
	}
	r := &Rig{Tocsin: tocsin, Bench: bench, Folder: folder, Logs: logs, Progress: progress, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
		data: make(map[population]string)}
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "TOCSIN_") {
			r.Environ = append(r.Environ, entry)
		}
	}
	if r.port, err = freePort(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return r, nil
}

// Close ends the broker, if there is one, and removes the folder.
func (r *Rig) Close() error {
	r.http.CloseIdleConnections()
	var err error
	if r.broker != nil {
		err = r.broker.Close()
	}
	return errors.Join(err, os.RemoveAll(r.Folder))
}

// freePort finds a port that nobody listens on, below those that the system hands
// out for outgoing connections, so that it stays free. Each process begins elsewhere,
// since nobody listens on it between two rounds.
func freePort() (int, error) {
	const first, ports, step = 21000, 11000, 37 // step is prime: in the end all are tried
	for i := range ports {
		port := first + (os.Getpid()+i)*step%ports
		listener, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("no port from 21000 to 32000 is free for the sinks")
}

// brokerPatience bounds the start of RabbitMQ.
const brokerPatience = 2 * time.Minute

// queue returns the engine's queue setting: the embedded one's, or the URL of a
// private RabbitMQ that is started for the first who asks.
func (r *Rig) queue(ctx context.Context, broker bool) (string, error) {
	if !broker {
		return "sqlite", nil
	}
	if r.broker == nil {
		r.Progress("starting RabbitMQ")
		ctx, cancel := context.WithTimeout(ctx, brokerPatience)
		defer cancel()
		b, err := testenv.StartRabbitMQ(ctx, testenv.Options{})
		if errors.Is(err, testenv.ErrNotInstalled) {
			return "", fmt.Errorf("%w: %w", ErrLeftOut, err)
		}
		if err != nil {
			return "", err
		}
		r.broker = b
	}
	return r.broker.URL(), nil
}

// withBroker adds the broker to the processes that are observed.
func (r *Rig) withBroker(broker bool, processes ...*run.Process) []*run.Process {
	if pid := run.Descendant("beam.smp"); broker && pid != 0 {
		return append(processes, run.Adopt("broker", pid))
	}
	return processes
}

// start starts one of the bench's own commands.
func (r *Rig) start(name string, args ...string) (*run.Process, error) {
	return run.Start(run.Command{Name: name, Path: r.Bench, Args: args, Env: r.Environ, Logs: r.Logs})
}

// note keeps what the results of the scenario have to say besides figures.
func (r *Rig) note(text string) { r.notes = append(r.notes, text) }
