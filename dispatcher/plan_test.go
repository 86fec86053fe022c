package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/queue"
)

func counter() func() int64 {
	n := int64(0)
	return func() int64 { n++; return n }
}

func everyGroup(string) bool { return true }

func TestBuildPage(t *testing.T) {
	now := time.Now()
	p := &Plan{Incident: 7, Sequence: 2, Highest: incident.ImpactMajor, AcceptedAt: now.Add(-time.Second), ExpiresAt: now.Add(time.Hour)}
	a := &AudiencePage{Cursor: "c", Last: true, Revision: 42}
	for i := range int64(250) {
		group := "webhook"
		if i%5 == 0 {
			group = "smtp:main"
		}
		a.Targets = append(a.Targets, Audient{Target: i + 1, Group: group, Provider: fmt.Sprint(i), Secrets: []string{"s"}})
	}
	a.Targets[3].Since, a.Targets[3].Waiting = now.Add(-time.Minute), []int{1}
	a.Targets[4].EveryUpdate, a.Targets[4].Waiting = true, []int{1}
	page := buildPage(p, a, now, counter(), everyGroup)

	sizes := map[string][]int{}
	seen := map[int64]bool{}
	for _, b := range page.Batches {
		sizes[b.Group] = append(sizes[b.Group], len(b.Deliveries))
		if b.Incident != 7 || b.Sequence != 2 || !b.Urgent || b.Revision != 42 || !b.AcceptedAt.Equal(p.AcceptedAt) || b.Verify {
			t.Fatalf("batch %+v", b)
		}
		for _, d := range b.Deliveries {
			if seen[d.Target] {
				t.Fatalf("target %d is planned twice", d.Target)
			}
			seen[d.Target] = true
			if want := now; d.Target != 4 && !d.Since.Equal(want) || d.Target == 4 && !d.Since.Equal(now.Add(-time.Minute)) {
				t.Fatalf("target %d waits since %v", d.Target, d.Since)
			}
		}
	}
	if got := fmt.Sprint(sizes["webhook"], sizes["smtp:main"]); got != "[100 100] [50]" {
		t.Errorf("batch sizes %s", got)
	}
	if len(seen) != 250 || page.Cursor != "c" || !page.Last {
		t.Errorf("%d planned, cursor %q, last %v", len(seen), page.Cursor, page.Last)
	}
	if want := (Row{7, 4, 1}); len(page.Superseded) != 1 || page.Superseded[0] != want {
		t.Errorf("superseded %v, want only %v: the other target wants every update", page.Superseded, want)
	}
}

func TestPlannerTurns(t *testing.T) {
	p := newPlanner()
	plan := func(incidentKey int64, sequence int, impact incident.Impact) *Plan {
		pl := &Plan{Incident: incidentKey, Sequence: sequence, Highest: impact}
		p.add(pl)
		return pl
	}
	a1 := plan(1, 1, incident.ImpactMinor)
	a2 := plan(1, 2, incident.ImpactCritical)
	b := plan(2, 1, incident.ImpactMinor)
	p.add(&Plan{Incident: 2, Sequence: 1}) // again: a duplicate that resumes
	if len(p.active) != 3 {
		t.Fatalf("%d plans", len(p.active))
	}
	expect := func(want *Plan, finished bool) {
		t.Helper()
		got := p.next()
		if got != want {
			t.Fatalf("turn of incident %d sequence %d", got.Incident, got.Sequence)
		}
		p.turn(got, finished)
	}
	expect(a1, false) // the urgent one may not precede the incident's first
	expect(b, false)  // pages take turns
	expect(a1, true)
	expect(a2, false) // urgent: before b, as long as it takes
	expect(a2, true)
	expect(b, true)
	if p.next() != nil {
		t.Fatal("a finished plan is still there")
	}
}

