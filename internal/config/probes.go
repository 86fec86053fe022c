package config

import (
	"errors"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/probe"
)

// Probes says what results of probes mean, as [probe.Rules] has it.
type Probes struct {
	// Page is where incidents of services are told.
	Page        string        `yaml:"page"`
	Fail        int           `yaml:"fail" min:"1" max:"1000"`
	Recover     int           `yaml:"recover" min:"1" max:"1000"`
	StaleAfter  time.Duration `yaml:"stale_after" min:"1s" max:"24h"`
	Slow        time.Duration `yaml:"slow" min:"0s" max:"1h"`
	Cycle       time.Duration `yaml:"cycle" min:"1s" max:"1h"`
	SlowCycles  int           `yaml:"slow_cycles" min:"1" max:"1000"`
	FlapChanges int           `yaml:"flap_changes" min:"2" max:"100"`
	FlapWindow  time.Duration `yaml:"flap_window" min:"0s" max:"24h"`
	Settle      time.Duration `yaml:"settle" min:"0s" max:"24h"`
}

// Rules are p as package probe takes them.
func (p *Probes) Rules() probe.Rules {
	return probe.Rules{
		Fail: p.Fail, Recover: p.Recover, StaleAfter: p.StaleAfter, Slow: p.Slow, Cycle: p.Cycle, SlowCycles: p.SlowCycles,
		FlapChanges: p.FlapChanges, FlapWindow: p.FlapWindow, Settle: p.Settle,
	}
}

func (c *Config) checkProbes(f *faults) {
	r := lifecycle.Report{Page: c.Probes.Page, Group: "probe"}
	if invalid, ok := errors.AsType[*incident.Invalid](r.Check()); ok {
		f.at("probes.page", "%s", invalid.Reason)
	}
}

func defaultProbes() Probes {
	r := probe.DefaultRules()
	return Probes{
		Page: "default", Fail: r.Fail, Recover: r.Recover, StaleAfter: r.StaleAfter, Slow: r.Slow, Cycle: r.Cycle,
		SlowCycles: r.SlowCycles, FlapChanges: r.FlapChanges, FlapWindow: r.FlapWindow, Settle: r.Settle,
	}
}
