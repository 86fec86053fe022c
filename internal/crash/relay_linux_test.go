package crash

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/peer"
	"github.com/tocsin/tocsin/internal/testenv"
)

// The rows of the fault matrix that are about a named provider: a mail relay, an SMS
// centre. No more than a window is on its way to one.
const window = 4

func beginAt(t *testing.T, start func(peer.Options) (*receivers, error), change func(*engine)) *trial {
	t.Helper()
	restOnEngine(t)
	o := Options{Engine: os.Getenv(engineVariable), Queue: embedded, Expiry: time.Hour, Targets: few, Seed: draw(t)}
	return newTrial(t, o, start, change)
}

// mailboxes are those of a relay.
func mailboxes(relay *peer.SMTP) *receivers {
	return &receivers{relay, incident.ChannelSMTP, peer.Mailbox, peer.MailboxTarget, func() *peer.Report { return relay.Report().Report }}
}

func relays(name, url string) string {
	return fmt.Sprintf("smtp: [{name: %s, url: %q, from: status@example.com, rate: 1000/s, burst: 1000, connections: %d}]\n", name, url, window)
}

// metricIs waits until a series has come so far.
func (tr *trial) metricIs(series string, least int) {
	tr.t.Helper()
	eventually(tr.t, fmt.Sprintf("%s is %d", series, least), 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		n, err := tr.api.metric(ctx, series)
		return n >= least, fmt.Errorf("it is %d (%w)", n, err)
	})
}

// unanswered counts the messages that were taken and never answered.
func (tr *trial) unanswered() (n int) {
	for _, r := range tr.peers.Receipts() {
		if r.Status == 0 {
			n++
		}
	}
	return n
}

// A relay says 421 in the middle of its sessions, and later dies with a message from
// each of them taken and not answered. What it had answered for stays delivered, and
// the rest comes again, what it took under the same Message-ID.
func TestFault_28_RelayInTrouble(t *testing.T) {
	t.Parallel()
	var relay *peer.SMTP
	var silent atomic.Bool
	var answers atomic.Int64
	const leaves = few / 2
	tr := beginAt(t, func(o peer.Options) (_ *receivers, err error) {
		o.Script = func(int) peer.Behaviour {
			if answers.Add(1) == leaves {
				relay.Leave()
			}
			if silent.Load() {
				return peer.Behaviour{Kind: peer.Silent}
			}
			return peer.Behaviour{}
		}
		relay, err = peer.StartSMTP(o)
		return mailboxes(relay), err
	}, func(e *engine) { e.configure(relays("relay", relay.URL())) })
	tr.publishNow(0)
	tr.metricIs(`tocsin_attempts_total{channel="smtp",class="throttled"}`, 1)
	if told := len(tr.peers.Receipts()); told == 0 || told >= few {
		t.Errorf("%d of %d were told when the relay left", told, few)
	}
	relay.Stay()
	tr.told(few)
	silent.Store(true)
	tr.publishNow(0)
	eventually(t, "each session has a message that is not answered", time.Millisecond, func(context.Context) (bool, error) {
		return relay.Open() == window, nil
	})
	silent.Store(false)
	relay.CutAll()
	tr.told(few)
	tr.judge()
	if n := tr.unanswered(); n != window {
		t.Errorf("the relay died with %d messages that it had taken, want %d", n, window)
	}
}

