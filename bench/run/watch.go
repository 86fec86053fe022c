package run

import (
	"math"
	"os"
	"runtime"
	"sync"
	"time"
)

// Usage is what a measured phase cost one process.
type Usage struct {
	UserS float64 `json:"user_s"`
	SysS  float64 `json:"sys_s"`
	// PeakRSSMB is the most memory that was resident within the phase, in MiB.
	PeakRSSMB float64 `json:"peak_rss_mb"`
	// MaxFDs is the most descriptors seen open.
	MaxFDs int `json:"max_fds"`
	// Switches counts voluntary context switches, Preempted the others.
	Switches  int64 `json:"switches"`
	Preempted int64 `json:"preempted"`
	// Series has memory, descriptors and CPU over time.
	Series []Sample `json:"series,omitempty"`
}

// CPUS returns all CPU seconds.
func (u *Usage) CPUS() float64 { return u.UserS + u.SysS }

// Sample is a process at one moment of a phase.
type Sample struct {
	// AtS is in seconds since the phase began.
	AtS   float64 `json:"at_s"`
	RSSMB float64 `json:"rss_mb"`
	FDs   int     `json:"fds"`
	// CPUS is the CPU seconds used since the phase began.
	CPUS float64 `json:"cpu_s"`
}

const (
	// sampleEvery is how often samples are taken in the beginning: quick rounds are
	// over within tenths of a second.
	sampleEvery = 20 * time.Millisecond
	// maxSamples bounds a series; a longer one is thinned out to half, again and
	// again, and grows half as fast from then on.
	maxSamples = 600
	// samplingShare is the part of a core's time, as in one of so many, that
	// sampling may take.
	samplingShare = 100
)

// Watch is one measured phase of some processes.
type Watch struct {
	begun   time.Time
	busy    float64 // CPU seconds of the whole machine before
	own     float64 // and of this process
	watched []*watched
	stop    chan struct{}
	done    sync.WaitGroup
}

type watched struct {
	process *Process
	before  account
	last    account
	usage   Usage
}

// Observe begins a phase: peaks are forgotten, the accounts are read, and samples
// are taken until [Watch.End].
func Observe(processes ...*Process) *Watch {
	w := &Watch{stop: make(chan struct{})}
	for _, p := range processes {
		resetPeak(p.pid())
		w.watched = append(w.watched, &watched{process: p, before: readAccount(p.pid())})
	}
	w.busy, w.own = readBusy(), ownCPU()
	w.begun = time.Now()
	w.sample(w.begun) // before what is measured can have ended
	w.done.Go(w.run)
	return w
}

func (w *Watch) run() {
	every, took := sampleEvery, time.Since(w.begun)
	for {
		select {
		case <-time.After(max(every, samplingShare*took)):
		case <-w.stop:
			return
		}
		begun := time.Now()
		w.sample(begun)
		took = time.Since(begun)
		if len(w.watched) > 0 && len(w.watched[0].usage.Series) >= maxSamples {
			every *= 2
			for _, p := range w.watched {
				p.thin()
			}
		}
	}
}

func (w *Watch) sample(now time.Time) {
	for _, p := range w.watched {
		var a account
		a.userS, a.sysS = readCPU(p.process.pid())
		a.rssMB, a.peakMB = readMemory(p.process.pid())
		a.files = readFiles(p.process.pid())
		if a.rssMB == 0 {
			continue // it has ended
		}
		p.take(now.Sub(w.begun), a)
	}
}

func (p *watched) take(at time.Duration, a account) {
	p.last = a
	u := &p.usage
	u.PeakRSSMB = max(u.PeakRSSMB, a.rssMB, a.peakMB)
	u.MaxFDs = max(u.MaxFDs, a.files)
	u.Series = append(u.Series, Sample{AtS: round(at.Seconds()), RSSMB: round(a.rssMB), FDs: a.files,
		CPUS: round(a.userS + a.sysS - p.before.userS - p.before.sysS)})
}

func (p *watched) thin() {
	kept := p.usage.Series[:0]
	for i := 0; i < len(p.usage.Series); i += 2 {
		kept = append(kept, p.usage.Series[i])
	}
	p.usage.Series = kept
}

// Cost is what a phase cost.
type Cost struct {
	// Processes has the usage by the processes' names.
	Processes map[string]Usage
	// ForeignPercent is how much of the machine's CPU went to processes that have
	// no part in the benchmark: with much of it, figures mean little.
	ForeignPercent float64
}

// End ends the phase and returns what it cost. Of a process that has ended
// meanwhile, the kernel's last word counts for CPU and switches, the last sample for
// the rest.
func (w *Watch) End() Cost {
	close(w.stop)
	w.done.Wait()
	w.sample(time.Now())
	elapsed, foreign := time.Since(w.begun).Seconds(), readBusy()-w.busy-(ownCPU()-w.own)
	usage := make(map[string]Usage)
	for _, p := range w.watched {
		pid, u := p.process.pid(), &p.usage
		user, sys := readCPU(pid)
		switches, forced := readSwitches(pid)
		if gone := p.process.account(); gone != nil {
			user, sys, switches, forced = gone.userS, gone.sysS, gone.switches, gone.forced
		}
		u.UserS, u.SysS = round(max(user-p.before.userS, 0)), round(max(sys-p.before.sysS, 0))
		// Threads that ended in between take their counts with them.
		u.Switches, u.Preempted = max(switches-p.before.switches, 0), max(forced-p.before.forced, 0)
		usage[p.process.Name] = *u
		foreign -= u.CPUS()
	}
	percent := 100 * max(foreign, 0) / (elapsed * float64(runtime.NumCPU()))
	return Cost{usage, math.Round(min(percent, 100))}
}

func ownCPU() float64 {
	user, sys := readCPU(os.Getpid())
	return user + sys
}

func round(f float64) float64 { return float64(int64(f*1000+0.5)) / 1000 }
