package dispatcher

import (
	"context"
	"fmt"
	"time"
)

// Bound is how many messages may be taken in an hour and in a day, by UTC; 0 bounds
// nothing.
type Bound struct{ PerHour, PerDay int }

// any says whether it bounds anything.
func (b Bound) any() bool { return b != Bound{} }

// Check says what keeps a further message from being sent when so many were taken in
// this hour and this day, and others are under way: over is the bound that is reached,
// "" if none is; wait is whether those under way may reach one.
func (b Bound) Check(hour, day, underWay int) (over string, wait bool) {
	switch {
	case b.PerHour > 0 && hour >= b.PerHour:
		return fmt.Sprintf("over budget: at most %d an hour", b.PerHour), false
	case b.PerDay > 0 && day >= b.PerDay:
		return fmt.Sprintf("over budget: at most %d a day", b.PerDay), false
	}
	return "", b.PerHour > 0 && hour+underWay >= b.PerHour || b.PerDay > 0 && day+underWay >= b.PerDay
}

// Account is what the messages of a provider are counted on, besides its channel's; the
// zero value is none.
type Account struct {
	// Name tells it from all others in the ledger, after restarts too: "smpp:main".
	Name string
	// Where completes the reason that is given for what is over: "by this account".
	Where string
	Bound
}

// HourCount is how many messages were counted on an account in an hour.
type HourCount struct {
	Account  string
	Hour     int64 // as of HourOf
	Messages int
}

// HourOf returns the hours from 1970 to a time.
func HourOf(at time.Time) int64 { return at.Unix() / int64(time.Hour/time.Second) }

const (
	// countsKept is how far back an engine knows what was counted: a day, and more,
	// since clocks may be set back.
	countsKept = 48 * time.Hour
	hoursADay  = 24
)

// account is what messages are counted on where their number is bounded: those of a
// channel, or of one of its providers. It belongs to the scheduler.
//
// What was taken is the ledger's at the start, and from then on what came back: one
// engine at a time works on a ledger, so nobody else counts. What is in flight takes
// its place until it came back, in whichever hour that is; so no hour and no day can
// have more than its bound, and a death leaves nothing behind that would have to be
// given back.
type account struct {
	Account
	taken    map[int64]int // by hour
	inFlight int

	// What was taken in the hour now, and in the day that it is in.
	now     int64
	in      int
	inToday int
}

// account returns an account, making it if need be.
func (s *scheduler) account(of Account) *account {
	a := s.accounts[of.Name]
	if a == nil {
		a = &account{Account: of, taken: make(map[int64]int)}
		for _, c := range s.opt.Counted {
			if c.Account == of.Name {
				a.taken[c.Hour] += c.Messages
			}
		}
		s.accounts[of.Name] = a
	}
	return a
}

// turn looks up what was taken, when another hour has begun.
func (a *account) turn(now time.Time) {
	hour := HourOf(now)
	if hour == a.now {
		return
	}
	a.now, a.in, a.inToday = hour, a.taken[hour], 0
	for h, n := range a.taken {
		switch {
		case h/hoursADay == hour/hoursADay:
			a.inToday += n
		case h < hour-int64(countsKept/time.Hour):
			delete(a.taken, h)
		}
	}
}

// took counts a message that was taken.
func (a *account) took(at time.Time) {
	hour := HourOf(at)
	a.taken[hour]++
	if hour == a.now {
		a.in++
	}
	if hour/hoursADay == a.now/hoursADay {
		a.inToday++
	}
}

// accountsOf returns what the messages of a lane are counted on, and their names.
func (s *scheduler) accountsOf(l *lane) (list []*account, names []string) {
	if b := s.opt.Budgets[l.group]; b != nil && b.any() {
		list = append(list, s.account(Account{channelOf(l.group), "on this channel", b.Bound}))
	}
	if l.policy.Account.any() {
		list = append(list, s.account(l.policy.Account))
	}
	for _, a := range list {
		names = append(names, a.Name)
	}
	return list, names
}

// affords says whether a lane's accounts have something left for one more message:
// over is why not, wait whether that is known only when something in flight came back.
func (l *lane) affords(now time.Time) (over string, wait bool) {
	for _, a := range l.accounts {
		a.turn(now)
		full, crowded := a.Check(a.in, a.inToday, a.inFlight)
		if full != "" {
			return full + " " + a.Where, false
		}
		wait = wait || crowded
	}
	return "", wait
}

// inBudget says whether a lane's next delivery may start, by its accounts. If not it
// is settled, or the lane waits for what is in flight.
func (s *scheduler) inBudget(d *held, l *lane) bool {
	over, wait := l.affords(s.wall)
	switch {
	case d.heard == SurelyHeard:
	case over != "":
		s.overdrawn(d, over)
		return false
	case wait:
		l.limitedUntil = s.now.Add(accountPause)
		return false
	}
	return true
}

// accountPause is when a lane looks again that waits for what is in flight on its
// accounts: other lanes' too.
const accountPause = 250 * time.Millisecond

// overdrawn ends a delivery that its accounts have nothing left for. If it is the end
// of an incident that its target may be hearing of just now, the ledger is asked again.
func (s *scheduler) overdrawn(d *held, over string) {
	if d.heard == PerhapsHeard {
		s.toLedger(d, s.wall.Add(blockedPause))
		return
	}
	s.settle(d, Settlement{Outcome: Suppressed, Detail: over})
}

// counted returns what was counted before this engine, if anything is counted.
func (e *Engine) counted(ctx context.Context) (list []HourCount, err error) {
	counts := false
	for _, b := range e.budgets {
		counts = counts || b.Counts()
	}
	if !counts {
		return nil, nil
	}
	err = e.insist(ctx, "count", func() (err error) {
		list, err = e.ledger.Counted(ctx, e.now().Add(-countsKept))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was counted for the budgets: %w", err)
	}
	return list, nil
}
