package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
)

// demoReport is what `tocsin demo --json` prints: a contract, to which fields may
// be added.
type demoReport struct {
	Targets int    `json:"targets"`
	Updates int    `json:"updates"`
	Queue   string `json:"queue"` // sqlite or amqp
	// WallS is from the acceptance of the first update until every delivery
	// was closed.
	WallS    float64                   `json:"wall_s"`
	Outcomes map[string]map[string]int `json:"outcomes"`

	Open            int `json:"open"`
	Lost            int `json:"lost"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	// IDFaults, Unreceived and Unrecorded are those of [peer.Verdict]: webhook-ids
	// mixed up, and where ledger and receipts differ.
	IDFaults   int `json:"id_faults"`
	Unreceived int `json:"unreceived"`
	Unrecorded int `json:"unrecorded"`
	// Invalid counts, by reason, requests that no receiver could have understood.
	Invalid map[string]int `json:"invalid_requests"`

	P50MS          float64 `json:"p50_ms"`
	P99MS          float64 `json:"p99_ms"`
	DeliveriesPerS float64 `json:"deliveries_per_s"`
	PeakRSSMB      float64 `json:"peak_rss_mb"`

	Healthy healthyReport `json:"healthy"`
	Causes  []causeReport `json:"causes"`
	Faults  []string      `json:"faults,omitempty"`

	requests, refused int
}

// healthyReport is of the targets that answer at once, or after --hold.
type healthyReport struct {
	Targets   int `json:"targets"`
	Delivered int `json:"delivered"`
	// Untold counts those that did not hear the end of the incident.
	Untold   int                   `json:"untold"`
	ByUpdate []healthyUpdateReport `json:"by_update"`
}

type healthyUpdateReport struct {
	Sequence  int             `json:"sequence"`
	Status    incident.Status `json:"status"`
	Delivered int             `json:"delivered"`
	// WallS is from acceptance to the last answer.
	WallS float64 `json:"wall_s"`
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}

type causeReport struct {
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
	Count   int    `json:"count"`
}

func (w *demoWatch) report(l *ledger, received *peer.Report, peakMB float64) *demoReport {
	v := w.judge.Verdict()
	r := &demoReport{Targets: w.command.Targets, Updates: w.sent, Queue: "sqlite", WallS: round(w.ended.Sub(w.updates[0].accepted).Seconds()),
		Outcomes: l.outcomes, Open: v.Open, Lost: v.Lost, Duplicates: v.Duplicates, OrderViolations: v.OrderViolations,
		IDFaults: v.IDFaults, Unreceived: v.Unreceived, Unrecorded: v.Unrecorded, Invalid: received.Invalid,
		PeakRSSMB: round(peakMB), Faults: v.Examples, requests: v.Requests, refused: received.Refused}
	if overBroker(w.command.Queue) {
		r.Queue = "amqp"
	}
	all, seconds := peer.NewDistribution(), 0.0
	for i := range w.updates {
		u := &w.updates[i]
		l, wall := u.latencies.Latencies(), max(0, u.last.Sub(u.accepted).Seconds())
		all.Merge(u.latencies)
		seconds += wall
		r.Healthy.ByUpdate = append(r.Healthy.ByUpdate, healthyUpdateReport{i + 1, updates[i].status, u.healthy, round(wall), l.P50, l.P99, l.Max})
	}
	sum := all.Latencies()
	r.P50MS, r.P99MS = sum.P50, sum.P99
	if seconds > 0 {
		r.DeliveriesPerS = round(float64(sum.Count) / seconds)
	}
	r.Healthy.Targets, r.Healthy.Delivered = w.healthy, int(sum.Count)
	r.Healthy.Untold = w.healthy - w.updates[len(w.updates)-1].healthy
	for c, n := range l.causes {
		r.Causes = append(r.Causes, causeReport{c.Outcome, c.Detail, n})
	}
	slices.SortFunc(r.Causes, func(a, b causeReport) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Detail, b.Detail))
	})
	return r
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

// kept reports whether every promise was kept.
func (r *demoReport) kept() bool {
	return r.Open+r.Lost+r.Duplicates+r.OrderViolations+r.IDFaults+r.Unreceived+r.Unrecorded+len(r.Invalid)+r.Healthy.Untold == 0
}

// print writes the report for people.
func (r *demoReport) print(out io.Writer) error {
	var b strings.Builder
	comma := func(n int) string { return humanize.Comma(int64(n)) }
	fmt.Fprintf(&b, "\n%s targets, %d updates, queue %s: every delivery closed after %.1f s\n\n", comma(r.Targets), r.Updates, r.Queue, r.WallS)
	for _, channel := range slices.Sorted(maps.Keys(r.Outcomes)) {
		for _, outcome := range slices.Sorted(maps.Keys(r.Outcomes[channel])) {
			fmt.Fprintf(&b, "  %-8s %-12s %8s\n", channel, outcome, comma(r.Outcomes[channel][outcome]))
		}
	}
	fmt.Fprintf(&b, "\nHealthy targets (%s), from accepted to answered:\n", comma(r.Healthy.Targets))
	for _, u := range r.Healthy.ByUpdate {
		fmt.Fprintf(&b, "  %d %-13s %8s told in %6.2f s   p50 %6.0f ms   p99 %6.0f ms\n", u.Sequence, u.Status, comma(u.Delivered), u.WallS, u.P50MS, u.P99MS)
	}
	fmt.Fprintf(&b, "  together        %8s deliveries   p50 %6.0f ms   p99 %6.0f ms   %s/s   engine's peak memory %.0f MB\n",
		comma(r.Healthy.Delivered), r.P50MS, r.P99MS, comma(int(r.DeliveriesPerS)), r.PeakRSSMB)
	if len(r.Causes) > 0 {
		b.WriteString("\nNot told, and why:\n")
	}
	const most = 12
	for _, c := range r.Causes[:min(len(r.Causes), most)] {
		fmt.Fprintf(&b, "  %8s %-10s %s\n", comma(c.Count), c.Outcome, cmp.Or(c.Detail, "(no reason kept)"))
	}
	if more := len(r.Causes) - most; more > 0 {
		fmt.Fprintf(&b, "  and %d more reasons; see --json\n", more)
	}
	fmt.Fprintf(&b, "\nAs counted by the receivers, in %s requests and %s refused connections:\n", comma(r.requests), comma(r.refused))
	for _, check := range []struct {
		n    int
		text string
	}{
		{r.Lost, "lost: accepted, not received, not closed otherwise"},
		{r.Duplicates, "duplicates: sent again after a 2xx"},
		{r.OrderViolations, "order violations: an older update after a newer one"},
		{r.IDFaults, "mixed-up idempotency keys"},
		{r.Unreceived + r.Unrecorded, "differences between the ledger and the receipts"},
		{r.Open, "deliveries still open"},
		{r.Healthy.Untold, "healthy targets that did not hear the end"},
		{total(r.Invalid), "requests that no receiver could understand"},
	} {
		mark := "✓"
		if check.n > 0 {
			mark = "✗"
		}
		fmt.Fprintf(&b, "  %s %6s %s\n", mark, comma(check.n), check.text)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Invalid)) {
		fmt.Fprintf(&b, "  %s times: %s\n", comma(r.Invalid[reason]), reason)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
