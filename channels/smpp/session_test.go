package smpp

import (
	"sync"
	"testing"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"

	"github.com/tocsin/tocsin/channels"
)

func TestBindSaysWhoWeAre(t *testing.T) {
	said := make(chan frame, 1)
	c := piped(t, nil, func(_ int, c *centre) {
		f, _ := c.read()
		said <- f
		c.write(frame{pdu.BindTransceiverRespID, 0, f.sequence, []byte("x\x00")})
		c.takeAll()
	})
	wantResult(t, c.Send(t.Context(), message(t, c, false)), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
	f := (<-said).submitted(t) // fields of whatever it is
	for name, want := range map[pdufield.Name]string{pdufield.SystemID: "tocsin", pdufield.Password: testPassword,
		pdufield.InterfaceVersion: "52", pdufield.SystemType: "", pdufield.AddressRange: ""} {
		if f[name].String() != want {
			t.Errorf("%s is %q; want %q", name, f[name], want)
		}
	}
}

// Responses may come in any order, twice, for numbers that were never given out, and
// under another command: each message gets its own.
func TestResponsesFindTheirMessage(t *testing.T) {
	const sends = 8
	c := piped(t, nil, func(_ int, c *centre) {
		c.accept()
		var submits []frame
		for range sends {
			f, ok := c.next(pdu.SubmitSMID)
			if !ok {
				return
			}
			submits = append(submits, f)
		}
		c.write(frame{pdu.SubmitSMRespID, 0x0B, 4711, nil}, frame{pdu.SubmitSMRespID, 0, 0, nil},
			// A deliver_sm and a response to a link check with the number of a submit are not its response.
			frame{pdu.EnquireLinkRespID, 0x08, submits[0].sequence, nil}, frame{pdu.DeliverSMRespID, 0x08, submits[1].sequence, nil})
		for i := sends - 1; i >= 0; i-- {
			number := submits[i].submitted(t)[pdufield.DestinationAddr].String()
			c.write(taken(submits[i], "id-"+number), refused(submits[i], 0x0B), taken(submits[i], "twice"))
		}
		c.takeAll()
	})
	var all sync.WaitGroup
	for i := range sends {
		all.Go(func() {
			m := message(t, c, false)
			m.Address = testNumber + string(rune('0'+i))
			wantResult(t, c.Send(t.Context(), m), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "id-" + m.Address[1:]})
		})
	}
	all.Wait()
	// Two of no one, one of another command, and two more for each.
	if got := c.Accounts()[0].Strays; got < 2+1 || got > 2+1+2*sends {
		t.Errorf("%d strays", got)
	}
	if n := c.Accounts()[0].InFlight; n != 0 {
		t.Errorf("%d in flight after all was answered", n)
	}
}

// The window is never exceeded, and one slow message does not stop the others.
func TestWindow(t *testing.T) {
	const window, sends = 4, 40
	c := piped(t, func(c *Config) { c.Accounts[0].Window = window }, func(_ int, c *centre) {
		c.accept()
		var open []frame
		for answered := 0; answered < sends; {
			for len(open) < min(window, sends-answered) {
				f, ok := c.next(pdu.SubmitSMID)
				if !ok {
					return
				}
				open = append(open, f)
			}
			// All are open that may be: one more would have to come before an answer.
			if c.in.Buffered() > 0 {
				t.Error("more submits than the window lets through")
			}
			c.write(taken(open[len(open)-1], "x"))
			open = open[:len(open)-1]
			answered++
		}
		c.takeAll()
	})
	var all sync.WaitGroup
	for range sends {
		all.Go(func() {
			wantResult(t, c.Send(t.Context(), message(t, c, false)), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "x"})
		})
	}
	all.Wait()
}

func TestSequenceNumbersWrap(t *testing.T) {
	w := window{waiting: map[key]waiter{{pdu.SubmitSMRespID, 1}: {}}, sequence: maxSequence - 1}
	if a, b := w.next(), w.next(); a != maxSequence || b != 2 {
		t.Errorf("got %#x, %d; want the last one, then the first that nothing waits under", a, b)
	}
}

// The centre's enquire_link is answered with its number; unknown requests get a
// generic_nack, unknown responses nothing; none of it ends the link.
func TestRequestsOfTheCentreAreAnswered(t *testing.T) {
	c := piped(t, nil, func(_ int, c *centre) {
		c.accept()
		submit, _ := c.next(pdu.SubmitSMID)
		c.write(frame{0x00000102, 0, 1, []byte("alert")}, frame{0x80000777, 0, 2, nil}, frame{0x80000000, 3, 3, nil})
		for _, x := range []struct{ send, want frame }{
			{frame{pdu.EnquireLinkID, 0, 77, nil}, frame{pdu.EnquireLinkRespID, 0, 77, nil}},
			{frame{0x00000777, 0, 78, []byte("what is this")}, frame{pdu.GenericNACKID, 3, 78, nil}},
			{frame{pdu.SubmitSMID, 0, 79, nil}, frame{pdu.GenericNACKID, 3, 79, nil}},
			{frame{pdu.DeliverSMID, 0, 80, []byte("cut short")}, frame{pdu.GenericNACKID, 2, 80, nil}},
		} {
			c.write(x.send)
			f, ok := c.read()
			if !ok || f.id != x.want.id || f.status != x.want.status || f.sequence != x.want.sequence {
				t.Errorf("%#x is answered with %+v; want %+v", x.send.id, f, x.want)
			}
		}
		c.write(taken(submit, "m1"))
		c.takeAll()
	})
	wantResult(t, c.Send(t.Context(), message(t, c, false)), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
}
