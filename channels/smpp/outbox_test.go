package smpp

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
)

// A peer that stops reading is given up after the write timeout.
func TestAPeerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, nil, func(n int, c *centre) {
			c.accept()
			if n == 0 {
				time.Sleep(time.Hour)
			}
			c.takeAll()
		})
		start := time.Now()
		wantResult(t, c.Send(t.Context(), message(t, c, false)),
			channels.Result{Class: channels.Temporary, Detail: "the peer stopped reading before the response"})
		if took := time.Since(start); took != Defaults().WriteTimeout {
			t.Errorf("took %s", took)
		}
	})
}

// A centre that floods us with requests and does not read the answers costs no more
// memory than the bound on replies.
func TestAFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := piped(t, nil, func(n int, c *centre) {
			c.accept()
			flood := bytes.Repeat(frame{pdu.EnquireLinkID, 0, 1, nil}.bytes(), 1000)
			for n == 0 {
				w, err := c.Write(flood)
				sent += w
				if err != nil {
					return
				}
			}
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if sent > 4*maxReplies {
			t.Errorf("read %d bytes of requests whose answers nobody reads", sent)
		}
		if s := c.Accounts()[0]; s.Failure == "" {
			t.Errorf("%+v", s)
		}
	})
}
