package storetest

import (
	"context"
	"fmt"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// feedStore is what the feed channel asks of a store; it says so there.
type feedStore interface {
	FeedTargets(ctx context.Context) ([]*incident.Target, error)
	Feed(ctx context.Context, page, name string, limit int) (t *incident.Target, updates []*channels.Update, more bool, err error)
}

var feedTests = []test{
	{"a feed has the newest updates of its page, last accepted first", testFeed},
	{"a feed covers what its target's audience would have", testFeedFilter},
	{"what was stopped before it was published stays out of a feed", testFeedStopped},
	{"of several targets of one name the first active one publishes", testFeedTargets},
}

// feedTarget returns a feed target of the page "default".
func feedTarget(name string) *incident.Target {
	t := hook(0)
	t.ExternalID, t.Channel, t.Address = "", incident.ChannelRSS, name
	return t
}

// feed returns what a feed shows as "INC-1/2 INC-1/1", with "+" if there is more.
func (k *kit) feed(t *incident.Target, limit int) (shown string) {
	k.Helper()
	_, updates, more, err := k.Feed(k.ctx, t.Page, t.Address, limit)
	k.must(err)
	for i, u := range updates {
		if i > 0 {
			shown += " "
		}
		shown += fmt.Sprintf("%s/%d", u.IncidentID, u.Sequence)
	}
	if more {
		shown += " +"
	}
	return shown
}

func testFeed(k *kit) {
	f := feedTarget("default")
	k.upsert(f)
	equal(k, "an empty feed", k.feed(f, 10), "")
	other := event(1)
	other.IncidentID = "INC-2"
	elsewhere := event(1)
	elsewhere.Page = "other"
	k.accept(event(1), other, event(3), elsewhere)
	k.arrive(event(2)) // stale
	k.reopen()
	equal(k, "all", k.feed(f, 10), "INC-1/2 INC-2/1 INC-1/1")
	equal(k, "the limit", k.feed(f, 2), "INC-1/2 INC-2/1 +")
	equal(k, "exactly the limit", k.feed(f, 3), "INC-1/2 INC-2/1 INC-1/1")
	t, updates, _, err := k.Feed(k.ctx, f.Page, f.Address, 1)
	k.must(err)
	equal(k, "target", t.ID, f.ID)
	u := updates[0]
	equal(k, "page", u.Page, "default")
	equal(k, "message", u.Message, "update 3")
	equal(k, "updated", u.UpdatedAt, event(3).UpdatedAt)
	equal(k, "accepted", u.AcceptedAt, after(hour))
	f.Page = "other"
	if t, _, _, err := k.Feed(k.ctx, "other", f.Address, 1); t != nil || err != nil {
		k.Errorf("a feed of another page: %v, %v", t, err)
	}
}

func testFeedFilter(k *kit) {
	web, critical, private, test := feedTarget("web"), feedTarget("critical"), feedTarget("private"), feedTarget("test")
	web.Components = []string{"web"}
	critical.MinImpact = incident.ImpactCritical
	private.Visibility = incident.Private
	test.Test = true
	k.upsert(web, critical, private, test)
	// Major and about the API; then critical and about the web; then minor again:
	// who heard of it hears its end.
	second, third, hidden, trial := event(2), event(3), event(4), event(1)
	second.Impact, second.AffectedComponents = incident.ImpactCritical, []string{"web"}
	third.Impact = incident.ImpactMinor
	hidden.Visibility = incident.Private
	trial.IncidentID, trial.Test = "TEST-1", true
	whole := event(1)
	whole.IncidentID, whole.AffectedComponents = "INC-2", []string{}
	k.accept(event(1), second, third, hidden, trial, whole)
	equal(k, "components", k.feed(web, 10), "INC-2/1 INC-1/3 INC-1/2")
	equal(k, "impact", k.feed(critical, 10), "INC-1/3 INC-1/2")
	equal(k, "private", k.feed(private, 10), "INC-2/1 INC-1/4 INC-1/3 INC-1/2 INC-1/1")
	equal(k, "test", k.feed(test, 10), "TEST-1/1")
}

func testFeedStopped(k *kit) {
	f := feedTarget("default")
	k.upsert(f)
	b := k.one(event(1))
	k.settle(result(b, 0, dispatcher.Delivered, channels.Delivered))
	k.one(event(2))
	_, _, err := k.Stop(k.ctx, b.Incident, after(2*hour))
	k.must(err)
	equal(k, "stopped", k.feed(f, 10), "INC-1/1")
	k.accept(event(3))
	equal(k, "an update after the stop", k.feed(f, 10), "INC-1/3 INC-1/1")
}

func testFeedTargets(k *kit) {
	first, second, other := feedTarget("same"), feedTarget("same"), feedTarget("other")
	k.upsert(first, second, other, hook(1))
	inline := event(1)
	inline.Targets = []incident.Target{*feedTarget("inline")}
	k.accept(inline)
	publisher := func() int64 {
		k.Helper()
		t, _, _, err := k.Feed(k.ctx, "default", first.Address, 1)
		k.must(err)
		return t.ID
	}
	list := func() (ids []int64) {
		k.Helper()
		found, err := k.FeedTargets(k.ctx)
		k.must(err)
		for _, t := range found {
			ids = append(ids, t.ID)
		}
		return ids
	}
	equal(k, "publisher", publisher(), first.ID)
	equal(k, "targets", fmt.Sprint(list()), fmt.Sprint([]int64{other.ID, first.ID, second.ID}))
	k.patch(first.ID, func(t *incident.Target) { t.State = incident.StatePaused })
	equal(k, "publisher without the first", publisher(), second.ID)
	k.must(k.Delete(k.ctx, second.ID))
	equal(k, "targets left", fmt.Sprint(list()), fmt.Sprint([]int64{other.ID}))
	if t, _, _, err := k.Feed(k.ctx, "default", first.Address, 1); t != nil || err != nil {
		k.Errorf("a feed without a target: %v, %v", t, err)
	}
	if t, _, _, err := k.Feed(k.ctx, "default", feedTarget("inline").Address, 1); t != nil || err != nil {
		k.Errorf("a feed of an inline target: %v, %v", t, err)
	}
}
