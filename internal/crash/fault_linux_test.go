package crash

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/testenv"
)

// The rows of the fault matrix (docs/reliability.md) that need a whole engine: a
// process of its own, real sockets, a real broker. They are judged as crashes are,
// by what the peers received.
const (
	few = 300
	// some are slow, so that a fault finds requests under way; some fail at first,
	// so that it finds retries.
	mixForFaults = "slow=30:200ms-700ms,500=5:x3,429=2:1s:x2"
)

// faultBroker starts a broker that may be harmed; it wants a sign of life every two
// seconds. The test runs beside others.
func faultBroker(t *testing.T) *testenv.RabbitMQ {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a broker of its own")
	}
	t.Parallel()
	broker, err := testenv.StartRabbitMQ(t.Context(), testenv.Options{Heartbeat: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker
}

// told waits until so many targets took the newest update.
func (tr *trial) told(n int) {
	tr.t.Helper()
	newest := tr.updates[len(tr.updates)-1]
	eventually(tr.t, fmt.Sprintf("%d were told of %s", n, newest.id), 5*time.Millisecond, func(context.Context) (bool, error) {
		took := tr.took(newest)
		return took >= n, fmt.Errorf("%d were", took)
	})
}

// took counts who took an update.
func (tr *trial) took(u *update) (n int) {
	for _, r := range tr.peers.Receipts() {
		if u.is(r) && r.Accepted() {
			n++
		}
	}
	return n
}

// publishNow publishes the next update, waits until it is accepted, and until so
// many were told of it.
func (tr *trial) publishNow(toldOf int) {
	tr.t.Helper()
	if err := <-tr.publishNext(); err != nil {
		tr.t.Fatal(err)
	}
	tr.told(toldOf)
}

// offer posts an update once.
func (tr *trial) offer(u *update) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(tr.t.Context(), http.MethodPost, tr.api.base+"/v1/incidents", bytes.NewReader(u.body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := tr.api.http.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response, string(answer), err
}

// refused offers an update until the intake says no to it, as it has to at once or
// nearly: with this status, in the words of problem+json, and when to come again.
func (tr *trial) refused(u *update, status int) {
	tr.t.Helper()
	eventually(tr.t, "the intake says no", 50*time.Millisecond, func(context.Context) (bool, error) {
		response, answer, err := tr.offer(u)
		switch {
		case err != nil:
			return false, err
		case response.StatusCode == http.StatusAccepted:
			return false, errors.New("it says yes") // and the event is kept
		case response.StatusCode != status || response.Header.Get("Retry-After") == "" || response.Header.Get("Content-Type") != "application/problem+json":
			tr.t.Fatalf("an event that can't be taken is answered %s, %v: %s", response.Status, response.Header, answer)
		}
		return true, nil
	})
}

// accept publishes an update until it is accepted.
func (tr *trial) accept(u *update) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	if err := tr.publish(ctx, u); err != nil {
		tr.t.Fatal(err)
	}
}

// unready waits until the engine says of one part that it is in trouble, and checks
// that it says so of no other.
func (tr *trial) unready(part, why string) {
	tr.t.Helper()
	eventually(tr.t, part+" is not ready: "+why, 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		var problem string
		err := tr.api.get(ctx, "/readyz", nil)
		if err == nil {
			return false, nil
		}
		_, body, found := strings.Cut(err.Error(), "{")
		var view struct{ Parts map[string]string }
		if !found || json.Unmarshal([]byte("{"+body), &view) != nil {
			return false, err
		}
		for name, state := range view.Parts {
			if name == part {
				problem = state
			} else if state != "ok" {
				tr.t.Fatalf("%s is said to be in trouble, and is not: %s", name, state)
			}
		}
		return strings.Contains(problem, why), err
	})
}

