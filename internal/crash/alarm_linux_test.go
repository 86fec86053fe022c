package crash

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An alarm: the broker takes nothing from those who publish. The intake says so,
// what the workers hold goes out, and nothing is lost or comes twice.
func TestFault_04_MemoryAlarm(t *testing.T) {
	underAlarm(t, []string{"set_vm_memory_high_watermark", "absolute", "1MB"}, []string{"set_vm_memory_high_watermark", "0.4"})
}

func TestFault_05_DiskAlarm(t *testing.T) {
	underAlarm(t, []string{"set_disk_free_limit", "1000000GB"}, []string{"set_disk_free_limit", "50MB"})
}

func underAlarm(t *testing.T, begin, end []string) {
	broker := faultBroker(t)
	tr := beginWith(t, broker.URL(), mixForFaults, time.Hour, few, nil)
	tr.publishNow(20)
	if _, err := broker.Ctl(t.Context(), begin...); err != nil {
		t.Fatal(err)
	}
	next := tr.next()
	tr.refused(next, http.StatusServiceUnavailable)
	tr.unready("broker", "alarm")
	told := tr.updates[len(tr.updates)-2]
	eventually(t, "what the workers hold goes out", 20*time.Millisecond, func(context.Context) (bool, error) { return tr.took(told) == few, nil })
	eventually(t, "the broker is told that all is done", 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		depths, err := broker.Ctl(ctx, "list_queues", "--silent", "messages")
		return err == nil && strings.Trim(depths, "0\n") == "", fmt.Errorf("the queues hold %q (%w)", depths, err)
	})
	tr.besiege()
	if _, err := broker.Ctl(t.Context(), end...); err != nil {
		t.Fatal(err)
	}
	tr.accept(next)
	tr.judge()
}

// besiege offers 500 large events from 20 sides to an intake that takes none. Each is
// refused, and the engine keeps nothing of them: its memory grows by less than their
// 100 MB, however many of the 20 it has to read at once. They are for nobody: what the
// broker was given without a word of its own it may have in the end.
func (tr *trial) besiege() {
	tr.t.Helper()
	const sides, each, most = 20, 25, 80.0
	before, _ := tr.engine.process.Look()
	body := fmt.Appendf(nil, `{"incident_id":"REFUSED","page":"other","status":"investigating","impact":"minor","affected_components":[],
		"started_at":"2026-11-21T05:00:00Z","details":{"filler":%q}}`, strings.Repeat("x", 200<<10))
	var offers sync.WaitGroup
	grown := make([]float64, sides)
	begun := time.Now()
	for side := range sides {
		offers.Go(func() {
			for range each {
				if time.Since(begun) > patience {
					tr.t.Error("R: it takes too long to refuse events")
					return
				}
				response, answer, err := tr.offer(&update{body: body})
				if err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
					tr.t.Errorf("A: an event that can't be taken is answered %v: %s", err, answer)
					return
				}
				now, _ := tr.engine.process.Look()
				grown[side] = max(grown[side], now.RSSMB-before.RSSMB)
			}
		})
	}
	offers.Wait()
	if g := slices.Max(grown); g > most {
		tr.t.Errorf("R: the engine's memory grew by %.0f MB", g)
	} else {
		tr.t.Logf("the engine's memory grew by %.0f MB", g)
	}
}
