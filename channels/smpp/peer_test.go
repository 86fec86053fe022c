package smpp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/peer"
)

// The SMSC of the demo reads what we send as we mean it: incident, sequence, all
// segments of a message, and the same reference in each attempt.
func TestTheDemosCentreAgrees(t *testing.T) {
	mix, err := peer.ParseMix("slow=20:1ms-5ms,429=20,500=20,dead=5,gone=5")
	if err != nil {
		t.Fatal(err)
	}
	const targets = 60
	for name, payload := range map[string]bool{"segments": false, "message_payload": true} {
		t.Run(name, func(t *testing.T) {
			smsc, err := peer.StartSMSC(peer.SMSCOptions{Script: mix.Behaviour, SystemID: "acme", Password: testPassword})
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			handles, delivered := map[string]bool{}, 0
			recorded := make(chan struct{}, 3*targets)
			c := listening(t, testConfig(func(c *Config) {
				c.Accounts[0].URL, c.Accounts[0].Binds, c.Accounts[0].MessagePayload = smsc.URL(), 2, payload
				c.Receipt = func(_ context.Context, r Receipt) error {
					mu.Lock()
					defer mu.Unlock()
					if !handles[r.MessageID] {
						return errors.New("it overtook the result")
					}
					delete(handles, r.MessageID)
					recorded <- struct{}{}
					return nil
				}
			}))
			for sequence, text := range []string{"short", strings.Repeat("Long [and] {braced}. ", 30), strings.Repeat("Длинный 😀. ", 40)} {
				u := sampleUpdate()
				u.Sequence, u.Message = sequence+1, text
				p, err := c.Render(u, channels.Variant{})
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for n := 1; n <= targets; n++ {
					all.Go(func() {
						m := &channels.Message{Address: peer.PhoneNumber(n), Target: int64(n), Update: u, Payload: p}
						for m.Attempt = 1; m.Attempt <= 3; m.Attempt++ {
							r := c.Send(t.Context(), m)
							if r.Class == channels.Delivered {
								mu.Lock()
								handles[r.Handle] = true
								delivered++
								mu.Unlock()
								return
							}
							if r.Class == channels.Permanent {
								return
							}
						}
					})
				}
				all.Wait()
			}
			for range delivered {
				<-recorded
			}
			if err := smsc.Close(); err != nil {
				t.Error(err)
			}
			r := smsc.Report()
			healthy := 0
			for n := 1; n <= targets; n++ {
				if k := mix.Behaviour(n).Kind; k != peer.Dead && k != peer.Gone {
					healthy++
				}
			}
			if !r.Sound() || len(r.Invalid) != 0 || r.Pending != 0 || r.Delivered != 3*healthy {
				t.Errorf("%d delivered of %d; %+v; %v", r.Delivered, 3*healthy, r.Verdict, r.Invalid)
			}
		})
	}
}
