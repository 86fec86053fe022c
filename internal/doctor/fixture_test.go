package doctor

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/internal/config"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// tree is a root file system with these files.
func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range files {
		root[name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	return root
}

// goodFiles are those of a machine that is as it should be; without control groups.
func goodFiles() map[string]string {
	files := map[string]string{
		"proc/sys/fs/nr_open": "1048576",
		"proc/sys/fs/file-nr": "680\t0\t9223372036854775807",
		"proc/meminfo":        "MemTotal:       4096000 kB\nMemFree:         100000 kB\nMemAvailable:   2048000 kB",
		"proc/self/cgroup":    "0::/",
	}
	for _, s := range Settings() {
		files["proc/sys/"+strings.ReplaceAll(s.Name, ".", "/")] = strings.ReplaceAll(s.Value, " ", "\t")
	}
	return files
}

// goodSystem has nothing to find fault with; change spoils it.
func goodSystem(change func(s *System, files map[string]string)) System {
	files := goodFiles()
	s := System{
		Files:      func() (int, int, error) { return OpenFiles, OpenFiles, nil },
		Clock:      func() (Clock, error) { return Clock{Synchronised: true, Off: 3 * time.Millisecond}, nil },
		Disk:       func(string) (Disk, error) { return Disk{Kind: "ext4", Free: 10 << 30}, nil },
		Now:        func() time.Time { return noon },
		Host:       "here",
		Processors: 2, MemoryLimit: math.MaxInt64,
	}
	if change != nil {
		change(&s, files)
	}
	s.Root = tree(files)
	return s
}

// options are for a configuration of one file, read as serve reads it.
func options(t *testing.T, yaml string) Options {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "tocsin.yaml")
	yaml = "data: " + filepath.Join(dir, "data") + "\nlisten: 127.0.0.1:0\n" + yaml
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := egress.NewPolicy(cfg.Egress.Rules())
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Config: cfg, System: goodSystem(nil), Policy: policy, PublicURL: "https://status.example.com",
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if strings.HasSuffix(host, ".example.com") {
				return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
			}
			return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
		},
		Broker: func(context.Context) Broker { return Broker{Product: "RabbitMQ", Version: "3.13.1", Queues: 7} },
		Relay: func(context.Context, string) Relay {
			return Relay{Encrypted: true, Certificate: noon.AddDate(1, 0, 0), LoggedIn: true, Pipelining: true}
		},
		Centre: func(context.Context, string) Centre { return Centre{Connected: true, Bound: true, Unbound: true} },
	}
}

// examine returns the findings by their checks.
func examine(t *testing.T, o Options) map[string]Finding {
	t.Helper()
	byName := make(map[string]Finding)
	for _, f := range Examine(t.Context(), o, time.Minute) {
		if _, twice := byName[f.Check]; twice {
			t.Errorf("there are two findings of %q", f.Check)
		}
		byName[f.Check] = f
		if (f.Result == Warning || f.Result == Failure) && (f.Found == "" || f.Wanted == "" || f.Effect == "" || f.Fix == "") {
			t.Errorf("not all is said: %+v", f)
		}
		if f.Found == "" || (f.Result == OK || f.Result == Skipped) && f.Effect+f.Fix != "" {
			t.Errorf("too little or too much is said: %+v", f)
		}
	}
	return byName
}

func wantFinding(t *testing.T, f Finding, r Result, found string) {
	t.Helper()
	if f.Result != r || !strings.Contains(f.Found, found) {
		t.Errorf("%s: %s %q, want %s with %q", f.Check, f.Result, f.Found, r, found)
	}
}

var errBroken = errors.New("broken")
