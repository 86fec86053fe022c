package dispatcher

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// bounded makes a rig that begins at the start of an hour, whose channel has a bound.
func bounded(t *testing.T, b Bound, counted ...HourCount) *rig {
	t.Helper()
	r := newRig(t, func(o *schedulerOptions) {
		o.Budgets, o.Counted = map[string]*Budget{"webhook": {Bound: b}}, counted
	})
	r.now = time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	r.s.base = r.now
	return r
}

// wantOver checks and forgets the settlements so far: they are suppressed for a reason.
func (r *rig) wantOver(detail string, targets ...int64) {
	r.t.Helper()
	if len(r.settled) != len(targets) {
		r.t.Fatalf("settled: %+v\nwant %d", r.settled, len(targets))
	}
	for i, st := range r.settled {
		if st.Target != targets[i] || st.Outcome != Suppressed || st.Detail != detail || st.Accounts != nil {
			r.t.Errorf("settlement %d is target %d: %s, %q; want target %d suppressed, %q", i, st.Target, st.Outcome, st.Detail, targets[i], detail)
		}
	}
	r.settled = nil
}

// inFlight counts what the accounts believe to be under way.
func (r *rig) wantReserved(n int) {
	r.t.Helper()
	if got := r.s.accounts["webhook"].inFlight; got != n {
		r.t.Errorf("%d are reserved, want %d", got, n)
	}
}

func TestAnHourHasNoMoreThanItsBound(t *testing.T) {
	const over = "over budget: at most 3 an hour on this channel"
	r := bounded(t, Bound{PerHour: 3})
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "b"), to(4, "b"), to(5, "b"))
	r.wantFlying(1, 3, 2) // the others wait to see whether these are taken
	r.wantReserved(3)
	r.answer(1, refused) // what was not taken gives its place back
	r.wait(accountPause)
	r.wantFlying(3, 2, 4)
	for _, target := range []int64{3, 2, 4} {
		r.answer(target, ok)
	}
	for _, st := range r.settled {
		if len(st.Accounts) != 1 || st.Accounts[0] != "webhook" {
			t.Errorf("target %d counts on %q", st.Target, st.Accounts)
		}
	}
	r.wantSettled(was(3, 1, Delivered, 1), was(2, 1, Delivered, 1), was(4, 1, Delivered, 1))
	r.wait(accountPause)
	r.wantOver(over, 5)
	r.wait(5 * time.Second) // its retry
	r.wantOver(over, 1)
	r.admit(2, to(1, "a"), to(9, "c"))
	r.wantOver(over, 1, 9)
	r.wantReserved(0)
	r.now = r.now.Truncate(time.Hour).Add(time.Hour)
	r.admit(3, to(1, "a"), to(9, "c"))
	r.wantFlying(1, 9)
}

func TestADayHasNoMoreThanItsBound(t *testing.T) {
	hour := HourOf(time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC))
	r := bounded(t, Bound{PerDay: 10}, HourCount{"webhook", hour - 8, 99}, HourCount{"webhook", hour - 7, 4}, // of yesterday, of today
		HourCount{"webhook", hour, 4}, HourCount{"other", hour, 99})
	r.admit(1, to(1, "a"), to(2, "a"), to(3, "a"))
	r.wantFlying(1, 2)
	r.now = r.now.Add(time.Hour) // the day goes on
	r.answer(1, ok)
	r.answer(2, ok)
	r.wantSettled(was(1, 1, Delivered, 1), was(3, 1, Open, 0), was(2, 1, Delivered, 1)) // 3 was held too long
	r.admit(2, to(4, "a"))
	r.wantOver("over budget: at most 10 a day on this channel", 4)
	r.now = r.now.Add(16 * time.Hour)
	r.admit(3, to(4, "a"))
	r.wantFlying(4)
}

// What is in flight when an hour ends may be taken in either: it has a place in both.
func TestWhatIsInFlightCountsInTheHourThatTakesIt(t *testing.T) {
	r := bounded(t, Bound{PerHour: 2})
	r.now = r.now.Add(time.Hour - time.Second)
	r.admit(1, to(1, "a"), to(2, "a"))
	r.now = r.now.Add(2 * time.Second)
	r.admit(1, to(3, "a"))
	r.wantFlying(1, 2)
	r.answer(1, temporary)
	r.wait(accountPause)
	r.wantFlying(2, 3)
	r.answer(2, ok)
	r.answer(3, ok)
	r.wait(5 * time.Second)
	r.wantFlying()
	r.settled = r.settled[2:]
	r.wantOver("over budget: at most 2 an hour on this channel", 1)
}

