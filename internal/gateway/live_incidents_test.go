package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/store"
)

// history is played: to count one incident takes some time of its clock.
type history struct {
	History
	asked   atomic.Int32
	list    []store.Incident
	updates map[string][]store.Update
	takes   time.Duration
	fails   bool
	now     time.Time
	counted []string // since it was last looked at
}

func (h *history) clock() time.Time { return h.now }

func (h *history) Incidents(_ context.Context, _ string, _ incident.Status, _ int64, limit int) ([]store.Incident, error) {
	h.asked.Add(1)
	return h.list[:min(limit, len(h.list))], nil
}

func (h *history) Incident(_ context.Context, _, id string) (*store.Incident, []store.Update, error) {
	h.counted = append(h.counted, id)
	h.now = h.now.Add(h.takes)
	for i := range h.list {
		if h.list[i].IncidentID == id && !h.fails {
			return &h.list[i], h.updates[id], nil
		}
	}
	return nil, nil, errors.New("hush")
}

// add makes an incident the newest; its one update has so many open deliveries.
func (h *history) add(id string, open int) {
	h.list = append([]store.Incident{{Key: int64(len(h.list) + 1), Page: "default", IncidentID: id, Sequence: 1}}, h.list...)
	if h.updates == nil {
		h.updates = make(map[string][]store.Update)
	}
	h.updates[id] = []store.Update{{Sequence: 1, PlannedAt: now, Progress: map[string]map[dispatcher.Outcome]int{
		"webhook": {dispatcher.Delivered: 7, dispatcher.Open: open}}}}
}

// read reads once and returns which were counted for it.
func (h *history) read(t *testing.T, c *chronicle) (counted string, shown []liveIncidentJSON) {
	t.Helper()
	h.counted = nil
	shown, err := c.read(t.Context(), h, h.clock)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(h.counted, " "), shown
}

func TestWhatIsFinishedIsCountedSeldom(t *testing.T) {
	h, c := &history{now: now}, newChronicle()
	h.add("done", 0)
	h.add("busy", 3)
	step := func(passes time.Duration, want string) []liveIncidentJSON {
		t.Helper()
		h.now = h.now.Add(passes)
		counted, shown := h.read(t, c)
		if counted != want {
			t.Errorf("counted are %q, want %q", counted, want)
		}
		return shown
	}
	step(0, "busy done")
	step(time.Second, "busy")
	h.updates["busy"] = []store.Update{{Sequence: 1, PlannedAt: now}}
	step(time.Second, "busy")
	step(time.Second, "")
	if shown := step(time.Second, ""); shown[1].CountedAt == nil || len(shown[1].Incident.Updates) != 1 {
		t.Errorf("what is kept is shown as %+v", shown[1])
	}
	h.list[1].Sequence = 2 // with an update that is not planned yet
	h.updates["done"] = append([]store.Update{{Sequence: 2}}, h.updates["done"]...)
	step(time.Second, "done")
	step(time.Second, "done")
	h.list[1].Stopped = true
	step(time.Second, "done")
	step(time.Second, "")
	step(recountEvery, "busy done")
	h.fails, h.list[0].Sequence = true, 2
	if shown := step(time.Second, "busy"); len(shown[0].Incident.Updates) != 1 {
		t.Errorf("what can't be counted is shown as %+v", shown[0])
	}
}

// TestCountingTakesATwentiethOfTheTime shows ten large incidents for a minute.
func TestCountingTakesATwentiethOfTheTime(t *testing.T) {
	h, c := &history{now: now, takes: 40 * time.Millisecond}, newChronicle()
	for n := range liveIncidents + 2 {
		h.add(fmt.Sprint("INC-", n), 1)
	}
	counted, shown := h.read(t, c)
	if counted != "INC-11 INC-10 INC-9" || shown[2].CountedAt == nil || shown[3].CountedAt != nil || shown[3].Incident.IncidentID != "INC-8" {
		t.Errorf("at first %q are counted, and %q is fourth", counted, shown[3].Incident.IncidentID)
	}
	if len(shown) != liveIncidents {
		t.Errorf("%d are shown", len(shown))
	}
	times := make(map[string]int)
	total := 0
	for range 60 {
		h.now = h.now.Add(time.Second)
		h.read(t, c)
		for _, id := range h.counted {
			times[id]++
			total++
		}
	}
	if spent := time.Duration(total) * h.takes; spent < 2*time.Second || spent > 3300*time.Millisecond {
		t.Errorf("in a minute counting took %v", spent)
	}
	for _, i := range h.list[:liveIncidents] {
		if n := times[i.IncidentID]; n < total/liveIncidents-1 || n > total/liveIncidents+1 {
			t.Errorf("of %d counts %s had %d", total, i.IncidentID, n)
		}
	}
	h.list = h.list[liveIncidents:]
	if h.read(t, c); len(c.accounts) > len(h.list) {
		t.Errorf("%d accounts are kept of %d incidents", len(c.accounts), len(h.list))
	}
}

func TestAllowance(t *testing.T) {
	a := allowance{}
	if !a.has(now) {
		t.Error("there is none at the beginning")
	}
	a.spend(time.Second) // overdrawn by 0.9 s: 18 s of earning
	if a.has(now.Add(18 * time.Second)) {
		t.Error("debts are forgotten")
	}
	if !a.has(now.Add(18*time.Second + time.Millisecond)) {
		t.Error("nothing is earned")
	}
	if a.has(now.Add(time.Hour)); a.left != countingSavings {
		t.Errorf("%v were saved in an hour", a.left)
	}
	if a.has(now); a.left != countingSavings { // the clock was set back
		t.Errorf("%v are left after the clock was set back", a.left)
	}
}

func TestOnlySoMuchOfAnIncidentIsShown(t *testing.T) {
	h, c := &history{now: now}, newChronicle()
	h.add("long", 0)
	for n := 2; n <= liveUpdates+3; n++ {
		h.updates["long"] = append([]store.Update{{Sequence: n, PlannedAt: now, Message: strings.Repeat("ü", 1000)}}, h.updates["long"]...)
	}
	_, shown := h.read(t, c)
	updates := shown[0].Incident.Updates
	if len(updates) != liveUpdates || updates[0].Sequence != liveUpdates+3 || shown[0].EarlierUpdates != 3 {
		t.Errorf("%d updates are shown, and %d left out", len(updates), shown[0].EarlierUpdates)
	}
	if m := updates[0].Message; utf8.RuneCountInString(m) != liveMessage+1 || !utf8.ValidString(m) || !strings.HasSuffix(m, "ü…") {
		t.Errorf("the message is %q", m)
	}
	if text := strings.Repeat("ü", liveMessage); beginning(text, liveMessage) != text {
		t.Error("what is short enough is cut")
	}
}
