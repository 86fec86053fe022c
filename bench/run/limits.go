package run

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Limits are what the machine allows a benchmark, and what it is.
type Limits struct {
	// Files is how many descriptors a process may have open (the hard limit:
	// the engine raises its own).
	Files int `json:"files"`
	// Ports is how many local ports there are for outgoing connections.
	Ports int `json:"ports"`
	// Backlog is net.core.somaxconn: how many connections may wait for accept.
	Backlog int `json:"backlog"`
}

// ReadLimits asks the kernel. What it doesn't say is 0.
func ReadLimits() Limits {
	var l Limits
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		l.Files = int(min(files.Max, 1<<30))
	}
	if low, high, ok := numbers("/proc/sys/net/ipv4/ip_local_port_range"); ok {
		l.Ports = high - low + 1
	}
	l.Backlog, _, _ = numbers("/proc/sys/net/core/somaxconn")
	return l
}

func numbers(file string) (first, second int, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) > 0 {
		first, _ = strconv.Atoi(string(fields[0]))
	}
	if len(fields) > 1 {
		second, _ = strconv.Atoi(string(fields[1]))
		return first, second, true
	}
	return first, 0, false
}

// Machine is where a benchmark ran: absolute figures mean nothing without it.
type Machine struct {
	Name     string `json:"name"`
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryMB int    `json:"memory_mb"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
	// Load is the load average of the last minute when the run began: what else
	// the machine was doing.
	Load   float64 `json:"load"`
	Limits Limits  `json:"limits"`
}

// ReadMachine asks the kernel.
func ReadMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown", Limits: ReadLimits()}
	m.Name, _ = os.Hostname()
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	m.MemoryMB = int(status("/proc/meminfo")["MemTotal"] / 1024)
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &m.Load)
	}
	return m
}

// String says it in a line.
func (m Machine) String() string {
	return fmt.Sprintf("%s: %d × %s, %d MB, Linux %s, %s", m.Name, m.Cores, m.CPU, m.MemoryMB, m.Kernel, m.Go)
}