// An SMS centre throttles; then it says nothing, then it ends one of two binds, then both
// are cut, each time with messages taken and not answered. The account goes on more
// slowly, or is bound again, and only what was not answered comes again.
func TestFault_29_SMSCentreInTrouble(t *testing.T) {
	t.Parallel()
	var centre *peer.SMSC
	var silent, throttling atomic.Bool
	throttling.Store(true)
	tr := beginAt(t, func(o peer.Options) (_ *receivers, err error) {
		centre, err = peer.StartSMSC(peer.SMSCOptions{Receipts: o.Receipts, Quiet: true, Script: func(n int) peer.Behaviour {
			switch {
			case silent.Load():
				return peer.Behaviour{Kind: peer.Silent}
			case throttling.Load() && n == few/2:
				return peer.Behaviour{Kind: peer.Throttled, Times: 2}
			}
			return peer.Behaviour{}
		}})
		return &receivers{centre, incident.ChannelSMPP, peer.PhoneNumber, peer.PhoneTarget, func() *peer.Report { return centre.Report().Report }}, err
	}, func(e *engine) {
		e.configure(fmt.Sprintf("smpp: [{name: centre, url: %q, source: STATUS, rate: 1000/s, burst: 1000, window: %d, binds: 2}]\n", centre.URL(), window/2))
		e.configure("sms: {response_timeout: 5s}\n")
		e.configure("budgets: {smpp: {per_incident: 0}}\n") // else an incident is told of once in ten minutes
	})
	tr.publishNow(few)
	for _, trouble := range []func(){
		func() { tr.metricIs(`tocsin_attempts_total{channel="smpp",class="temporary"}`, 1) },
		centre.Unbind,
		centre.CutAll,
	} {
		tr.settle() // so that no answer is on its way
		before := tr.unanswered()
		silent.Store(true)
		tr.publishNow(0)
		eventually(t, "messages are taken and not answered", time.Millisecond, func(context.Context) (bool, error) {
			return tr.unanswered() > before, nil
		})
		trouble()
		silent.Store(false)
		tr.told(few)
		eventually(t, "both binds are there", 50*time.Millisecond, func(context.Context) (bool, error) { return centre.Binds() == 2, nil })
	}
	tr.judge()
	throttled := 0
	for _, r := range tr.peers.Receipts() {
		if r.Status == 429 {
			throttled++
		}
	}
	if throttled != 2 {
		t.Errorf("the centre throttled %d times, want 2", throttled)
	}
}

// The engine is stopped in the middle of fan-outs and started with another
// configuration: its relay has another name, then another relay is in its place and the
// old one silent, then there is none, then one again. What was under way finished as it
// had begun; the rest goes to whom it is for now, once.
func TestFault_32_ConfigurationChanged(t *testing.T) {
	t.Parallel()
	var relay *peer.SMTP
	var first *testenv.Proxy
	var firstURL string
	var slow atomic.Bool
	tr := beginAt(t, func(o peer.Options) (_ *receivers, err error) {
		o.Script = func(int) (b peer.Behaviour) {
			if slow.Load() {
				b.After = 300 * time.Millisecond
			}
			return b
		}
		if relay, err = peer.StartSMTP(o); err != nil {
			return nil, err
		}
		first, firstURL = testenv.NewProxy(t, relay.URL())
		return mailboxes(relay), nil
	}, func(e *engine) {
		u, err := url.Parse(firstURL)
		if err != nil {
			t.Fatal(err)
		}
		e.allow(u.Host)
		e.configure(relays("old", firstURL))
	})
	goOn := func(config string) {
		tr.engine.stop()
		slow.Store(false)
		tr.engine.configure(config)
		tr.engine.start()
		tr.awaitReady()
	}
	change := func(config string) {
		slow.Store(true)
		tr.publishNow(window)
		goOn(config)
	}
	change(relays("new", firstURL))
	tr.told(few)
	change(relays("other", relay.URL()))
	first.Freeze()
	tr.told(few)
	change("smtp: []\n")
	tr.publishNow(0)
	eventually(t, "who has no relay waits for one", 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		newest := tr.updates[len(tr.updates)-1]
		rows, err := tr.api.deliveries(ctx, newest.incident)
		waiting := 0
		for _, r := range rows {
			if r.Sequence == newest.sequence && r.Outcome == "open" {
				waiting++
			}
		}
		return waiting == few, err
	})
	goOn(relays("back", relay.URL()))
	tr.told(few)
	tr.judge()
}
