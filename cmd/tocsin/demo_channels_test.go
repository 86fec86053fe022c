package main

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

func TestChannelsAreDealt(t *testing.T) {
	for _, test := range []struct {
		shares  string
		targets int
		want    map[string]int
	}{
		{defaultChannels, 10_000, map[string]int{"webhook": 7000, "smtp": 2000, "smpp": 900, "rss": 100}},
		{defaultChannels, 2_000, map[string]int{"webhook": 1400, "smtp": 400, "smpp": 180, "rss": 20}},
		{defaultChannels, 40, map[string]int{"webhook": 27, "smtp": 8, "smpp": 4, "rss": 1}},
		{defaultChannels, 10, map[string]int{"webhook": 6, "smtp": 2, "smpp": 1, "rss": 1}},
		{defaultChannels, 4, map[string]int{"webhook": 1, "smtp": 1, "smpp": 1, "rss": 1}},
		{defaultChannels, 1, map[string]int{"webhook": 1}},
		{"webhook=100", 7, map[string]int{"webhook": 7}},
		{"rss=33.3, smtp=66.7", 3, map[string]int{"rss": 1, "smtp": 2}},
	} {
		channels, err := parseChannels(test.shares, test.targets)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]int)
		for _, c := range channels {
			got[c.name] = c.targets
			for _, n := range []int{1, c.targets, 1234} {
				if address := c.address(n); c.number(address) != n || c.number("x"+address) == n && c.name != "webhook" {
					t.Errorf("%s %d has the address %s, which is number %d", c.name, n, address, c.number(address))
				}
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%d targets at %s: %v, want %v", test.targets, test.shares, got, test.want)
		}
	}
}

func TestChannelsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "channel=percent",
		"webhook":               "channel=percent",
		"fax=100":               "webhook, smtp, smpp or rss",
		"webhook=0,smtp=100":    "above 0",
		"webhook=NaN":           "above 0",
		"webhook=50,webhook=50": "twice",
		"webhook=50,smtp=40":    "must be 100",
		"webhook=60,smtp=50":    "must be 100",
	} {
		if _, err := parseChannels(text, 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestDemoReportSumsUp shows that a fault on any channel is a fault of the demo,
// and that latencies are of all healthy targets.
func TestDemoReportSumsUp(t *testing.T) {
	channels, err := parseChannels("webhook=50,smtp=50", 2)
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{program: &program{}, command: &demoCommand{Targets: 2, Queue: "sqlite"}, channels: channels, incident: "INC-1"}
	w := newDemoWatch(d)
	begun := time.Unix(1_800_000_000, 0)
	w.sent, w.ended = len(updates), begun.Add(10*time.Second)
	at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	for i := range updates {
		w.accepted[i] = at(i)
		for _, c := range w.channels {
			after := map[string]int{"webhook": 1, "smtp": 3}[c.name]
			r := peer.Receipt{Target: 1, ID: c.name + updates[i].title + string(rune('a'+i)), Incident: d.incident, Sequence: i + 1, Status: 200, ReceivedAt: at(i), AnsweredAt: at(i + after)}
			c.take(r, &w.accepted)
			c.judge.Row(peer.Delivery{Target: 1, Incident: d.incident, Sequence: i + 1}, "delivered")
		}
	}
	for _, c := range w.channels {
		c.received = &peer.Report{}
	}
	l := &ledger{}
	r := w.report(l, 0)
	if !r.kept() || r.Healthy.Delivered != 6 || r.Channels["webhook"].MaxMS > 1001 || r.Channels["smtp"].P50MS < 2999 || r.P99MS < 2999 ||
		r.Channels["smtp"].DeliveriesPerS != 0.33 || r.DeliveriesPerS != 0.67 || r.WallS != 10 {
		t.Errorf("report %+v, webhook %+v, smtp %+v", r, r.Channels["webhook"], r.Channels["smtp"])
	}
	mails := w.channels[1]
	mails.judge.Receive(peer.Receipt{Target: 1, ID: "again", Incident: d.incident, Sequence: 3, Status: 250, ReceivedAt: at(8), AnsweredAt: at(8)})
	mails.received.Invalid = map[string]int{"a mail without a subject": 2}
	r = w.report(l, 0)
	if r.kept() || r.Duplicates != 1 || r.IDFaults != 1 || r.Invalid["a mail without a subject"] != 2 || r.Channels["smtp"].Duplicates != 1 || r.Channels["webhook"].sum() != 0 ||
		len(r.Faults) == 0 || !strings.HasPrefix(r.Faults[0], "smtp duplicate") {
		t.Errorf("report %+v", r)
	}
}
