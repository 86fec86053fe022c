package crash

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/testenv"
)

// An engine is killed whenever it sends to one of its targets. After a few deaths that
// delivery alone is given up, everybody else was told; an operator finds it and, once
// its receiver is mended, has it sent again.
func TestFault_14_PoisonDelivery_Embedded(t *testing.T) { poisonDelivery(t, "sqlite") }
func TestFault_14_PoisonDelivery_RabbitMQ(t *testing.T) { poisonDelivery(t, testenv.Vhost(t)) }

// poison is a receiver that its senders don't survive.
type poison struct {
	*httptest.Server
	taken chan struct{}
	cured atomic.Bool
}

func newPoison(t *testing.T) *poison {
	p := &poison{taken: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || p.cured.Load() { // read, else a hang-up goes unnoticed
			return
		}
		select {
		case p.taken <- struct{}{}:
			<-r.Context().Done() // the sender's end
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func poisonDelivery(t *testing.T, queue string) {
	t.Parallel()
	p := newPoison(t)
	tr := beginWith(t, queue, "slow=10:100ms-300ms", time.Hour, few, func(e *engine) {
		e.allow(strings.TrimPrefix(p.URL, "http://"))
	})
	if err := tr.api.importTargets(t.Context(), strings.NewReader(`{"channel":"webhook","address":"`+p.URL+`/poison"}`), 1); err != nil {
		t.Fatal(err)
	}
	if err := <-tr.publishNext(); err != nil {
		t.Fatal(err)
	}
	deaths := 0
	ended := func(delivered, dead int) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			select {
			case <-p.taken:
				tr.engine.kill()
				tr.engine.start()
				if deaths++; deaths > 14 {
					t.Fatal("14 engines died of one delivery")
				}
				tr.awaitReady()
			default:
			}
			updates, err := tr.api.incident(ctx, tr.updates[0].incident)
			if err != nil || len(updates) == 0 {
				return false, err
			}
			by := updates[0].Progress["webhook"]
			return by["delivered"] == delivered && by["dead"] == dead && by["open"] == 0, nil
		}
	}
	eventually(t, "all others are told, and the poison is given up", 20*time.Millisecond, ended(few, 1))
	if !strings.Contains(tr.engine.logged(), "a delivery is given up") {
		t.Error("the log doesn't say that a delivery was given up")
	}
	table := tr.command("parked", "list")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], "delivery of CRASH-1, sequence 1") {
		t.Fatalf("after %d deaths this is parked:\n%s", deaths, table)
	}
	id, _, _ := strings.Cut(lines[1], " ")
	if shown := tr.command("parked", "show", id); !strings.Contains(shown, "the process died 4 times while it was sent") {
		t.Errorf("shown as %s", shown)
	}
	p.cured.Store(true)
	tr.command("parked", "return", id)
	eventually(t, "it is told once it is mended", 20*time.Millisecond, ended(few+1, 0))
	if table := tr.command("parked", "list"); strings.Count(table, "\n") != 1 {
		t.Errorf("still parked:\n%s", table)
	}
	told := make(map[int]bool)
	for _, r := range tr.peers.Receipts() {
		told[r.Target] = told[r.Target] || r.Accepted()
	}
	if len(told) != few {
		t.Errorf("%d of %d others were told, after %d deaths", len(told), few, deaths)
	}
	t.Logf("%d deaths", deaths)
}

// command runs tocsin beside the engine, with its configuration, and returns what it
// prints.
func (tr *trial) command(args ...string) string {
	tr.t.Helper()
	cmd := exec.Command(os.Getenv(engineVariable), append(args, "--config", tr.engine.config)...)
	cmd.Env = tr.engine.environ
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tr.t.Fatalf("tocsin %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
