package dispatcher_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// mailboxes makes targets mailboxes.
func mailboxes(t *incident.Target) {
	t.ExternalID, t.Channel = "mail-"+t.ExternalID, incident.ChannelSMTP
}

// providers names, sorted, who was asked to send a sequence of mail.
func (p *peer) providers(sequence int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, r := range p.receipts {
		if r.sequence == sequence && len(r.provider) < len("https://") {
			names = append(names, r.provider)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The relay has another name at the restart: batches that were planned for it, and
// retries that wait, go out by the new name, each once.
func testRelayRenamed(t *testing.T, w *world, at dispatcher.Failpoint) {
	const hooks, mails = 40, 250
	w.configure("old")
	w.subscribe(hooks)
	w.subscribe(mails, mailboxes)
	w.publish(incident.Investigating, "")
	w.peer.answer = func(target int64, _, _ int) (channels.Result, time.Duration) {
		if target > hooks && target%3 != 0 { // some get through
			return channels.Result{Class: channels.Temporary, Detail: "smtp 451"}, 0
		}
		return channels.Result{Class: channels.Delivered}, 0
	}
	w.crash(at, 1)
	w.peer.answer = nil
	w.configure("new")
	w.start()
	w.settled()
	w.publish(incident.Resolved, "")
	w.settled()
	// Where nothing had been sent at the crash, nothing is sent twice.
	duplicates := hooks + mails
	if at == dispatcher.FailPagePlanned {
		duplicates = 0
	}
	w.holds(map[int]int{1: hooks + mails, 2: hooks + mails}, duplicates)
	if by := w.peer.providers(2); !slices.Equal(by, []string{"new"}) {
		t.Errorf("the end was told by %v", by)
	}
}

func TestRelayRenamed(t *testing.T) {
	for _, at := range []dispatcher.Failpoint{dispatcher.FailPagePlanned, dispatcher.FailPagePublished, dispatcher.FailSettled} {
		t.Run(string(at), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) { testRelayRenamed(t, w, at) })
		})
	}
	t.Run("between two pages", func(t *testing.T) {
		for _, name := range []string{"a", "z"} { // before and behind in plan order
			inWorld(t, func(t *testing.T, w *world) {
				w.options = func(o *dispatcher.Options) { o.PlanPage = 70 }
				w.configure("old")
				w.subscribe(200, mailboxes)
				w.publish(incident.Investigating, "")
				w.crash(dispatcher.FailPagePublished, 2)
				w.configure(name)
				w.start()
				w.settled()
				w.holds(map[int]int{1: 200}, 70) // of the first page some may have left
			})
		}
	})
	t.Run("defence disabled", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.configure("old")
			w.subscribe(50, mailboxes)
			w.publish(incident.Investigating, "")
			w.crash(dispatcher.FailPagePlanned, 1)
			w.unrouted = true
			w.configure("new")
			w.start()
			w.quiet()
			if len(w.faults(map[int]int{1: 50}, 0)) == 0 {
				t.Fatal("nothing is wrong without the defence: this test proves nothing")
			}
		})
	})
}

func TestBrokerRelayRenamed(t *testing.T) {
	for _, at := range []dispatcher.Failpoint{dispatcher.FailPagePlanned, dispatcher.FailPagePublished} {
		t.Run(string(at), func(t *testing.T) {
			inBrokerWorld(t, func(t *testing.T, w *world) { testRelayRenamed(t, w, at) })
		})
	}
}

// testRelayRemoved: mail has no provider any more. Everyone else is told, in this
// incident and in others; mails expire with the reason.
func testRelayRemoved(t *testing.T, w *world, life time.Duration) {
	w.configure("old")
	w.subscribe(20)
	w.subscribe(150, mailboxes)
	w.configure("")
	w.start()
	expires := time.Now().Add(life).UTC().Format(time.RFC3339Nano)
	w.publish(incident.Investigating, fmt.Sprintf(`,"expires_at":%q`, expires))
	w.publish(incident.Identified, fmt.Sprintf(`,"expires_at":%q`, expires))
	w.settled()
	w.holds(map[int]int{1: 170, 2: 170}, 0)
	for _, r := range w.rows() {
		want, detail := dispatcher.Delivered, ""
		if r.Channel == incident.ChannelSMTP {
			want, detail = dispatcher.Expired, dispatcher.NoProvider
		}
		if r.Sequence == 1 && r.Outcome == dispatcher.Superseded {
			continue
		}
		if r.Outcome != want || r.Detail != detail {
			t.Fatalf("%s target %d, update %d: %v %q, want %v %q", r.Channel, r.Target, r.Sequence, r.Outcome, r.Detail, want, detail)
		}
	}
	if by := w.peer.providers(2); by != nil {
		t.Errorf("mail went out by %v", by)
	}
}

func TestRelayRemoved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) { testRelayRemoved(t, w, 10*time.Minute) })
}

func TestBrokerRelayRemoved(t *testing.T) {
	inBrokerWorld(t, func(t *testing.T, w *world) { testRelayRemoved(t, w, 5*time.Second) })
}

// testRelayBack: what waits while mail has no provider goes out when it has one,
// with what was planned before it was gone.
func testRelayBack(t *testing.T, w *world) {
	every := func(t *incident.Target) { t.ExternalID, t.EveryUpdate = "every-"+t.ExternalID, true }
	w.configure("old")
	w.subscribe(20)
	w.subscribe(30, mailboxes)
	w.subscribe(10, mailboxes, every)
	w.publish(incident.Investigating, "")
	w.crash(dispatcher.FailPagePlanned, 1)
	w.configure("")
	w.start()
	w.publish(incident.Identified, "")
	w.until(func() bool { // the others are told, and nobody else
		return w.peer.sent(2) == 20 && w.waiting(1) == 10 && w.waiting(2) == 40
	})
	w.configure("new")
	w.start()
	w.settled()
	w.holds(map[int]int{1: 60, 2: 60}, 0)
	if n := w.peer.sent(2); n != 60 {
		t.Errorf("%d were told of the second update, want 60", n)
	}
	for _, r := range w.rows() {
		if r.Sequence == 2 && (r.Outcome != dispatcher.Delivered || r.Detail != "") {
			t.Fatalf("target %d: %v %q", r.Target, r.Outcome, r.Detail)
		}
	}
}

// waiting counts the rows of an update that wait for a provider.
func (w *world) waiting(sequence int) (n int) {
	for _, r := range w.rows() {
		if r.Sequence == sequence && r.Outcome == dispatcher.Open && r.Detail == dispatcher.NoProvider {
			n++
		}
	}
	return n
}

func TestRelayBack(t *testing.T) { inWorld(t, testRelayBack) }

func TestBrokerRelayBack(t *testing.T) { inBrokerWorld(t, testRelayBack) }
