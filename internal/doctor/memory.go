package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

const mebibyte = 1 << 20

// memoryWanted is what an engine with so many deliveries in it should have: 10,000
// requests held open take some 200 MB, a delivery that waits some KB.
func memoryWanted(admission int) int64 { return 256*mebibyte + int64(admission)<<12 }

// memoryLeast is too little to work with.
const memoryLeast = 128 * mebibyte

func (x *examination) memory(context.Context) []Finding {
	process, running := x.engine()
	group := x.groupOf(process)
	return []Finding{
		x.memoryOfMachine(running),
		judgeMemoryLimit(group, memoryWanted(x.Config.Admission)),
		judgeGoMemory(group, x.System.MemoryLimit, running),
		judgeProcessors(group, x.System.Processors, running),
		judgeThreads(group),
	}
}

// memoryOfMachine counts what is available or, if an engine has its part already,
// what there is.
func (x *examination) memoryOfMachine(running bool) Finding {
	wanted := memoryWanted(x.Config.Admission)
	f := Finding{
		Check: "memory", Wanted: fmt.Sprintf("%s for admission %s", size(wanted), count(x.Config.Admission)),
		Effect: "the kernel may end the engine in the middle of a fan-out; it goes on after a start, and what was under way is sent twice",
		Fix:    "give the machine more memory, end other programs, or lower admission",
	}
	text, err := x.System.text("proc/meminfo")
	if err != nil {
		return f.unread(err)
	}
	total, available := meminfo(text, "MemTotal:"), meminfo(text, "MemAvailable:")
	if total < 0 || available < 0 {
		return f.skip("/proc/meminfo can't be read")
	}
	found, counts := fmt.Sprintf("%s available of %s", size(available), size(total)), available
	if running {
		counts = total
	}
	switch {
	case counts < memoryLeast:
		return f.fail(found)
	case counts < wanted:
		return f.warn(found)
	}
	return f.ok(found)
}

// meminfo returns an entry in bytes, -1 if there is none.
func meminfo(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kB, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return -1
			}
			return kB << 10
		}
	}
	return -1
}

// group is what control groups leave to a process: the least of its own group and
// those above; of cgroup v1 the memory alone.
type group struct {
	// err is why nothing is known.
	err error
	// memory is in bytes, threads a number; [math.MaxInt64] for no limit.
	memory, threads int64
	// processors is a number of CPUs; 0 for no limit.
	processors float64
}

var errNoGroups = errors.New("no control groups here")

func (x *examination) groupOf(process string) group {
	none := func(err error) group { return group{err: err} }
	text, err := x.System.text(process + "/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return none(errNoGroups)
	}
	if err != nil {
		return none(err)
	}
	const root = "sys/fs/cgroup"
	g := group{memory: math.MaxInt64, threads: math.MaxInt64}
	_, unified := x.System.text(root + "/cgroup.controllers")
	at, found := memoryGroup(text)
	switch {
	case unified != nil && found:
		for folder := path.Clean(root + "/memory/" + path.Clean("/"+at)); strings.HasPrefix(folder, root+"/memory"); folder = path.Dir(folder) {
			if n := x.groupLimit(folder + "/memory.limit_in_bytes"); n < unlimited {
				g.memory = min(g.memory, n)
			}
		}
		return g
	case unified != nil:
		return none(errNoGroups)
	}
	for line := range strings.Lines(text) {
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for folder := path.Clean(root + "/" + path.Clean("/"+at)); strings.HasPrefix(folder, root); folder = path.Dir(folder) {
			g.memory = min(g.memory, x.groupLimit(folder+"/memory.max"))
			g.threads = min(g.threads, x.groupLimit(folder+"/pids.max"))
			if cpus := x.processorLimit(folder + "/cpu.max"); cpus > 0 && (g.processors == 0 || cpus < g.processors) {
				g.processors = cpus
			}
		}
	}
	return g
}

// unlimited is what cgroup v1 says for no limit, or less: no machine has it.
const unlimited = 1 << 60

// memoryGroup returns the group that cgroup v1 keeps the memory of, where it does.
func memoryGroup(text string) (at string, found bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), "memory") {
			return fields[2], true
		}
	}
	return "", false
}

// besideGo is what Go doesn't count and the limit does: the caches of SQLite, up to
// 64 MiB, and the kernel's buffers of connections.
const besideGo = 96 * mebibyte

