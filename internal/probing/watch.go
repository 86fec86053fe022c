package probing

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// every is the time between rounds.
	every = time.Second
	// saveAtOnce bounds one transaction, and for how long results wait meanwhile.
	saveAtOnce = 500
	// reportAtOnce bounds one transaction of the lifecycle.
	reportAtOnce = 50
	// closePatience is how long Close may take.
	closePatience = 5 * time.Second
)

// Lifecycle takes reports, and returns once what they lead to is durable. A report
// that it had before changes nothing.
type Lifecycle interface {
	Report(ctx context.Context, digest [32]byte, reports []*lifecycle.Report) ([]lifecycle.Answer, error)
}

// Meter counts results: "accepted" and "ignored" ones, and bodies that are "invalid".
type Meter interface {
	ProbeResults(result string, n int)
}

// Options of a watch; Meter is needed.
type Options struct {
	// Page is where incidents are told.
	Page  string
	Rules probe.Rules
	Meter Meter
	// Clock returns the time; time.Now if nil.
	Clock func() time.Time
	// Log gets what goes wrong; slog.Default if nil.
	Log *slog.Logger
}

// Watch watches services. It is safe for concurrent use.
type Watch struct {
	store     store.Probes
	lifecycle Lifecycle
	opt       Options
	panel     *probe.Panel

	turn    chan struct{} // a token: one round at a time, or one service that is forgotten
	failing bool          // the last round failed
}

// New returns a watch with the health that was saved last. Its Run has to run beside
// it, and Close comes after everything else that uses it.
func New(ctx context.Context, s store.Probes, l Lifecycle, opt Options) (*Watch, error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	saved, err := s.ServiceStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the health of services: %w", err)
	}
	panel, err := probe.NewPanel(opt.Rules, saved, opt.Clock())
	if err != nil {
		return nil, err
	}
	return &Watch{store: s, lifecycle: l, opt: opt, panel: panel, turn: make(chan struct{}, 1)}, nil
}

// Take folds the results in a body of JSON and returns how many counted, and how many
// changed nothing because they were late or repeated. Its error is an
// [*incident.Invalid]; but for one service too many, nothing counted then.
func (w *Watch) Take(body []byte) (accepted, ignored int, err error) {
	now := w.opt.Clock()
	results, err := probe.Decode(body, now)
	if err == nil {
		ignored, err = w.panel.Fold(results, now)
	}
	if err != nil {
		w.opt.Meter.ProbeResults("invalid", 1)
		return 0, 0, err
	}
	accepted = len(results) - ignored
	w.opt.Meter.ProbeResults("accepted", accepted)
	w.opt.Meter.ProbeResults("ignored", ignored)
	return accepted, ignored, nil
}

// Services returns every service, by name.
func (w *Watch) Services() []probe.Seen { return w.panel.All(w.opt.Clock()) }

// Count counts the services by the words of their health.
func (w *Watch) Count() map[string]int {
	count := make(map[string]int)
	for health, n := range w.panel.Count() {
		count[health.String()] = n
	}
	return count
}

// Run does a round every second until ctx ends. It is called once, and returns nil.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		w.note(ctx, w.round(ctx))
	}
}

// Close does a last round and saves what it left, as far as that can be done within
// seconds. What can't is as after a crash, and logged.
func (w *Watch) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err := w.round(ctx)
	if err == nil {
		err = w.save(ctx)
	}
	if err != nil {
		w.opt.Log.Warn("the health of services could not be saved; the last results are forgotten", "error", err)
	}
}

// note logs that rounds begin to fail, and that they no longer do.
func (w *Watch) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !w.failing:
		w.opt.Log.Warn("the health of services can't be saved or told now; trying again", "error", err)
	case err == nil && w.failing:
		w.opt.Log.Info("the health of services is saved and told again")
	}
	w.failing = err != nil
}

// round saves services with the changes that wait and then reports these, so that a
// crash after the report finds that there was something to report.
func (w *Watch) round(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	defer w.end()
	w.panel.Tick(w.opt.Clock())
	waiting := w.panel.Waiting()
	if err := w.save(ctx); err != nil {
		return err
	}
	for changes := range slices.Chunk(waiting, reportAtOnce) {
		if err := w.report(ctx, changes); err != nil {
			return err
		}
	}
	return nil
}

// begin waits for the turn, and end gives it to the next.
func (w *Watch) begin(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Watch) end() { <-w.turn }

func (w *Watch) save(ctx context.Context) error {
	names := w.panel.Changed()
	for len(names) > 0 {
		some := names[:min(len(names), saveAtOnce)]
		states, err := w.panel.States(some)
		if err == nil {
			err = w.store.SaveServices(ctx, states)
		}
		if err != nil {
			w.panel.Again(names)
			return fmt.Errorf("save the health of services: %w", err)
		}
		names = names[len(some):]
	}
	return nil
}

func (w *Watch) report(ctx context.Context, changes []probe.Change) error {
	reports := make([]*lifecycle.Report, len(changes))
	for i, c := range changes {
		reports[i] = reportOf(c, w.opt.Page)
		if err := reports[i].Check(); err != nil {
			return fmt.Errorf("report the health of services: %w", err) // a name that can't be told isn't taken
		}
	}
	if _, err := w.lifecycle.Report(ctx, digestOf(changes), reports); err != nil {
		return fmt.Errorf("report the health of services: %w", err)
	}
	for _, c := range changes {
		w.panel.Reported(c)
	}
	return nil
}
