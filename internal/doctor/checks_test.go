package doctor

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

const everything = `
queue: amqp://tocsin:sesame@broker.example.com:5672/
smtp: [{name: main, url: "smtp://user:hunter2@relay.example.com", from: s@example.com}]
smpp: [{name: acme, url: "smpp://tocsin:secret@smsc.example.com", source: STATUS}]
webhook: {hosts: {hooks.example.com: {rate: 1/s}}}
`

func TestAGoodMachine(t *testing.T) {
	o := options(t, everything)
	var names []string
	for _, f := range Examine(t.Context(), o, time.Minute) {
		names = append(names, f.Check)
		if f.Result != OK && f.Result != Skipped {
			t.Errorf("%+v", f)
		}
	}
	var again []string
	for _, f := range Examine(t.Context(), o, time.Minute) {
		again = append(again, f.Check)
	}
	if !slices.Equal(names, again) {
		t.Errorf("the order changed from\n%q to\n%q", names, again)
	}
}

// Each case breaks one thing of a good machine, and is the one finding that gets
// worse by it.
func TestBrokenMachines(t *testing.T) {
	group := func(s *System, files map[string]string, name, value string) {
		files["proc/self/cgroup"] = "12:memory:/old\n0::/system.slice/tocsin.service"
		files["sys/fs/cgroup/cgroup.controllers"] = "cpu memory pids"
		files["sys/fs/cgroup/system.slice/tocsin.service/memory.max"] = "max"
		files["sys/fs/cgroup/"+name] = value
		s.MemoryLimit = 900 << 20
	}
	for name, tc := range map[string]struct {
		change func(s *System, files map[string]string)
		check  string
		result Result
		found  string
	}{
		"512 files": {func(s *System, _ map[string]string) { s.Files = func() (int, int, error) { return 512, 512, nil } },
			"open files", Failure, "512"},
		"20,000 files": {func(s *System, _ map[string]string) { s.Files = func() (int, int, error) { return 20000, 20000, nil } },
			"open files", Warning, "20000"},
		"raising refused": {func(s *System, _ map[string]string) { s.Files = func() (int, int, error) { return 4096, 65536, nil } },
			"open files", Warning, "raising it to the hard limit of 65536 was refused"},
		"no limit to read": {func(s *System, _ map[string]string) { s.Files = func() (int, int, error) { return 0, 0, errBroken } },
			"open files", Skipped, "broken"},
		"nr_open":        {func(_ *System, f map[string]string) { f["proc/sys/fs/nr_open"] = "32768" }, "fs.nr_open", Warning, "32768"},
		"file table":     {func(_ *System, f map[string]string) { f["proc/sys/fs/file-nr"] = "99000 0 100000" }, "fs.file-max", Warning, "1,000 free"},
		"odd file-nr":    {func(_ *System, f map[string]string) { f["proc/sys/fs/file-nr"] = "99000" }, "fs.file-max", Skipped, "three numbers"},
		"few ports":      {func(_ *System, f map[string]string) { f["proc/sys/net/ipv4/ip_local_port_range"] = "32768\t60999" }, "net.ipv4.ip_local_port_range", Warning, "32768 60999"},
		"ports nonsense": {func(_ *System, f map[string]string) { f["proc/sys/net/ipv4/ip_local_port_range"] = "many" }, "net.ipv4.ip_local_port_range", Warning, "many"},
		"reuse":          {func(_ *System, f map[string]string) { f["proc/sys/net/ipv4/tcp_tw_reuse"] = "2" }, "net.ipv4.tcp_tw_reuse", Warning, "2"},
		"somaxconn":      {func(_ *System, f map[string]string) { f["proc/sys/net/core/somaxconn"] = "128" }, "net.core.somaxconn", Warning, "128"},
		"hidden":         {func(_ *System, f map[string]string) { delete(f, "proc/sys/net/core/somaxconn") }, "net.core.somaxconn", Skipped, "doesn't say"},
		"conntrack":      {func(_ *System, f map[string]string) { f["proc/sys/net/netfilter/nf_conntrack_max"] = "65536" }, "net.netfilter.nf_conntrack_max", Warning, "65536"},
		"no conntrack":   {func(_ *System, f map[string]string) { delete(f, "proc/sys/net/netfilter/nf_conntrack_max") }, "net.netfilter.nf_conntrack_max", Skipped, "no such firewall"},
		"memory": {func(_ *System, f map[string]string) {
			f["proc/meminfo"] = "MemTotal: 4096000 kB\nMemAvailable: 300000 kB"
		}, "memory", Warning, "293 MiB available"},
		"no memory": {func(_ *System, f map[string]string) {
			f["proc/meminfo"] = "MemTotal: 4096000 kB\nMemAvailable: 30000 kB"
		}, "memory", Failure, "29 MiB available"},
		"memory limit above the unit": {func(s *System, f map[string]string) {
			group(s, f, "system.slice/memory.max", "268435456")
			s.MemoryLimit = 200 << 20
		},
			"memory limit", Warning, "256 MiB"},
		"tiny memory limit": {func(s *System, f map[string]string) {
			group(s, f, "system.slice/tocsin.service/memory.max", "67108864")
			s.MemoryLimit = 60 << 20
		}, "memory limit", Failure, "64 MiB"},
		"GOMEMLIMIT too high": {func(s *System, f map[string]string) {
			group(s, f, "system.slice/tocsin.service/memory.max", "1073741824")
			s.MemoryLimit = 2 << 30
		}, "GOMEMLIMIT", Warning, "2.0 GiB"},
		"half a processor": {func(s *System, f map[string]string) {
			group(s, f, "system.slice/tocsin.service/cpu.max", "50000 100000")
		},
			"processors", Warning, "limit 0.5"},
		"GOMAXPROCS": {func(s *System, f map[string]string) {
			group(s, f, "system.slice/tocsin.service/cpu.max", "200000 100000")
			s.Processors = 16
		},
			"processors", Warning, "GOMAXPROCS 16, limit 2.0"},
		"few threads": {func(s *System, f map[string]string) { group(s, f, "system.slice/pids.max", "40") }, "threads", Warning, "40"},
		"drifting":    {func(s *System, _ map[string]string) { s.Clock = func() (Clock, error) { return Clock{}, nil } }, "clock synchronised", Warning, "no"},
		"clock forbidden": {func(s *System, _ map[string]string) {
			s.Clock = func() (Clock, error) { return Clock{}, fs.ErrPermission }
		},
			"clock synchronised", Skipped, "no permission"},
		"long ago": {func(s *System, _ map[string]string) { s.Now = func() time.Time { return time.Unix(0, 0) } }, "clock", Failure, "1970-01-01"},
		"NFS": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "NFS", Remote: true, Free: 1 << 40}, nil }
		}, "data disk", Failure, "NFS"},
		"tmpfs": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "tmpfs", Volatile: true, Free: 1 << 40}, nil }
		}, "data disk", Failure, "tmpfs"},
		"read-only": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "ext4", ReadOnly: true, Free: 1 << 40}, nil }
		}, "data disk", Failure, "read-only"},
		"nearly full": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "ext4", Free: 1 << 30}, nil }
		}, "data disk", Warning, "1.0 GiB free"},
		"full": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "ext4", Free: 1 << 20}, nil }
		}, "data disk", Failure, "1.0 MiB free"},
		"few inodes": {func(s *System, _ map[string]string) {
			s.Disk = func(string) (Disk, error) { return Disk{Kind: "ext4", Free: 1 << 40, FreeFiles: 3}, nil }
		}, "data disk", Warning, "room for 3 files"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, "")
			o.System = goodSystem(tc.change)
			all := examine(t, o)
			wantFinding(t, all[tc.check], tc.result, tc.found)
			for name, f := range all {
				if name != tc.check && f.Result != OK && f.Result != Skipped {
					t.Errorf("also found: %+v", f)
				}
			}
		})
	}
}

