package cases

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/internal/lifecycle"
	"github.com/tocsin/tocsin/internal/store"
)

const (
	// dueAtOnce bounds one transaction of timers.
	dueAtOnce = 50
	// longestSleep is how long a timer may be late after the clock was set.
	longestSleep = time.Minute
	// errorPause is after an error of the store.
	errorPause = time.Second
	// forgetEvery is how often the audit log is looked at.
	forgetEvery = time.Hour
)

// alarm is when the next timer is due, as far as this process knows.
type alarm struct {
	wake chan struct{} // a token: it is earlier than it was
	mu   sync.Mutex
	at   time.Time
}

// set makes the alarm earlier; zero leaves it as it is.
func (a *alarm) set(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if next := earlier(a.at, at); !next.Equal(a.at) {
		a.at = next
		ring(a.wake)
	}
}

// slept is told what the store says is next; it wakes nobody.
func (a *alarm) slept(next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = earlier(a.at, next)
}

func (a *alarm) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = time.Time{}
}

// watch does what cases wait for, when it is due.
func (k *Keeper) watch(ctx context.Context) {
	for {
		// What is committed after this is in the alarm, what was before in the store.
		k.due.clear()
		next, err := k.fire(ctx)
		if ctx.Err() != nil {
			return
		}
		sleep := longestSleep
		if err != nil {
			k.opt.Log.Warn("the timers of incidents can't go on now; trying again", "error", err)
			sleep = errorPause
		} else if !next.IsZero() {
			sleep = min(max(next.Sub(k.opt.Clock()), 0), longestSleep)
		}
		k.due.slept(next)
		if !k.sleepUntil(ctx, sleep) {
			return
		}
	}
}

// sleepUntil waits until an alarm is earlier than the time slept for; it returns
// false when ctx ended.
func (k *Keeper) sleepUntil(ctx context.Context, sleep time.Duration) bool {
	timer := time.NewTimer(sleep)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-k.due.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// fire does all that is due and returns when more will be.
func (k *Keeper) fire(ctx context.Context) (next time.Time, err error) {
	for {
		keys, err := k.store.DueCases(ctx, k.opt.Clock(), dueAtOnce)
		if err != nil {
			return next, err
		}
		if len(keys) == 0 {
			return k.store.NextDue(ctx)
		}
		if err := k.step(ctx, keys); err != nil {
			return next, err
		}
	}
}

// step does what is due in these cases. A crash before the commit leaves them due.
func (k *Keeper) step(ctx context.Context, keys []store.CaseKey) error {
	var news bool
	var now time.Time
	err := k.store.StepCases(ctx, keys, func(i int, state []byte) (store.CaseChange, error) {
		if i == 0 {
			news, now = false, k.opt.Clock()
		}
		change, _, err := k.change(keys[i], state, func(c *lifecycle.Case) (*lifecycle.Case, []lifecycle.Decision) {
			return lifecycle.Due(c, now, k.opt.Rules)
		}, now)
		if err != nil {
			// Its timer would hold up all others for ever.
			k.opt.Log.Error("a case can't go on by itself; the next report of it says the same",
				"page", keys[i].Page, "group", keys[i].Group, "error", err)
			return store.CaseChange{State: state}, nil
		}
		news = news || len(change.Events) > 0
		return change, nil
	})
	if err != nil {
		return err
	}
	k.memory.forget(keys)
	k.after(news, time.Time{})
	return nil
}

// forget keeps the audit log no longer than it is to be kept.
func (k *Keeper) forget(ctx context.Context) {
	every := time.NewTicker(forgetEvery)
	defer every.Stop()
	for {
		for more := true; more; {
			var err error
			more, err = k.store.ForgetAudit(ctx, k.opt.Clock().Add(-k.opt.KeepAudit))
			if err != nil {
				more = false
			}
			if err != nil && ctx.Err() == nil {
				k.opt.Log.Warn("old entries of the audit log stay for another hour", "error", err)
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}
