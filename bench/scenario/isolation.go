package scenario

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/internal/peer"
)

// alone is the floor of isolation: the engine itself, with nobody ill.
const alone = "alone"

// Isolation returns the rows of the fault matrix (docs/reliability.md) that are about
// those beside a fault, who must not notice. It is measured with every chaos.
func Isolation() []Scenario {
	return []Scenario{
		beside("row24", "5 % of the providers take requests and are silent", "silent=5"),
		beside("row25", "10 % answer 500 to everything, 5 % twice", "dead=10,500=5:x2"),
		beside("row26", "10 % answer 429 with Retry-After", "429=10:1s-2s:x1"),
		besideHot(),
	}
}

const (
	// isolationConfig is w6's: what is silent is given up within the measurement.
	isolationConfig = "webhook: {rate: 1000000/s, burst: 1000000, connect_timeout: 5s, timeout: 3s}\nretry: {base: 500ms, cap: 4s}\n"
	// isolationCrowd is how many targets there are, or how many beside a hot provider.
	isolationCrowd = 2000
)

// beside has some of the targets behave as a mix says, and judges the latency of the
// others.
func beside(id, title, mix string) Scenario {
	return isolation(id, title, sick(id, mix), Size{Targets: isolationCrowd, Hosts: isolationCrowd}, 1.3)
}

// besideHot has nine in ten deliveries go to one provider, which is silent. The plan
// is ten times as long as the one it is compared with, and part of the latency.
func besideHot() Scenario {
	const id, hot = "row34", 9 * isolationCrowd
	f := sick(id, "silent=100")
	f.hot = hot
	return isolation(id, "one provider has 90 % of the load and is silent", f, Size{Targets: hot + isolationCrowd, Hosts: 1 + isolationCrowd}, 2)
}

// sick is a fan-out to targets of that mix.
func sick(id, mix string) *fanout {
	parsed, err := peer.ParseMix(mix)
	if err != nil {
		panic("scenario: the mix of " + id + " is at fault: " + err.Error())
	}
	return &fanout{scheme: "http", mix: parsed, config: isolationConfig, steps: []step{{id: id, updates: 1}}, patience: time.Minute}
}

// isolation judges the latency of the healthy targets of f against theirs alone.
func isolation(id, title string, f *fanout, size Size, must float64) Scenario {
	well, crowd := sick(id, ""), size.Targets-f.hot
	return Scenario{
		ID: id, Title: title + ": the healthy ones", Connections: f.hot == 0, Full: size, FullS: 5, Engine: f.engine,
		Results: []Result{{ID: id,
			Goals: []result.Goal{{Of: result.P99MS, Against: alone, AtMost: true, Must: must, Aim: must}},
			Floors: []Floor{{alone, func(ctx context.Context, r *Rig, _ Size) (*result.Measurement, error) {
				found, err := well.engine(ctx, r, Size{Targets: crowd, Hosts: crowd})
				return found[id], err
			}}}}},
	}
}