// MemoryFor returns what Go should be told of a memory limit that this process is
// under: nine tenths of it, less where that leaves too little for what Go doesn't
// count, half at least; 0 if there is no limit.
func MemoryFor(s System) int64 {
	x := examination{Options: Options{System: s}}
	g := x.groupOf("proc/self")
	if g.err != nil || g.memory == math.MaxInt64 {
		return 0
	}
	return max(g.memory/2, min(g.memory/10*9, g.memory-besideGo))
}

// groupLimit reads a number or "max"; what isn't there is no limit.
func (x *examination) groupLimit(name string) int64 {
	text, err := x.System.text(name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// processorLimit reads "quota period"; 0 for no limit.
func (x *examination) processorLimit(name string) float64 {
	n, err := x.System.numbers(name) // "max 100000" has a word in it
	if err != nil || len(n) != 2 || n[1] <= 0 {
		return 0
	}
	return float64(n[0]) / float64(n[1])
}

func (f Finding) withoutGroup(g group) Finding {
	if errors.Is(g.err, errNoGroups) {
		return f.skip(errNoGroups.Error())
	}
	return f.unread(g.err)
}

func judgeMemoryLimit(g group, wanted int64) Finding {
	f := Finding{
		Check: "memory limit", Wanted: "none, or " + size(wanted) + " and more",
		Effect: "the kernel ends the engine when a fan-out needs more; it goes on after a start, and what was under way is sent twice",
		Fix:    "raise MemoryMax= of the unit, or the container's limit; or lower admission",
	}
	switch {
	case g.err != nil:
		return f.withoutGroup(g)
	case g.memory == math.MaxInt64:
		return f.ok("none")
	case g.memory < memoryLeast:
		return f.fail(size(g.memory))
	case g.memory < wanted:
		return f.warn(size(g.memory))
	}
	return f.ok(size(g.memory))
}

func judgeGoMemory(g group, limit int64, running bool) Finding {
	f := Finding{
		Check:  "GOMEMLIMIT",
		Effect: "Go doesn't know of the memory limit, lets garbage grow past it, and is ended by the kernel",
	}
	switch {
	case g.err != nil:
		return f.withoutGroup(g)
	case g.memory == math.MaxInt64:
		return f.ok("not needed without a memory limit")
	case running:
		return f.skip("only the running engine knows its environment")
	}
	good := g.memory / 10 * 9
	f.Wanted = fmt.Sprintf("%s, nine tenths of the memory limit", size(good))
	f.Fix = fmt.Sprintf("Environment=GOMEMLIMIT=%dMiB in the unit or the container", good/mebibyte)
	switch {
	case limit == math.MaxInt64:
		return f.ok("left to serve, which sets it")
	case limit > g.memory/100*95:
		return f.warn(size(limit))
	}
	return f.ok(size(limit))
}

// judgeProcessors compares what Go takes for the number of processors with what the
// kernel gives it. Of a running engine only the latter is known.
func judgeProcessors(g group, processors int, running bool) Finding {
	f := Finding{Check: "processors", Wanted: "1 or more, and no more threads of Go than the limit allows"}
	found := "GOMAXPROCS " + strconv.Itoa(processors)
	if running {
		processors, found = 1, "GOMAXPROCS as the engine has it"
	}
	if g.processors > 0 {
		found += fmt.Sprintf(", limit %.1f", g.processors)
	}
	switch {
	case g.processors > 0 && g.processors < 1:
		f.Effect = "the kernel stops the engine for parts of each tenth of a second: timeouts, late deliveries"
		f.Fix = "raise CPUQuota= of the unit, or the container's limit, to 100 % or more"
		return f.warn(found)
	case g.processors > 0 && float64(processors) >= g.processors+1 && processors > 2:
		f.Effect = "Go uses up the limit early in each tenth of a second and is stopped for the rest of it"
		f.Fix = "unset GOMAXPROCS: Go finds the limit by itself"
		return f.warn(found)
	}
	return f.ok(found)
}

// threadsWanted is far more than the engine has: a thread for each processor and for
// each write to disk and name lookup under way.
const threadsWanted = 256

func judgeThreads(g group) Finding {
	f := Finding{
		Check: "threads", Wanted: fmt.Sprintf("no limit, or %d and more", threadsWanted),
		Effect: "Go ends the engine when it can't start a thread",
		Fix:    "raise TasksMax= of the unit, or the container's pids limit",
	}
	switch {
	case g.err != nil:
		return f.withoutGroup(g)
	case g.threads == math.MaxInt64:
		return f.ok("no limit")
	case g.threads < threadsWanted:
		return f.warn(strconv.FormatInt(g.threads, 10))
	}
	return f.ok(strconv.FormatInt(g.threads, 10))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