func TestFault_02_BrokerRestarted(t *testing.T) {
	broker := faultBroker(t)
	tr := beginWith(t, broker.URL(), mixForFaults, time.Hour, few, nil)
	tr.publishNow(20)
	if err := broker.StopGraceful(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.unready("broker", "")
	next := tr.next()
	tr.refused(next, http.StatusServiceUnavailable)
	if err := broker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.accept(next)
	tr.judge()
}

// A broker that is there and says nothing. The engine notices after one silent
// heartbeat, not after the three of its AMQP client, and stands back: it takes no
// events, gives itself out as not ready, receives and acks nothing of that
// connection any more.
func TestFault_06_BrokerBlackHoled(t *testing.T) {
	broker := faultBroker(t)
	proxy, url := testenv.NewProxy(t, broker.URL())
	tr := beginWith(t, url, mixForFaults, time.Hour, few, nil)
	tr.publishNow(20)
	proxy.Freeze()
	next := tr.next()
	tr.refused(next, http.StatusServiceUnavailable)
	tr.unready("broker", "")
	eventually(t, "the silence is why", 20*time.Millisecond, func(context.Context) (bool, error) {
		return strings.Contains(tr.engine.logged(), "nothing was heard of the broker for"), nil
	})
	proxy.Thaw()
	tr.accept(next)
	tr.judge()
}

// A worker that is frozen, given up by its broker, and wakes. While it sleeps nobody
// else can have its ledger; nothing starts; what it was sending counts as in flight at
// a kill. What it wakes up to is not taken for the present: a newer update that came
// meanwhile is not overtaken.
func TestFault_10_ZombieWorker(t *testing.T) {
	broker := faultBroker(t)
	tr := beginWith(t, broker.URL(), mixForFaults, time.Hour, few, nil)
	tr.publishTo(broker.URL())
	tr.publishNow(20)
	asleep := time.Now()
	tr.engine.signal(syscall.SIGSTOP)
	open, err := tr.openRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := tr.next()
	tr.accept(next) // by the broker
	eventually(t, "the broker gives the sleeper up", 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		connections, err := broker.Ctl(ctx, "list_connections", "--silent", "client_properties")
		return err == nil && !strings.Contains(connections, "tocsin default consume"), err
	})
	soon, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	second := exec.CommandContext(soon, os.Getenv(engineVariable), "serve", "--config", tr.engine.config, "--listen", "127.0.0.1:0")
	second.Env = tr.engine.environ
	if out, err := second.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("in use by process")) {
		t.Errorf("a second engine on the sleeper's ledger ended with %v and said:\n%s", err, out)
	}
	tr.engine.signal(syscall.SIGCONT)
	tr.kills = append(tr.kills, kill{asleep, time.Now(), open})
	tr.judge()
}

// SIGTERM in the middle: nothing is sent twice and nothing lost. A second one ends
// the process at once, which is a kill.
func TestFault_31_StoppedMidFanOut_Embedded(t *testing.T) { stoppedMidFanOut(t, "sqlite") }
func TestFault_31_StoppedMidFanOut_RabbitMQ(t *testing.T) { stoppedMidFanOut(t, testenv.Vhost(t)) }

func stoppedMidFanOut(t *testing.T, queue string) {
	t.Parallel()
	tr := beginWith(t, queue, mixForFaults, time.Hour, few, nil)
	tr.publishNow(20)
	tr.engine.stop()
	tr.engine.start()
	tr.awaitReady()
	tr.publishNow(20)
	at := time.Now()
	tr.engine.signal(syscall.SIGTERM)
	eventually(t, "the engine is stopping", time.Millisecond, func(context.Context) (bool, error) {
		return strings.Count(tr.engine.logged(), `"msg":"stopping`) == 2, nil
	})
	_ = tr.engine.process.Signal(syscall.SIGTERM) // fails if the slow ones have answered meanwhile, and it has ended
	<-tr.engine.ended
	tr.drain()
	over := time.Now()
	open, err := tr.openRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tr.kills = append(tr.kills, kill{at, over, open})
	tr.engine.start()
	tr.judge()
}