func TestGroupsInOrder(t *testing.T) {
	o := options(t, "")
	o.System = goodSystem(func(s *System, files map[string]string) {
		files["sys/fs/cgroup/cgroup.controllers"] = "cpu memory pids"
		files["sys/fs/cgroup/memory.max"] = "1073741824"
		files["sys/fs/cgroup/pids.max"] = "4915"
		files["sys/fs/cgroup/cpu.max"] = "max 100000"
		s.MemoryLimit = 966367641
	})
	all := examine(t, o)
	wantFinding(t, all["memory limit"], OK, "1.0 GiB")
	wantFinding(t, all["GOMEMLIMIT"], OK, "922 MiB")
	wantFinding(t, all["threads"], OK, "4915")
	wantFinding(t, all["processors"], OK, "GOMAXPROCS 2")
}

// Built from sources of a later date, or without knowing when.
func TestDate(t *testing.T) {
	for name, tc := range map[string]struct {
		now, built time.Time
		want       Result
	}{
		"later":         {noon, noon.AddDate(0, -1, 0), OK},
		"zones differ":  {noon.Add(-13 * time.Hour), noon, OK},
		"before":        {noon.AddDate(0, 0, -2), noon, Failure},
		"unknown":       {noon, time.Time{}, OK},
		"unknown, 2020": {noon.AddDate(-6, 0, 0), time.Time{}, Failure},
	} {
		if got := judgeDate(tc.now, tc.built); got.Result != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReservedPortMattersBesideABroker(t *testing.T) {
	for queue, want := range map[string]Result{
		"amqp://u:p@127.0.0.1/": Warning, "amqp://u:p@[::1]/": Warning, "amqp://u:p@localhost/": Warning,
		"amqp://u:p@broker.example.com/": Skipped, "sqlite": Skipped,
	} {
		o := options(t, "queue: \""+queue+"\"")
		o.System = goodSystem(func(_ *System, files map[string]string) {
			files["proc/sys/net/ipv4/ip_local_reserved_ports"] = "8080,9000-9010"
		})
		wantFinding(t, examine(t, o)[brokerPort], want, "")
	}
	for list, want := range map[string]bool{"25672": true, "1,25672": true, "25000-26000": true, "25673-26000": false, "": false, "x-y": false, "1-": false} {
		if portListed(list, 25672) != want {
			t.Errorf("%q has it: %v", list, !want)
		}
	}
}

func TestEveryValueOfTheTuningWillDo(t *testing.T) {
	for _, s := range Settings() {
		if !s.enough(s.Value) || s.enough("0") || s.enough("") {
			t.Errorf("%s: its own value is %v, 0 %v, nothing %v", s.Name, s.enough(s.Value), s.enough("0"), s.enough(""))
		}
	}
}

func TestAHangingCheckEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		checks := []Check{
			{"stuck", func(context.Context) []Finding { <-release; return nil }},
			{"patient", func(ctx context.Context) []Finding { <-ctx.Done(); return one(Finding{Check: "patient"}.ok("ended")) }},
			{"quick", func(context.Context) []Finding {
				return []Finding{Finding{Check: "a"}.ok("1"), Finding{Check: "b"}.ok("2")}
			}},
		}
		began := time.Now()
		var said []string
		for _, f := range Run(t.Context(), checks, 5*time.Second) {
			said = append(said, f.Check+" "+string(f.Result)+" "+f.Found)
		}
		want := "stuck failure no answer in 5s|patient ok ended|a ok 1|b ok 2"
		if strings.Join(said, "|") != want {
			t.Errorf("got %q, want %q", said, want)
		}
		if took := time.Since(began); took != 5*time.Second+grace {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPeersWordsAreMadeFit(t *testing.T) {
	long := strings.Repeat("é", 2*maxText)
	got := clean([]Finding{
		Finding{Fix: "say sesame"}.fail("535 no: sesame\r\n\x1b[31mred\x00\u202e" + string([]byte{0xff})),
		Finding{}.ok(long),
	}, []string{"sesame"})
	if got[0].Found != "535 no: xxxxx  [31mred" || got[0].Fix != "say sesame" {
		t.Errorf("got %+v", got[0])
	}
	if n := len([]rune(got[1].Found)); n != maxText {
		t.Errorf("%d runes are left", n)
	}
}

// What an engine tells Go where nobody did: nine tenths of the least limit above it,
// of either kind of group, less where SQLite's caches would not fit beside it.
func TestMemoryFor(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"v2": {map[string]string{
			"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/cgroup.controllers": "memory",
			"sys/fs/cgroup/a/memory.max": "1073741820", "sys/fs/cgroup/a/b/memory.max": "max",
		}, 966367638},
		"v1": {map[string]string{
			"proc/self/cgroup":                               "5:cpu,memory:/a/b\n0::/",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   "268435456",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712",
		}, 160 << 20},
		"small": {map[string]string{
			"proc/self/cgroup": "0::/", "sys/fs/cgroup/cgroup.controllers": "memory", "sys/fs/cgroup/memory.max": "157286400",
		}, 75 << 20},
		"v1 without a limit": {map[string]string{
			"proc/self/cgroup": "5:memory:/", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
		}, 0},
		"v2 without a limit": {map[string]string{"proc/self/cgroup": "0::/", "sys/fs/cgroup/cgroup.controllers": "memory"}, 0},
		"no groups":          {nil, 0},
	} {
		root := fstest.MapFS{}
		for name, text := range tc.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := MemoryFor(System{Root: root}); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
