package scenario

import (
	"context"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bench/result"
	"github.com/tocsin/tocsin/internal/peer"
)

// Names of floors.
const (
	raw      = "raw"
	fastHTTP = "fasthttp"
	healthy  = "w1"
)

// once and none are sizes that don't vary.
func once(Size) int { return 1 }

func targetsOf(s Size) []string { return []string{"--targets", strconv.Itoa(s.Targets)} }

// unlimited raises the limits that protect receivers out of the way. Connections to
// a host stay few where many targets share it.
const unlimited = "webhook: {rate: 1000000/s, burst: 1000000, connect_timeout: 15s, timeout: 30s}\n"

// cold is w1: everyone is told once, and nobody is connected to before.
func cold() Scenario {
	f := fanout{scheme: "http", config: unlimited, steps: []step{{id: "w1", updates: 1}}, patience: time.Minute}
	return Scenario{
		ID: "w1", Title: "distinct targets, HTTP, cold, one incident", Connections: true,
		Full: Size{Targets: 10_000, Hosts: 10_000}, Quick: Size{Targets: 2_000, Hosts: 2_000}, FullS: 3, QuickS: 1.2,
		Engine: f.engine,
		Results: []Result{{ID: "w1",
			Goals: []result.Goal{
				{Of: result.PerS, Against: raw, Must: 0.65, Aim: 0.75},
				{Of: result.PerS, Against: fastHTTP, Must: 0.80, Aim: 0.80},
				{Of: result.PeakRSSMB, AtMost: true, Must: 250, Aim: 250},
			},
			Floors: []Floor{
				webhookFloor{name: raw, kind: "http", scheme: "http", sequences: once, measured: once, args: targetsOf}.floor(),
				webhookFloor{name: fastHTTP, kind: "fasthttp", scheme: "http", sequences: once, measured: once, args: targetsOf}.floor(),
			}}},
	}
}

// warm is w2: those who are connected to hear update after update.
func warm() Scenario {
	return Scenario{
		ID: "w2", Title: "successive updates to the same targets, connections kept", Connections: true,
		Full: Size{Targets: 10_000, Hosts: 10_000, Updates: 20}, Quick: Size{Targets: 2_000, Hosts: 2_000, Updates: 5}, FullS: 12, QuickS: 1.6,
		Engine: func(ctx context.Context, r *Rig, size Size) (Found, error) {
			f := fanout{scheme: "http", config: unlimited, steps: []step{{updates: 1}, {id: "w2", updates: size.Updates}}, patience: time.Minute}
			return f.engine(ctx, r, size)
		},
		Results: []Result{{ID: "w2",
			Goals: []result.Goal{{Of: result.PerS, Against: raw, Must: 0.50, Aim: 0.60}},
			Floors: []Floor{webhookFloor{name: raw, kind: "http", scheme: "http",
				sequences: func(s Size) int { return s.Updates + 1 }, measured: func(s Size) int { return s.Updates },
				args: func(s Size) []string { return append(targetsOf(s), "--updates", strconv.Itoa(s.Updates), "--warm") }}.floor()}}},
	}
}

// secure is w3: HTTPS, with new sessions, then with those continued that the peers
// gave tickets for.
func secure() Scenario {
	f := fanout{scheme: "https", config: unlimited, steps: []step{{id: "w3.cold", updates: 1}, {id: "w3.resumed", updates: 1, reconnect: true}}, patience: 2 * time.Minute}
	two := func(Size) int { return 2 }
	goals := func() []result.Goal { return []result.Goal{{Of: result.PerS, Against: raw, Must: 0.90, Aim: 0.95}} }
	return Scenario{
		ID: "w3", Title: "HTTPS (TLS 1.3, ECDSA)", Connections: true,
		Full: Size{Targets: 10_000, Hosts: 10_000}, Quick: Size{Targets: 1_000, Hosts: 1_000}, FullS: 27, QuickS: 5,
		Engine: f.engine,
		Results: []Result{
			{ID: "w3.cold", Title: "HTTPS, new sessions", Goals: goals(), Floors: []Floor{
				webhookFloor{name: raw, kind: "https", scheme: "https", sequences: once, measured: once, args: targetsOf}.floor()}},
			{ID: "w3.resumed", Title: "HTTPS, sessions resumed", Goals: goals(), Floors: []Floor{
				webhookFloor{name: raw, kind: "https", scheme: "https", sequences: two, measured: once,
					args: func(s Size) []string { return append(targetsOf(s), "--resume") }}.floor()}},
		},
	}
}

