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
	const ours = "over budget: at most 1/10m for each incident and target"
	const all = "over budget: at most 3/24h for each target"
	b := Budget{PerIncident: quota(1, 10*time.Minute)}
	a := Budget{PerTarget: quota(3, 24*time.Hour)}
	both := Budget{PerIncident: b.PerIncident, PerTarget: a.PerTarget}
	for _, c := range []struct {
		name   string
		budget Budget
		spent  Spent
		last   bool
		why    Why
		detail string
		heard  Heard
	}{
		{"nothing spent", b, Spent{}, false, 0, "", NotHeard},
		{"no bound", Budget{}, Spent{Told: 9, Recent: 9, UnderWay: 9}, false, 0, "", SurelyHeard},
		{"told a while ago", b, Spent{Told: 3}, false, 0, "", SurelyHeard},
		{"told just now", b, Spent{Told: 1, Recent: 1}, false, WhyBudget, ours, SurelyHeard},
		{"the end comes through", b, Spent{Told: 1, Recent: 1}, true, 0, "", SurelyHeard},
		{"an older one may be on the wire", b, Spent{UnderWay: 1}, false, WhyBlocked, "", PerhapsHeard},
		{"the end doesn't wait for it", b, Spent{UnderWay: 1}, true, 0, "", PerhapsHeard},
		{"two are allowed", Budget{PerIncident: quota(2, time.Hour)}, Spent{Told: 1, Recent: 1}, false, 0, "", SurelyHeard},
		{"the second may be on the wire", Budget{PerIncident: quota(2, time.Hour)}, Spent{Told: 1, Recent: 1, UnderWay: 1}, false, WhyBlocked, "", SurelyHeard},
		{"told of two others", a, Spent{AllRecent: 2}, false, 0, "", NotHeard},
		{"told of three others", a, Spent{AllRecent: 3}, false, WhyBudget, all, NotHeard},
		{"told of more, by their ends", a, Spent{AllRecent: 5, AllUnderWay: 2}, false, WhyBudget, all, NotHeard},
		{"the third may be on the wire", a, Spent{AllRecent: 2, AllUnderWay: 1}, false, WhyBlocked, "", NotHeard},
		{"all three may be", a, Spent{AllUnderWay: 3}, false, WhyBlocked, "", NotHeard},
		{"the end of what it was told of", a, Spent{Told: 1, AllRecent: 9}, true, 0, "", SurelyHeard},
		{"the end of what it wasn't told of", a, Spent{AllRecent: 3}, true, WhyBudget, all, NotHeard},
		{"the end of what it may be told of now", a, Spent{UnderWay: 1, AllRecent: 3, AllUnderWay: 1}, true, WhyBlocked, "", PerhapsHeard},
		{"the end of what it wasn't told of, while others are under way", a, Spent{AllRecent: 2, AllUnderWay: 1}, true, WhyBlocked, "", NotHeard},
		{"no bound of its own, many others", b, Spent{AllRecent: 99, AllUnderWay: 9}, false, 0, "", NotHeard},
		{"both, the incident's is reached", both, Spent{Told: 1, Recent: 1, AllRecent: 1}, false, WhyBudget, ours, SurelyHeard},
		{"both, all are reached", both, Spent{Told: 1, Recent: 1, AllRecent: 3}, false, WhyBudget, all, SurelyHeard},
		{"both, neither", both, Spent{Told: 1, AllRecent: 2}, false, 0, "", SurelyHeard},
		{"both, and the end", both, Spent{Told: 1, Recent: 1, AllRecent: 3, AllUnderWay: 3}, true, 0, "", SurelyHeard},
	} {
		if why, detail := c.budget.Check(c.spent, c.last); why != c.why || detail != c.detail {
			t.Errorf("%s: %v %q, want %v %q", c.name, why, detail, c.why, c.detail)
		}
		if heard := c.spent.Heard(); heard != c.heard {
			t.Errorf("%s: heard %v, want %v", c.name, heard, c.heard)
		}
	}
}

func TestBound(t *testing.T) {
	const hourly, daily = "over budget: at most 5 an hour", "over budget: at most 9 a day"
	b := Bound{PerHour: 5, PerDay: 9}
	for _, c := range []struct {
		name                string
		bound               Bound
		hour, day, underWay int
		over                string
		wait                bool
	}{
		{"nothing taken", b, 0, 0, 0, "", false},
		{"no bound", Bound{}, 99, 99, 99, "", false},
		{"an hour's last", b, 4, 8, 0, "", false},
		{"it may be under way", b, 4, 4, 1, "", true},
		{"a day's last may be under way", b, 0, 8, 1, "", true},
		{"an hour is full", b, 5, 8, 0, hourly, false},
		{"more than full, by ends", b, 6, 8, 2, hourly, false},
		{"a day is full", b, 1, 9, 0, daily, false},
		{"both are full", b, 5, 9, 0, hourly, false},
		{"an hour is full, none is bounded", Bound{PerDay: 9}, 99, 8, 0, "", false},
		{"a day is full, none is bounded", Bound{PerHour: 5}, 4, 99, 0, "", false},
	} {
		if over, wait := c.bound.Check(c.hour, c.day, c.underWay); over != c.over || wait != c.wait {
			t.Errorf("%s: %q %v, want %q %v", c.name, over, wait, c.over, c.wait)
		}
	}
}