// A clock that is set back finds the hour that it comes to as it was left.
func TestCountsOutliveAClockSetBack(t *testing.T) {
	r := bounded(t, Bound{PerHour: 1})
	r.admit(1, to(1, "a"))
	r.answer(1, ok)
	r.now = r.now.Add(time.Hour)
	r.admit(1, to(2, "a"))
	r.answer(2, ok)
	r.settled = nil
	r.now = r.now.Add(-time.Hour)
	r.admit(1, to(3, "a"))
	r.wantOver("over budget: at most 1 an hour on this channel", 3)
	r.now = r.now.Add(2 * time.Hour)
	r.admit(1, to(4, "a"))
	r.wantFlying(4)
}

func TestTheEndIsToldToWhoHeard(t *testing.T) {
	const over = "over budget: at most 1 an hour on this channel"
	r := bounded(t, Bound{PerHour: 1})
	r.admit(1, to(1, "a"))
	h := r.lease(2, to(2, "a"), to(3, "a"), to(4, "a"))
	h.heard = []Heard{SurelyHeard, NotHeard, PerhapsHeard}
	r.step(inputs{holds: []*hold{h}})
	r.wantFlying(1, 2) // the end doesn't wait for a place
	r.answer(1, ok)
	r.answer(2, ok)
	r.wantSettled(was(1, 1, Delivered, 1), was(2, 2, Delivered, 1))
	r.wait(accountPause)
	if len(r.settled) != 2 || r.settled[1].Outcome != Open {
		t.Fatalf("settled %+v", r.settled)
	}
	r.settled = r.settled[:1]
	r.wantOver(over, 3)
	r.wantReserved(0)

	last := r.lease(3, to(5, "b"), to(6, "b"), to(7, "b"))
	last.heard = []Heard{NotHeard, SurelyHeard, PerhapsHeard}
	r.step(inputs{holds: []*hold{last}})
	r.wantFlying(6)
	if len(r.settled) != 2 || r.settled[0].Detail != over || r.settled[1].Outcome != Open || !r.settled[1].DueAt.Equal(r.now.Add(blockedPause)) {
		t.Errorf("settled %+v", r.settled)
	}
}

// A relay and the one that stands in for it count on accounts of their own, and both on
// their channel's.
func TestProvidersHaveAccountsOfTheirOwn(t *testing.T) {
	synctest.Test(t, testAccountsOfProviders) // a breaker reads the clock
}

func testAccountsOfProviders(t *testing.T) {
	r := bounded(t, Bound{PerDay: 4}, HourCount{"webhook:main", HourOf(time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)), 7})
	own := func(name string, perDay int) Account {
		return Account{"webhook:" + name, "by this relay", Bound{PerDay: perDay}}
	}
	r.policies["main"] = ProviderPolicy{Limit: wide.Limit, Window: 1000, Named: true, Failover: []string{"spare"}, Account: own("main", 9)}
	r.policies["spare"] = ProviderPolicy{Limit: wide.Limit, Window: 1000, Named: true, Account: own("spare", 1)}
	r.admit(1, to(1, "main"), to(2, "main"), to(3, "main"))
	r.wantFlying(1, 2) // seven were told before
	r.answer(1, ok)
	r.answer(2, ok)
	if got := r.settled[0].Accounts; !slices.Equal(got, []string{"webhook", "webhook:main"}) {
		t.Errorf("a message counts on %q", got)
	}
	r.settled = nil
	r.wait(accountPause)
	r.wantOver("over budget: at most 9 a day by this relay", 3)
	r.admit(2, to(4, "b"))
	r.wantFlying(4) // the channel has something left
	r.answer(4, ok)
	r.settled = nil

	main := r.s.lane("webhook", "main")
	main.breaker = newBreaker(r.s.opt.Breaker)
	for target := range int64(5) {
		main.breaker.record(target, main.breaker.epoch, true, true, r.now)
	}
	r.admit(3, to(5, "main"), to(6, "main"))
	r.wantFlying(5)
	if l := r.flying[0].lane; l.provider != "spare" {
		t.Fatalf("%s serves", l.provider)
	}
	r.answer(5, ok)
	r.settled = nil
	r.wait(accountPause)
	if r.settled[0].Detail != "over budget: at most 4 a day on this channel" {
		t.Errorf("suppressed for %q", r.settled[0].Detail)
	}
}
