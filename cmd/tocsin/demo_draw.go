package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// draw shows how far everything is: a line for each update and each channel on a
// terminal, elsewhere one line now and then.
func (w *demoWatch) draw(now, begun time.Time) {
	seen := 0
	for _, c := range w.channels {
		seen += c.all().told
	}
	if since := now.Sub(w.rateFrom); since >= time.Second {
		w.rate = float64(seen-w.rateSeen) / since.Seconds()
		w.rateFrom, w.rateSeen = now, seen
	}
	elapsed := now.Sub(begun).Truncate(time.Second)
	if !w.screen.redraws() {
		parts := make([]string, len(w.channels))
		for i, c := range w.channels {
			all := c.all()
			parts[i] = fmt.Sprintf("%s %s of %s told, %s open", c.plural, comma(all.told), comma(all.planned), comma(all.planned-all.closed))
		}
		w.screen.say(now, fmt.Sprintf("%v: %d of %d updates published (%s); %s; %s at the receivers now, %s/s", elapsed, w.sent, len(updates),
			updates[w.sent-1].status, strings.Join(parts, "; "), comma(w.pending()), comma(int(w.rate))))
		return
	}
	lines := []string{fmt.Sprintf("%s  %s targets, %s healthy  %v", w.incident, comma(w.command.Targets), comma(w.healthy), elapsed)}
	for i := range updates {
		line := fmt.Sprintf("  %d %-13s ", i+1, updates[i].status)
		if i < w.sent {
			var u updateWatch
			for _, c := range w.channels {
				u.add(&c.updates[i])
			}
			line += u.progress(w.command.Targets)
		}
		lines = append(lines, line)
	}
	for _, c := range w.channels {
		all := c.all()
		lines = append(lines, fmt.Sprintf("  %-15s %s  p99 of the healthy %.0f ms", c.plural, all.progress(c.targets*w.sent),
			c.latencies().Latencies().P99))
	}
	w.screen.draw(append(lines, fmt.Sprintf("  %s at the receivers now, %s/s", comma(w.pending()), comma(int(w.rate)))))
}

// all sums up the updates of a channel.
func (c *channelWatch) all() (sum updateWatch) {
	for i := range c.updates {
		sum.add(&c.updates[i])
	}
	return sum
}

// add adds what can be added up.
func (u *updateWatch) add(other *updateWatch) {
	u.planned += other.planned
	u.closed += other.closed
	u.told += other.told
	u.healthy += other.healthy
}

// progress is a bar of the deliveries that are closed, of so many, and the figures.
func (u *updateWatch) progress(of int) string {
	return fmt.Sprintf("%s %6s planned %6s told %6s closed", bar(u.closed, of, 20), comma(u.planned), comma(u.told), comma(u.closed))
}

func bar(n, of, width int) string {
	full := min(width, n*width/max(of, 1))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

func comma(n int) string { return humanize.Comma(int64(n)) }
