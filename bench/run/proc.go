package run

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// account is what the kernel says of a process now. What can't be read is 0.
type account struct {
	userS, sysS      float64
	rssMB, peakMB    float64
	files            int
	switches, forced int64 // context switches: voluntary, involuntary
}

// ticks is USER_HZ, which is 100 on everything Linux runs on.
const ticks = 100

// readCPU reads the CPU seconds of the whole process.
func readCPU(pid int) (user, sys float64) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	return parseCPU(stat)
}

// parseCPU reads fields 14 and 15 of /proc/PID/stat (proc(5)). The second field is
// a name in brackets that may hold anything.
func parseCPU(stat []byte) (user, sys float64) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, 0
	}
	u, _ := strconv.ParseFloat(string(fields[11]), 64)
	s, _ := strconv.ParseFloat(string(fields[12]), 64)
	return u / ticks, s / ticks
}

// status reads lines such as "VmHWM:  1234 kB" by name.
func status(file string) map[string]int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	values := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		digits, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64); err == nil {
			values[name] = n
		}
	}
	return values
}

// readMemory reads what is resident now, and at most since resetPeak.
func readMemory(pid int) (now, peak float64) {
	values := status(fmt.Sprintf("/proc/%d/status", pid))
	return float64(values["VmRSS"]) / 1024, float64(values["VmHWM"]) / 1024
}

// resetPeak makes the peak what is resident now, where the system lets us.
func resetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// readFiles counts the open descriptors. Since Linux 6.2 the folder's size says it
// without a look at each.
func readFiles(pid int) int {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	if info, err := os.Stat(folder); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	d, err := os.Open(folder)
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return len(names)
}

// readSwitches counts the context switches of all threads that are there.
func readSwitches(pid int) (voluntary, forced int64) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is well-formed
	for _, file := range threads {
		values := status(file)
		voluntary += values["voluntary_ctxt_switches"]
		forced += values["nonvoluntary_ctxt_switches"]
	}
	return voluntary, forced
}

// readBusy reads how many CPU seconds the whole machine was busy since it started.
func readBusy() float64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	var busy float64
	for i, field := range bytes.Fields(line) {
		const idle, waiting, stolen = 4, 5, 8 // proc(5), after the name; what follows is in the others
		if i == 0 || i == idle || i == waiting || i > stolen {
			continue
		}
		n, _ := strconv.ParseFloat(string(field), 64)
		busy += n / ticks
	}
	return busy
}

// Descendant returns the pid of a process that this one, or one of its own, started
// and that runs a program of that name; 0 if there is none.
func Descendant(program string) int {
	parents, candidates := make(map[int]int), []int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if begin < 0 || end < begin {
			continue
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:begin])))
		fields := bytes.Fields(text[end+1:])
		if len(fields) < 2 {
			continue
		}
		parents[pid], _ = strconv.Atoi(string(fields[1]))
		if string(text[begin+1:end]) == program {
			candidates = append(candidates, pid)
		}
	}
	for _, pid := range candidates {
		for at := parents[pid]; at > 1; at = parents[at] {
			if at == os.Getpid() {
				return pid
			}
		}
	}
	return 0
}

func readAccount(pid int) account {
	var a account
	a.userS, a.sysS = readCPU(pid)
	a.rssMB, a.peakMB = readMemory(pid)
	a.files = readFiles(pid)
	a.switches, a.forced = readSwitches(pid)
	return a
}
