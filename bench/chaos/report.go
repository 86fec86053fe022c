package chaos

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/crash"
)

// Report is what became of a run.
type Report struct {
	// Asked is how many rounds there were to be.
	Asked  int
	Queues []*Tally
	// Failed trials, the first few.
	Failed      []*Failure
	Interrupted bool
}

// Tally sums up the trials over one queue.
type Tally struct {
	Queue                                 string
	Trials, Updates, Requests, Duplicates int
	Losses                                crash.Losses
	Outcomes                              map[string]int
	// Broken counts what was not kept, by the promise's letter; "" is for what has
	// none, as an engine that does not start.
	Broken   map[string]int
	absences []time.Duration
}

func (t *Tally) add(o *crash.Outcome) {
	if t.Outcomes == nil {
		t.Outcomes, t.Broken = make(map[string]int), make(map[string]int)
	}
	t.Trials++
	t.Updates, t.Requests, t.Duplicates = t.Updates+o.Updates, t.Requests+o.Requests, t.Duplicates+o.Duplicates
	t.Losses, t.absences = append(t.Losses, o.Losses...), append(t.absences, o.Absences...)
	for outcome, n := range o.Outcomes {
		t.Outcomes[outcome] += n
	}
	for promise, n := range o.Broken {
		t.Broken[promise] += n
	}
	if len(o.Broken) == 0 {
		t.Broken[""] += len(o.Faults)
	}
}

func (t *Tally) faults() (n int) {
	for _, f := range t.Broken {
		n += f
	}
	return n
}

// Sound says that nothing failed.
func (r *Report) Sound() bool { return len(r.Failed) == 0 }

// Rounds counts the kills that were judged.
func (r *Report) Rounds() (n int) {
	for _, t := range r.Queues {
		n += len(t.Losses)
	}
	return n
}

// Print writes the figures and the verdict.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, t := range r.Queues {
		t.print(&b)
	}
	judged := fmt.Sprintf("%d of %d kills were judged", r.Rounds(), r.Asked)
	switch {
	case !r.Sound():
		fmt.Fprintf(&b, "BROKEN: %s, and %d trials failed:\n", judged, len(r.Failed))
		for _, f := range r.Failed {
			fmt.Fprintln(&b, f)
		}
	case r.Interrupted:
		fmt.Fprintf(&b, "Interrupted: %s, and until then every promise held.\n", judged)
	case r.Asked > 0:
		fmt.Fprintf(&b, "Held: %s; nothing was lost, out of order or told in the ledger otherwise than the peers say,\nand no kill had more sent again than was in flight or not committed.\n", judged)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Tally) print(b *strings.Builder) {
	if t.Trials == 0 {
		return
	}
	fmt.Fprintf(b, "%s: %d kills in %d trials, %d updates, %d requests, %d of them for what had been accepted before\n",
		t.Queue, len(t.Losses), t.Trials, t.Updates, t.Requests, t.Duplicates)
	fmt.Fprintf(b, "lost or unexplained %d (A), beyond the bound %d (D), out of order %d (O), ledger otherwise than receipts %d (L), ids %d (I), other %d\n",
		t.Broken["A"], t.Broken["D"], t.Broken["O"], t.Broken["L"], t.Broken["I"], t.Broken[""])
	var outcomes []string
	for outcome, n := range t.Outcomes {
		if outcome == "" {
			outcome = "without a row, being gone"
		}
		outcomes = append(outcomes, fmt.Sprintf("%d %s", n, outcome))
	}
	slices.Sort(outcomes)
	fmt.Fprintf(b, "ledger: %s\n", strings.Join(outcomes, ", "))
	if slices.Sort(t.absences); len(t.absences) > 0 {
		ms := func(q float64) int64 { return t.absences[int(q*float64(len(t.absences)-1))].Milliseconds() }
		fmt.Fprintf(b, "ready again after %d ms (p50), %d ms (p99), %d ms at most\n", ms(0.5), ms(0.99), ms(1))
	}
	fmt.Fprintf(b, "%s\n\n", t.Losses)
}
