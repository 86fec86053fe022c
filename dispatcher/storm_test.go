package dispatcher

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/ratelimit"
)

func quota(messages int, every time.Duration) ratelimit.Quota {
	return ratelimit.Quota{Messages: messages, Every: every}
}

func TestBudget(t *testing.T) {
	const (
		ours   = "over budget: at most 1/10m for each incident and target"
		hourly = "over budget: at most 5 an hour on this channel"
		daily  = "over budget: at most 9 a day on this channel"
	)
	b := Budget{PerIncident: quota(1, 10*time.Minute), PerHour: 5, PerDay: 9}
	for _, c := range []struct {
		name   string
		budget Budget
		spent  Spent
		last   bool
		why    Why
		detail string
	}{
		{"nothing spent", b, Spent{}, false, 0, ""},
		{"no bound", Budget{}, Spent{Told: 9, Recent: 9, UnderWay: 9, Hour: 99, Day: 99}, false, 0, ""},
		{"told a while ago", b, Spent{Told: 3}, false, 0, ""},
		{"told just now", b, Spent{Told: 1, Recent: 1}, false, WhyBudget, ours},
		{"the end comes through", b, Spent{Told: 1, Recent: 1}, true, 0, ""},
		{"an older one may be on the wire", b, Spent{UnderWay: 1}, false, WhyBlocked, ""},
		{"the end doesn't wait for it", b, Spent{UnderWay: 1}, true, 0, ""},
		{"two are allowed", Budget{PerIncident: quota(2, time.Hour)}, Spent{Told: 1, Recent: 1}, false, 0, ""},
		{"the second may be on the wire", Budget{PerIncident: quota(2, time.Hour)}, Spent{Told: 1, Recent: 1, UnderWay: 1}, false, WhyBlocked, ""},
		{"an hour's last", b, Spent{Hour: 4, Day: 8}, false, 0, ""},
		{"an hour is full", b, Spent{Hour: 5, Day: 8}, false, WhyBudget, hourly},
		{"a day is full", b, Spent{Hour: 1, Day: 9}, false, WhyBudget, daily},
		{"a day is full, and the end comes", b, Spent{Told: 1, Day: 9}, true, 0, ""},
		{"the end of what was never told of", b, Spent{Day: 9}, true, WhyBudget, daily},
		{"the end of what may be on the wire", b, Spent{Day: 9, UnderWay: 1}, true, WhyBlocked, ""},
		{"an hour is full, none is bounded", Budget{PerDay: 9}, Spent{Hour: 99, Day: 8, Recent: 3, UnderWay: 3}, false, 0, ""},
	} {
		if why, detail := c.budget.Check(c.spent, c.last); why != c.why || detail != c.detail {
			t.Errorf("%s: %v %q, want %v %q", c.name, why, detail, c.why, c.detail)
		}
	}
}