// Another program has the store locked: what was published waits for its answer,
// readiness says why, and once the lock is gone everything goes on.
func TestFault_17_StoreLocked(t *testing.T) {
	t.Parallel()
	tr := beginWith(t, "sqlite", mixForFaults, time.Hour, few, nil)
	tr.publishNow(20)
	other, err := sql.Open("sqlite", filepath.Join(tr.engine.data, "tocsin.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	eventually(t, "the lock is had", time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := other.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err == nil, err
	})
	accepted := tr.publishNext()
	tr.unready("store", "")
	select {
	case err := <-accepted:
		t.Errorf("an event was acknowledged that can't have been written: %v", err)
	default:
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	tr.judge()
}

// The disk is full: the intake answers 507 and when to come again, readiness says
// why, results wait in memory. With room again everything goes on, whole.
func TestFault_17_DiskFull(t *testing.T) {
	t.Parallel()
	holder, under := smallDisk(t)
	var folder string // as the engine sees it
	tr := beginWith(t, "sqlite", mixForFaults, time.Hour, few, func(e *engine) {
		e.under = under
		e.configure("data: /mnt\n")
		folder = fmt.Sprintf("/proc/%d/root/mnt", holder)
	})
	tr.publishNow(20)
	ballast := filepath.Join(folder, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk ended with: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	next := tr.next()
	tr.refused(next, http.StatusInsufficientStorage)
	tr.unready("store", "full")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	tr.accept(next)
	tr.judge()
	copied := t.TempDir() // SQLite follows the link out of the other's namespace
	for _, name := range []string{"tocsin.db", "tocsin.db-wal"} {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if c, err := sqlitedb.Inspect(t.Context(), copied); err != nil || c.Damage != "" || c.Bytes == 0 {
		t.Errorf("the database afterwards: %+v, %v", c, err)
	}
}

// smallDisk mounts a disk of 48 MB on /mnt, for those alone who are started under the
// command line it returns. holder is who keeps it.
func smallDisk(t *testing.T) (holder int, under []string) {
	t.Helper()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=48m none /mnt && echo mounted && exec cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no small disk without unshare: %v", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // which ends it
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		t.Skipf("no small disk to be had here, TestAFullDatabaseIsUnavailable has the store's side of it: %v %s", err, said.Bytes())
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	return cmd.Process.Pid, []string{"nsenter", "--target", pid, "--user", "--mount", "--preserve-credentials"}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// 64 files are left for connections, and 300 receivers hold theirs for a while:
// dials wait, nothing fails for want of a file.
func TestFault_21_FilesExhausted(t *testing.T) {
	t.Parallel()
	tr := beginWith(t, "sqlite", "slow=100:100ms-400ms", time.Hour, few, func(e *engine) {
		e.under = []string{"prlimit", "--nofile=160:160"}
	})
	tr.publishNow(20)
	tr.publishNow(20)
	tr.judge()
	for _, word := range []string{"too many open files", "EMFILE"} {
		if strings.Contains(tr.engine.logged(), word) {
			t.Errorf("the log has %q", word)
		}
	}
	for _, r := range tr.peers.Receipts() {
		if !r.Accepted() {
			t.Errorf("a request of %d ended with %d", r.Target, r.Status)
		}
	}
}

// 150 MB, and more offered than fits: large events from all sides while 2,000
// connections are held open. The engine sees the limit by itself, takes what it can,
// and the kernel has no reason to end it.
func TestFault_33_MemoryLimit(t *testing.T) {
	t.Parallel()
	folder := memoryGroup(t, 150<<20)
	tr := beginWith(t, "sqlite", "slow=100:500ms-1500ms", time.Hour, Crowd, func(e *engine) {
		e.under = []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, folder}
	})
	if !strings.Contains(tr.engine.logged(), "told of the memory limit") {
		t.Error("the engine doesn't know of its limit")
	}
	tr.publishNow(20)
	filler := strings.Repeat("x", 200<<10)
	var offers sync.WaitGroup
	for n := range 100 {
		body := fmt.Sprintf(`{"incident_id":"BIG-%d","page":"other","status":"investigating","impact":"minor","affected_components":[],
			"started_at":"2026-11-21T05:00:00Z","details":{"filler":%q}}`, n, filler)
		offers.Go(func() {
			response, answer, err := tr.offer(&update{body: []byte(body)})
			if err != nil || response.StatusCode != http.StatusAccepted && response.Header.Get("Retry-After") == "" {
				t.Errorf("an event was answered %v %s (%v)", response, answer, err)
			}
		})
	}
	offers.Wait()
	tr.publishNow(20)
	tr.judge()
}

// memoryGroup makes a control group with that limit.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	const root = "/sys/fs/cgroup"
	file := "memory.max"
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	parent := root
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == "memory" {
			parent, file = filepath.Join(root, "memory", fields[2]), "memory.limit_in_bytes"
		}
	}
	folder, err := os.MkdirTemp(parent, "tocsin-fault-")
	if err != nil {
		t.Skipf("no control group may be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(folder); err != nil { // the engine is gone by then
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(folder, file), strconv.AppendInt(nil, int64(limit), 10), 0o644); err != nil {
		t.Skipf("no memory limit may be set here: %v", err)
	}
	return folder
}
