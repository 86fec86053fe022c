package scenario

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/bench/run"
)

// engine is a running `tocsin serve`.
type engine struct {
	*run.Engine
	rig        *Rig
	deployment string
	folder     string
}

// engineOptions are what scenarios change about an engine.
type engineOptions struct {
	data   string // folder
	queue  string
	port   int    // of the sink
	config string // further lines
	ca     string // file with the authority of the peers
	tuning Tuning
}

// Tuning is what somebody changes about an engine or a floor to see what comes of it.
// The zero value changes nothing.
type Tuning struct {
	// Floor is added to the flags of floors for webhooks. All else is the engine's.
	Floor []string `json:",omitempty"`
	// Env is added to its environment, and wins over its configuration file.
	Env []string
	// Files is its limit of open files, soft and hard; 0 is that of this process.
	Files int
}

// command is how the engine is started. A limit can't be set from outside before the
// program reads it: the shell does so, and becomes the program.
func (t Tuning) command(tocsin string, args ...string) (path string, all []string) {
	if t.Files == 0 {
		return tocsin, args
	}
	return "/bin/sh", append([]string{"-c", `ulimit -n "$1" && shift && exec "$@"`, "sh", strconv.Itoa(t.Files), tocsin}, args...)
}

// apiPatience bounds a question to the API.
const apiPatience = time.Minute

// startEngine runs an engine as anybody would, with a configuration that lets it
// talk to the sinks.
func (r *Rig) startEngine(ctx context.Context, o engineOptions) (*engine, error) {
	address, err := run.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	r.runs++
	e := &engine{rig: r, deployment: fmt.Sprintf("bench-%d", r.runs), folder: o.data}
	config := fmt.Sprintf("listen: %s\ndata: %q\ndeployment: %s\negress: {allow: [\"127.0.0.0/8:%d\"], http: true}\n%s",
		address[0], o.data, e.deployment, o.port, o.config)
	file := filepath.Join(r.Folder, "tocsin.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("configuration of the engine: %w", err)
	}
	// The queue's URL holds a password: it is passed where ps doesn't show it.
	env := append(append([]string{}, r.Environ...), "TOCSIN_QUEUE="+o.queue)
	if o.ca != "" {
		env = append(env, "SSL_CERT_FILE="+o.ca)
	}
	env = append(env, o.tuning.Env...)
	path, args := o.tuning.command(r.Tocsin, "serve", "--config", file)
	e.Engine, err = run.StartEngine(ctx, run.Command{Name: "engine", Path: path, Args: args, Env: env, Logs: r.Logs}, address[0], r.http)
	return e, err
}

// ask is Call with a bound on its time.
func (e *engine) ask(ctx context.Context, method, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	return e.Call(ctx, method, path, "", nil, answer)
}

// importTargets streams so many lines to the engine.
func (e *engine) importTargets(ctx context.Context, n int, line func(b []byte, n int) []byte) error {
	read, write := io.Pipe()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		out := bufio.NewWriterSize(write, 256<<10)
		var b []byte
		for i := 1; i <= n; i++ {
			b = line(b[:0], i)
			if _, err := out.Write(b); err != nil {
				break // the engine stopped reading, and says why
			}
			if i%50_000 == 0 {
				e.rig.Progress(fmt.Sprintf("importing targets: %d of %d", i, n))
			}
		}
		write.CloseWithError(out.Flush())
	}()
	err := e.Import(ctx, n, read)
	read.Close() // frees the writer
	<-wrote
	return err
}

// publish sends an event over HTTP and returns the moment its 202 was in hand.
func (e *engine) publish(ctx context.Context, event []byte) (accepted time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	err = e.Call(ctx, http.MethodPost, "/v1/incidents", "application/json", bytes.NewReader(event), func(io.Reader) error {
		accepted = time.Now()
		return nil
	})
	return accepted, err
}

// incidentView is what the API says of an incident.
type incidentView struct {
	Updates []updateView `json:"updates"`
}

type updateView struct {
	Sequence   int                       `json:"sequence"`
	AcceptedAt *time.Time                `json:"accepted_at"`
	PlannedAt  *time.Time                `json:"planned_at"`
	Audience   int                       `json:"audience"`
	Progress   map[string]map[string]int `json:"progress"`
}

// progress sums up the ledger of an incident by outcome.
func (v *incidentView) progress() map[string]int {
	sum := make(map[string]int)
	for _, u := range v.Updates {
		for _, outcomes := range u.Progress {
			for outcome, n := range outcomes {
				sum[outcome] += n
			}
		}
	}
	return sum
}

// incident asks for the incident. It counts the rows of the ledger: not while
// something is measured.
func (e *engine) incident(ctx context.Context, page, id string) (*incidentView, error) {
	var v incidentView
	err := e.ask(ctx, http.MethodGet, "/v1/incidents/"+id+"?page="+page, &v)
	return &v, err
}

// counter reads one metric, named with its labels as it is exposed.
func (e *engine) counter(ctx context.Context, name string) (value float64, err error) {
	err = e.ask(ctx, http.MethodGet, "/metrics", func(body io.Reader) error {
		scanner := bufio.NewScanner(body)
		for scanner.Scan() {
			if text, ok := strings.CutPrefix(scanner.Text(), name+" "); ok {
				_, err := fmt.Sscan(text, &value)
				return err
			}
		}
		return errors.Join(scanner.Err(), fmt.Errorf("there is no metric %s", name))
	})
	return value, err
}

// failedAttempts counts the webhook attempts that were not delivered.
func (e *engine) failedAttempts(ctx context.Context) (sum float64, err error) {
	const all, delivered = `tocsin_attempts_total{channel="webhook",class="`, `delivered"}`
	err = e.ask(ctx, http.MethodGet, "/metrics", func(body io.Reader) error {
		scanner := bufio.NewScanner(body)
		for scanner.Scan() {
			rest, ok := strings.CutPrefix(scanner.Text(), all)
			if !ok || strings.HasPrefix(rest, delivered) {
				continue
			}
			_, text, _ := strings.Cut(rest, "} ")
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return fmt.Errorf("the metric %s…: %w", all, err)
			}
			sum += n
		}
		return scanner.Err()
	})
	return sum, err
}

// await polls a metric until it is at least so large. Whether it got there is the
// answer: a deadline is no error.
func (e *engine) await(ctx context.Context, name string, least float64, patience time.Duration) (time.Time, bool, error) {
	deadline := time.Now().Add(patience)
	for {
		value, err := e.counter(ctx, name)
		now := time.Now()
		if err != nil {
			return now, false, errors.Join(e.Died(), err)
		}
		if value >= least {
			return now, true, nil
		}
		if now.After(deadline) {
			return now, false, nil
		}
		if err := run.Sleep(ctx, 25*time.Millisecond); err != nil {
			return now, false, err
		}
	}
}
