package main

import (
	"cmp"
	"math"
	"slices"
	"time"

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
	// Of all channels together.
	faultCounts

	// The latencies of the healthy, of all channels together.
	P50MS          float64 `json:"p50_ms"`
	P99MS          float64 `json:"p99_ms"`
	DeliveriesPerS float64 `json:"deliveries_per_s"`
	PeakRSSMB      float64 `json:"peak_rss_mb"`

	Healthy  healthyReport             `json:"healthy"`
	Channels map[string]*channelReport `json:"channels"`
	Causes   []causeReport             `json:"causes"`
	Faults   []string                  `json:"faults,omitempty"`
}

// faultCounts are 0 where every promise was kept.
type faultCounts struct {
	Open            int `json:"open"`
	Lost            int `json:"lost"`
	Duplicates      int `json:"duplicates"`
	OrderViolations int `json:"order_violations"`
	// IDFaults, Unreceived and Unrecorded are those of [peer.Verdict]: keys mixed
	// up, and where ledger and receipts differ.
	IDFaults   int `json:"id_faults"`
	Unreceived int `json:"unreceived"`
	Unrecorded int `json:"unrecorded"`
	// Invalid counts, by reason, what no receiver could have understood.
	Invalid map[string]int `json:"invalid_requests"`
}

// channelReport is one channel's part, as its peer counted.
type channelReport struct {
	Targets int `json:"targets"`
	Healthy int `json:"healthy"`
	// Delivered counts the deliveries that were answered 2xx, Requests what they
	// and the others took, Refused the connections that were reset.
	Delivered int `json:"delivered"`
	Requests  int `json:"requests"`
	Refused   int `json:"refused"`
	faultCounts
	// Of the healthy, as in [healthyReport] and [demoReport].
	Untold         int     `json:"untold"`
	P50MS          float64 `json:"p50_ms"`
	P99MS          float64 `json:"p99_ms"`
	MaxMS          float64 `json:"max_ms"`
	DeliveriesPerS float64 `json:"deliveries_per_s"`
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
	Channel string `json:"channel"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
	Count   int    `json:"count"`
}

func (w *demoWatch) report(l *ledger, peakMB float64) *demoReport {
	r := &demoReport{Targets: w.command.Targets, Updates: w.sent, Queue: "sqlite", WallS: round(w.ended.Sub(w.accepted[0]).Seconds()),
		Outcomes: l.outcomes, PeakRSSMB: round(peakMB), Channels: make(map[string]*channelReport),
		faultCounts: faultCounts{Invalid: make(map[string]int)}}
	if overBroker(w.command.Queue) {
		r.Queue = "amqp"
	}
	r.Healthy.Targets = w.healthy
	for _, c := range w.channels {
		v := c.judge.Verdict()
		part := c.report(v, &w.accepted)
		r.Channels[c.name] = part
		r.add(&part.faultCounts)
		r.Healthy.Untold += part.Untold
		for _, fault := range v.Examples {
			r.Faults = append(r.Faults, c.name+" "+fault)
		}
	}
	all, seconds := peer.NewDistribution(), 0.0
	for i := range updates {
		told, last := peer.NewDistribution(), w.accepted[i]
		for _, c := range w.channels {
			told.Merge(c.updates[i].latencies)
			if c.updates[i].last.After(last) {
				last = c.updates[i].last
			}
		}
		all.Merge(told)
		l, wall := told.Latencies(), last.Sub(w.accepted[i]).Seconds()
		seconds += wall
		r.Healthy.ByUpdate = append(r.Healthy.ByUpdate, healthyUpdateReport{i + 1, updates[i].status, int(l.Count), round(wall), l.P50, l.P99, l.Max})
	}
	sum := all.Latencies()
	r.Healthy.Delivered, r.P50MS, r.P99MS, r.DeliveriesPerS = int(sum.Count), sum.P50, sum.P99, perSecond(sum.Count, seconds)
	for c, n := range l.causes {
		r.Causes = append(r.Causes, causeReport{c.Channel, c.Outcome, c.Detail, n})
	}
	slices.SortFunc(r.Causes, func(a, b causeReport) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Detail, b.Detail))
	})
	return r
}

func (c *channelWatch) report(v *peer.Verdict, accepted *[len(updates)]time.Time) *channelReport {
	seconds := 0.0
	for i := range c.updates {
		seconds += max(0, c.updates[i].last.Sub(accepted[i]).Seconds())
	}
	l := c.latencies().Latencies()
	return &channelReport{Targets: c.targets, Healthy: c.healthy, Delivered: v.Delivered, Requests: v.Requests, Refused: c.received.Refused,
		faultCounts: faultCounts{Open: v.Open, Lost: v.Lost, Duplicates: v.Duplicates, OrderViolations: v.OrderViolations,
			IDFaults: v.IDFaults, Unreceived: v.Unreceived, Unrecorded: v.Unrecorded, Invalid: c.received.Invalid},
		Untold: c.healthy - c.updates[len(updates)-1].healthy,
		P50MS:  l.P50, P99MS: l.P99, MaxMS: l.Max, DeliveriesPerS: perSecond(l.Count, seconds)}
}

// latencies are those of the healthy, of all updates.
func (c *channelWatch) latencies() *peer.Distribution {
	all := peer.NewDistribution()
	for i := range c.updates {
		all.Merge(c.updates[i].latencies)
	}
	return all
}

func (f *faultCounts) add(other *faultCounts) {
	f.Open += other.Open
	f.Lost += other.Lost
	f.Duplicates += other.Duplicates
	f.OrderViolations += other.OrderViolations
	f.IDFaults += other.IDFaults
	f.Unreceived += other.Unreceived
	f.Unrecorded += other.Unrecorded
	for reason, n := range other.Invalid {
		f.Invalid[reason] += n
	}
}

func (f *faultCounts) sum() int {
	return f.Open + f.Lost + f.Duplicates + f.OrderViolations + f.IDFaults + f.Unreceived + f.Unrecorded + total(f.Invalid)
}

// kept reports whether every promise was kept.
func (r *demoReport) kept() bool { return r.sum()+r.Healthy.Untold == 0 }

func perSecond(n int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return round(float64(n) / seconds)
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