func TestRebatch(t *testing.T) {
	now := time.Now()
	policy := func(_, provider string) ProviderPolicy {
		if provider == "slow" {
			p := wide
			p.Limit.PerSecond = 1
			return p
		}
		return wide
	}
	row := func(target int64, change ...func(*DueRow)) DueRow {
		r := DueRow{
			Row: Row{1, target, 1}, Audient: Audient{Target: target, Group: "webhook", Provider: "a", Since: now.Add(-time.Minute)},
			Attempt: 2, AcceptedAt: now.Add(-time.Minute), ExpiresAt: now.Add(time.Hour), Revision: 5,
		}
		for _, c := range change {
			c(&r)
		}
		return r
	}
	rows := []DueRow{
		row(1),
		row(2, func(r *DueRow) { r.Newer = true }),
		row(3, func(r *DueRow) { r.Newer, r.EveryUpdate = true, true }),
		row(4, func(r *DueRow) { r.Blocked, r.EveryUpdate = true, true }),
		row(5, func(r *DueRow) { r.Inactive = "target paused" }),
		row(6, func(r *DueRow) { r.ExpiresAt = now }),
		row(7, func(r *DueRow) { r.Sequence = 2 }),
		row(8, func(r *DueRow) { r.Group = "smtp:main" }),
	}
	for i := range int64(25) {
		rows = append(rows, row(100+i, func(r *DueRow) { r.Provider = "slow" }))
	}
	p := newPacer(policy)
	batches, postponed, closed := rebatch(rows, now, p, counter(), everyGroup)

	outcomes := map[int64]Outcome{}
	for _, c := range closed {
		outcomes[c.Target] = c.Outcome
	}
	if len(outcomes) != 3 || outcomes[2] != Superseded || outcomes[5] != Suppressed || outcomes[6] != Expired {
		t.Errorf("closed %v", outcomes)
	}
	sent := map[int64]*queue.Batch{}
	for _, b := range batches {
		for _, d := range b.Deliveries {
			sent[d.Target] = b
			if d.Attempt != 2 || !d.Since.Equal(now.Add(-time.Minute)) {
				t.Errorf("delivery %+v lost its past", d)
			}
		}
		if !b.Verify || b.Revision != 5 {
			t.Errorf("batch %+v", b)
		}
	}
	if sent[1] == nil || sent[1] != sent[3] || sent[7] == sent[1] || sent[7].Sequence != 2 || sent[8].Group != "smtp:main" {
		t.Errorf("batched %v", sent)
	}
	var last time.Time
	slow := 0
	for _, po := range postponed {
		if po.Target == 4 {
			continue
		}
		slow++
		if po.DueAt.Sub(now) < paceAhead || !po.DueAt.After(last) {
			t.Errorf("target %d comes back at +%v, after +%v", po.Target, po.DueAt.Sub(now), last.Sub(now))
		}
		last = po.DueAt
	}
	if slow != 15 {
		t.Errorf("%d of 25 postponed at 1/s, want all but the next ten seconds' 10", slow)
	}

	// The postponed come back when they were told to, and go then.
	later := now
	for _, po := range postponed {
		if po.Target == 4 {
			continue
		}
		later = po.DueAt
		again, wait, _ := rebatch([]DueRow{row(po.Target, func(r *DueRow) { r.Provider = "slow" })}, later, p, counter(), everyGroup)
		if len(again) != 1 || len(wait) != 0 {
			t.Fatalf("target %d was put off again at +%v", po.Target, later.Sub(now))
		}
	}
	p.forget(later.Add(time.Minute))
	if len(p.providers) != 0 {
		t.Errorf("%d providers are remembered for nothing", len(p.providers))
	}
}

func TestBatchIDsGrowAndDiffer(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	a, b := batchIDs{now: clock, epoch: 1}, batchIDs{now: clock, epoch: 2}
	seen := map[int64]bool{}
	last := int64(0)
	for i := range 10_000 { // more than a millisecond's counter holds
		if i == 5000 {
			now = now.Add(-time.Hour) // the clock steps back
		}
		for _, id := range []int64{a.next(), b.next()} {
			if id <= 0 || seen[id] {
				t.Fatalf("id %d", id)
			}
			seen[id] = true
		}
		id := a.next()
		if id <= last {
			t.Fatalf("id %d after %d", id, last)
		}
		seen[id], last = true, id
	}
}

func TestLatest(t *testing.T) {
	l := newLatest()
	if !l.maybeNewer(1, 1) {
		t.Error("what isn't known counts as unchanged")
	}
	l.note(1, 2)
	l.note(1, 1)
	if l.maybeNewer(1, 2) || !l.maybeNewer(1, 1) {
		t.Error("the newest sequence is not kept")
	}
	for i := range int64(latestKept + 5) {
		l.note(100+i, 1)
	}
	if len(l.seq) != latestKept || len(l.order) != latestKept {
		t.Errorf("keeps %d, %d", len(l.seq), len(l.order))
	}
	if !l.maybeNewer(1, 2) {
		t.Error("a forgotten incident counts as unchanged")
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Base: 2 * time.Second, Cap: time.Hour}
	for n, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 11: 2048 * time.Second, 12: time.Hour, 1000: time.Hour} {
		if got := b.Ceiling(n); got != want {
			t.Errorf("ceiling after %d is %v, want %v", n, got, want)
		}
	}
	r := DefaultOptions()
	if err := r.check(&Ports{}); err == nil {
		t.Error("options without ports pass")
	}
}