// held is w4: peers that take a second to answer, so that all requests are open at
// once.
func held() Scenario {
	mix := peer.Mix{Hold: time.Second}
	f := fanout{scheme: "http", mix: mix, config: unlimited, steps: []step{{id: "w4", updates: 1}}, patience: time.Minute}
	return Scenario{
		ID: "w4", Title: "held open by peers that answer after 1 s", Connections: true,
		Full: Size{Targets: 10_000, Hosts: 10_000}, Quick: Size{Targets: 2_000, Hosts: 2_000}, FullS: 4, QuickS: 3.2,
		Engine: f.engine,
		Results: []Result{{ID: "w4",
			Goals: []result.Goal{
				{Of: result.WallS, Against: raw, AtMost: true, Must: 1.30, Aim: 1.15},
				{Of: result.PeakRSSMB, AtMost: true, Must: 300, Aim: 200},
			},
			Floors: []Floor{webhookFloor{name: raw, kind: "http", scheme: "http", mix: mix, sequences: once, measured: once,
				args: func(s Size) []string { return append(targetsOf(s), "--hold", mix.Hold.String()) }}.floor()}}},
	}
}

// many is w5: very many deliveries over hosts that targets share. Sixteen connections
// to each of a thousand hosts are what a process with 20,000 descriptors bears, and
// twice as many deliveries are within the admission: nothing goes to wait in the
// ledger because its host's window is full.
func many(id, title string, broker bool, must, aim float64) Scenario {
	f := fanout{scheme: "http", broker: broker, steps: []step{{id: id, updates: 1}}, patience: 10 * time.Minute,
		config: "webhook: {rate: 1000000/s, burst: 1000000, window: 16, connections: 16, connect_timeout: 15s, timeout: 30s}\n"}
	return Scenario{
		ID: id, Title: "deliveries over shared hosts: " + title, Broker: broker, HostConnections: true,
		Full: Size{Targets: 1_000_000, Hosts: 1_000}, Quick: Size{Targets: 30_000, Hosts: 300}, FullS: 48, QuickS: 3.5,
		Engine: f.engine,
		Results: []Result{{ID: id,
			Goals: []result.Goal{
				{Of: result.PerS, Against: raw, Must: must, Aim: aim},
				{Of: result.PeakRSSMB, AtMost: true, Must: 400, Aim: 400},
			},
			Floors: []Floor{webhookFloor{name: raw, kind: "http", scheme: "http", sequences: once, measured: once,
				args: func(s Size) []string {
					return []string{"--hosts", strconv.Itoa(s.Hosts), "--deliveries", strconv.Itoa(s.Targets), "--per-host", "1"}
				}}.floor()}}},
	}
}

// ill is w6: some peers fail, and the others must not notice.
func ill() Scenario {
	mix, err := peer.ParseMix("silent=5,429=5:1s-2s:x1,500=5:x1")
	if err != nil {
		panic("scenario: the mix of w6 is at fault: " + err.Error())
	}
	config := "webhook: {rate: 1000000/s, burst: 1000000, connect_timeout: 5s, timeout: 3s}\nretry: {base: 500ms, cap: 4s}\n"
	f := fanout{scheme: "http", mix: mix, config: config, steps: []step{{id: "w6", updates: 1}}, patience: time.Minute}
	well := fanout{scheme: "http", config: config, steps: []step{{id: "w6", updates: 1}}, patience: time.Minute}
	return Scenario{
		ID: "w6", Title: "5 % silent, 5 % 429 with Retry-After, 5 % 500: the healthy ones", Connections: true,
		Full: Size{Targets: 10_000, Hosts: 10_000}, Quick: Size{Targets: 2_000, Hosts: 2_000}, FullS: 6, QuickS: 4,
		Engine: f.engine,
		Results: []Result{{ID: "w6",
			Goals: []result.Goal{{Of: result.P99MS, Against: healthy, AtMost: true, Must: 1.3, Aim: 1.1}},
			// The engine itself, with healthy peers alone.
			Floors: []Floor{{healthy, func(ctx context.Context, r *Rig, size Size) (*result.Measurement, error) {
				found, err := well.engine(ctx, r, size)
				return found["w6"], err
			}}}}},
	}
}
