package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// print writes the report for people, the channels in the given order.
func (r *demoReport) print(out io.Writer, channels []*demoChannel) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s targets, %d updates, queue %s: every delivery closed after %.1f s\n", comma(r.Targets), r.Updates, r.Queue, r.WallS)
	r.printChannels(&b, channels)
	fmt.Fprintf(&b, "\nHealthy targets (%s), from accepted to answered:\n", comma(r.Healthy.Targets))
	for _, u := range r.Healthy.ByUpdate {
		fmt.Fprintf(&b, "  %d %-13s %8s told in %6.2f s   p50 %6.0f ms   p99 %6.0f ms\n", u.Sequence, u.Status, comma(u.Delivered), u.WallS, u.P50MS, u.P99MS)
	}
	fmt.Fprintf(&b, "  together        %8s deliveries   p50 %6.0f ms   p99 %6.0f ms   %s/s   engine's peak memory %.0f MB\n",
		comma(r.Healthy.Delivered), r.P50MS, r.P99MS, comma(int(r.DeliveriesPerS)), r.PeakRSSMB)
	r.printCauses(&b)
	r.printChecks(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

// printChannels writes a row for each channel. The outcomes are the ledger's, which
// the checks below compare with what the receivers counted.
func (r *demoReport) printChannels(b *strings.Builder, channels []*demoChannel) {
	outcomes := []string{"delivered"}
	for _, outcome := range [...]string{"superseded", "suppressed", "expired", "dead", "open"} {
		for _, counts := range r.Outcomes {
			if counts[outcome] > 0 && !slices.Contains(outcomes, outcome) {
				outcomes = append(outcomes, outcome)
			}
		}
	}
	fmt.Fprintf(b, "\n  %-10s %8s", "", "targets")
	for _, outcome := range outcomes {
		fmt.Fprintf(b, " %10s", outcome)
	}
	fmt.Fprintf(b, " %9s %9s %8s %6s %6s %8s\n", "p50 ms", "p99 ms", "per s", "lost", "twice", "order")
	for _, c := range channels {
		part := r.Channels[c.name]
		fmt.Fprintf(b, "  %-10s %8s", c.plural, comma(part.Targets))
		for _, outcome := range outcomes {
			fmt.Fprintf(b, " %10s", comma(r.Outcomes[c.name][outcome]))
		}
		fmt.Fprintf(b, " %9.0f %9.0f %8s %6s %6s %8s\n", part.P50MS, part.P99MS, comma(int(part.DeliveriesPerS)),
			comma(part.Lost), comma(part.Duplicates), comma(part.OrderViolations))
	}
}

func (r *demoReport) printCauses(b *strings.Builder) {
	if len(r.Causes) > 0 {
		b.WriteString("\nNot told, and why:\n")
	}
	const most = 12
	for _, c := range r.Causes[:min(len(r.Causes), most)] {
		fmt.Fprintf(b, "  %8s %-8s %-10s %s\n", comma(c.Count), c.Channel, c.Outcome, cmp.Or(c.Detail, "(no reason kept)"))
	}
	if more := len(r.Causes) - most; more > 0 {
		fmt.Fprintf(b, "  and %d more reasons; see --json\n", more)
	}
}

func (r *demoReport) printChecks(b *strings.Builder) {
	requests, refused := 0, 0
	for _, part := range r.Channels {
		requests, refused = requests+part.Requests, refused+part.Refused
	}
	fmt.Fprintf(b, "\nAs counted by the receivers, in %s requests and %s refused connections:\n", comma(requests), comma(refused))
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
		fmt.Fprintf(b, "  %s %6s %s\n", mark, comma(check.n), check.text)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Invalid)) {
		fmt.Fprintf(b, "  %s times: %s\n", comma(r.Invalid[reason]), reason)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(b, "  %s\n", f)
	}
}
