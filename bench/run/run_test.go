package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain makes the test binary the programs that are run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "program" {
		program(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

func program(kind string) {
	in := bufio.NewScanner(os.Stdin)
	switch kind {
	case "echo":
		for in.Scan() {
			fmt.Println(in.Text())
		}
	case "fail":
		fmt.Fprintln(os.Stderr, "there is no tea")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour) // select {} would be a deadlock, of which the runtime ends it
	case "work":
		held := make([]byte, 64<<20)
		fmt.Println("ready")
		in.Scan()
		var used syscall.Rusage
		for used.Utime.Nano() < int64(300*time.Millisecond) {
			for i := 0; i < len(held); i += 4096 {
				held[i]++
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &used)
		}
		file, _ := os.Open(os.Args[0])
		fmt.Println("done", held[0])
		in.Scan()
		file.Close()
	}
}

func start(t *testing.T, kind string) *Process {
	t.Helper()
	p, err := Start(Command{Name: kind, Path: os.Args[0], Args: []string{"program", kind}, Env: os.Environ(), Logs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func line(t *testing.T, p *Process) string {
	t.Helper()
	l, err := p.Line(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(l)
}

func TestConversation(t *testing.T) {
	p := start(t, "echo")
	for _, said := range []string{"one", "two"} {
		if err := p.Tell(said); err != nil {
			t.Fatal(err)
		}
		if heard := line(t, p); heard != said {
			t.Errorf("it said %q to %q", heard, said)
		}
	}
	if err := p.Tell("nobody asks for this"); err != nil || p.Died() != nil {
		t.Fatal(err, p.Died())
	}
	if err := p.Wait(t.Context()); err != nil { // its input ends, and so does it
		t.Fatal(err)
	}
	if p.Died() == nil || p.account() == nil {
		t.Error("it does not count as ended")
	}
}

func TestHowProcessesEnd(t *testing.T) {
	t.Run("failure", func(t *testing.T) {
		p := start(t, "fail")
		_, err := p.Line(t.Context())
		exit, ok := errors.AsType[*Exit](err)
		if !ok || exit.Code != 3 || exit.Name != "fail" || !strings.Contains(err.Error(), "there is no tea") {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("SIGTERM", func(t *testing.T) {
		p := start(t, "echo")
		p.Tell("x")
		line(t, p)
		exit, ok := errors.AsType[*Exit](p.Stop(time.Minute))
		if !ok || exit.Code != -1 {
			t.Errorf("it ended with %+v", exit)
		}
	})
	t.Run("SIGKILL after patience", func(t *testing.T) {
		p := start(t, "stubborn")
		line(t, p)
		if err := p.Stop(time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("the end of the context", func(t *testing.T) {
		p := start(t, "stubborn")
		line(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("no program", func(t *testing.T) {
		if _, err := Start(Command{Name: "x", Path: filepath.Join(t.TempDir(), "no"), Logs: t.TempDir()}); err == nil {
			t.Error("what isn't there was started")
		}
	})
}

func TestTheWordsOfAnEarlierProcessAreNotTheLast(t *testing.T) {
	logs := t.TempDir()
	var last error
	for _, kind := range []string{"fail", "stubborn"} {
		p, err := Start(Command{Name: "same", Path: os.Args[0], Args: []string{"program", kind}, Env: os.Environ(), Logs: logs})
		if err != nil {
			t.Fatal(err)
		}
		if kind == "stubborn" {
			line(t, p)
			p.Kill()
		}
		last = p.Wait(t.Context())
	}
	if last == nil || strings.Contains(last.Error(), "tea") {
		t.Errorf("it ended with %v", last)
	}
	if log, err := os.ReadFile(filepath.Join(logs, "same.log")); err != nil || !strings.Contains(string(log), "tea") {
		t.Errorf("the log has %q, %v", log, err)
	}
}

func TestWatch(t *testing.T) {
	p := start(t, "work")
	line(t, p)
	w := Observe(p)
	if err := p.Tell("go"); err != nil {
		t.Fatal(err)
	}
	if l := line(t, p); !strings.HasPrefix(l, "done") {
		t.Fatal(l)
	}
	cost := w.End()
	u := cost.Processes["work"]
	if u.UserS < 0.2 || u.CPUS() > 60 {
		t.Errorf("%v s of CPU for 0.3 s of work", u.CPUS())
	}
	if u.PeakRSSMB < 64 || u.PeakRSSMB > 1024 {
		t.Errorf("%v MB for 64", u.PeakRSSMB)
	}
	if u.MaxFDs < 4 || len(u.Series) < 2 || u.Switches+u.Preempted == 0 {
		t.Errorf("%+v", u)
	}
	if cost.ForeignPercent < 0 || cost.ForeignPercent > 100 {
		t.Errorf("others took %v %%", cost.ForeignPercent)
	}
	// What was before a phase is not of it.
	if u := func() Usage { w := Observe(p); return w.End().Processes["work"] }(); u.CPUS() > 0.1 {
		t.Errorf("an idle phase cost %v s", u.CPUS())
	}
}

func TestWatchOfWhatEnds(t *testing.T) {
	p := start(t, "work")
	line(t, p)
	w := Observe(p)
	p.Tell("go")
	line(t, p)
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u := w.End().Processes["work"]; u.CPUS() < 0.1 || u.PeakRSSMB < 64 {
		t.Errorf("%v s of CPU, %v MB", u.CPUS(), u.PeakRSSMB)
	}
}

func TestDescendant(t *testing.T) {
	p := start(t, "stubborn")
	line(t, p)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	if pid := Descendant(strings.TrimSpace(string(comm))); pid != p.pid() {
		t.Errorf("pid %d, want %d", pid, p.pid())
	}
	if pid := Descendant("no such program"); pid != 0 {
		t.Errorf("pid %d", pid)
	}
}

func TestParseCPU(t *testing.T) {
	user, sys := parseCPU([]byte("42 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1"))
	if user != 2.5 || sys != 0.5 {
		t.Errorf("%v, %v", user, sys)
	}
	if user, sys := parseCPU([]byte("nonsense")); user != 0 || sys != 0 {
		t.Errorf("%v, %v of nonsense", user, sys)
	}
}

func TestSeriesStayBounded(t *testing.T) {
	p := &watched{}
	for i := range maxSamples {
		p.take(time.Duration(i)*time.Second, account{rssMB: float64(i)})
	}
	p.thin()
	if n := len(p.usage.Series); n != maxSamples/2 || p.usage.Series[1].AtS != 2 {
		t.Errorf("%d samples, the second at %v s", n, p.usage.Series[1].AtS)
	}
}

func TestMachine(t *testing.T) {
	m := ReadMachine()
	if m.Cores < 1 || m.MemoryMB < 1 || m.Limits.Files < 1 || m.Limits.Ports < 1 || m.Kernel == "" {
		t.Errorf("%+v", m)
	}
	if !strings.Contains(m.String(), m.Kernel) {
		t.Error(m.String())
	}
}
