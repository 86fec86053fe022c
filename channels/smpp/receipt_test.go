package smpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// deliverSM is a deliver_sm from testNumber, with optional parameters (tag, length
// and value as on the wire).
func deliverSM(esmClass int, text any, sequence uint32, parameters ...string) frame {
	return deliverFrom(tonInternational, testNumber[1:], esmClass, text, sequence, parameters...)
}

// deliverFrom is one from any number.
func deliverFrom(ton int, number string, esmClass int, text any, sequence uint32, parameters ...string) frame {
	p := pdu.NewSubmitSM(nil) // the fields are the same
	f := p.Fields()
	for name, value := range map[pdufield.Name]any{pdufield.SourceAddrTON: ton, pdufield.SourceAddrNPI: 1,
		pdufield.SourceAddr: number, pdufield.ESMClass: esmClass, pdufield.ShortMessage: text} {
		if err := f.Set(name, value); err != nil {
			panic(err)
		}
	}
	return frame{pdu.DeliverSMID, 0, sequence, append(encode(p, 0)[pdu.HeaderLen:], strings.Join(parameters, "")...)}
}

func TestReceiptTexts(t *testing.T) {
	done := time.Date(2026, 11, 21, 5, 4, 0, 0, time.UTC)
	for text, want := range map[string]Receipt{
		"id:0123456789 sub:001 dlvrd:001 submit date:2611210503 done date:2611210504 stat:DELIVRD err:000 text:[INC-8892]": {
			MessageID: "0123456789", State: StateDelivered, Err: "000", Done: done},
		"id:a-b.c Sub:001 Dlvrd:000 Submit Date:261121050300 Done Date:261121050400 Stat:UNDELIV Err:4f Text:id:forged stat:DELIVRD": {
			MessageID: "a-b.c", State: StateUndeliverable, Err: "4f", Done: done},
		"stat:REJECTD id:7":                               {MessageID: "7", State: StateRejected},
		"id:7 done date:20261121050400 stat:expired":      {MessageID: "7", State: StateExpired, Done: done},
		"id:7 stat:DELIVERED":                             {MessageID: "7", State: StateDelivered},
		"id:7 id:8 stat:DELETED stat:DELIVRD":             {MessageID: "7", State: StateDeleted},
		"id:7 done date:9999999999 stat:ACCEPTD err:<b>":  {MessageID: "7", State: StateAccepted},
		"id:" + strings.Repeat("x", 65) + " stat:ENROUTE": {State: StateEnroute},
		"id:a\x01b stat:UNKNOWN":                          {State: StateUnknown},
		"hello":                                           {},
		"text:id:7 stat:DELIVRD":                          {},
		"":                                                {},
		":::: :":                                          {},
	} {
		if got := parseReceipt(text); got != want {
			t.Errorf("%q: %+v; want %+v", text, got, want)
		}
	}
}

func TestStates(t *testing.T) {
	if StateDelivered.String() != "delivrd" || State(0).String() != "none" || State(9).String() != "none" || stateOf(9) != 0 {
		t.Error("names of states")
	}
	for s := StateEnroute; s <= StateRejected; s++ {
		if stateNamed(s.String()) != s || stateOf(byte(s)) != s || s.Final() != (s != StateEnroute) {
			t.Errorf("%s is not itself", s)
		}
	}
}

func TestDetailsOfReceipts(t *testing.T) {
	for want, r := range map[string]Receipt{
		"delivered":               {State: StateDelivered, Err: "000"},
		"failed: undeliv err 01b": {State: StateUndeliverable, Err: "01b"},
		"failed: expired":         {State: StateExpired},
		"failed: deleted":         {State: StateDeleted},
		"failed: rejectd":         {State: StateRejected},
		"acceptd":                 {State: StateAccepted},
		"unknown":                 {State: StateUnknown, Err: "7"},
	} {
		if got := r.Detail(); got != want {
			t.Errorf("%+v: %q; want %q", r, got, want)
		}
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add("id:0123456789 sub:001 dlvrd:001 submit date:2611210503 done date:2611210504 stat:DELIVRD err:000 text:x")
	f.Add("ID:\xff stat: err:: :")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseReceipt(text)
		if len(r.MessageID) > maxMessageID || len(r.Err) > 16 || r.State > StateRejected || strings.ContainsAny(r.MessageID+r.Err, " \n\x00") {
			t.Errorf("%q: %+v", text, r)
		}
	})
}

const (
	idParameter      = "\x00\x1e\x00\x04tlv\x00"
	stateParameter   = "\x04\x27\x00\x01\x05"
	networkParameter = "\x04\x23\x00\x03\x03\x01\x02"
)

// A receipt is answered only after it was recorded: what can't be recorded comes
// again, what can't be read is not asked for again.
func TestReceiptsAreRecordedThenAnswered(t *testing.T) {
	type answered struct {
		send frame
		want pdu.Status
	}
	var got []Receipt
	script := []answered{
		{deliverSM(esmReceipt, "id:once stat:DELIVRD", 1), 0x64},
		{deliverSM(esmReceipt, "id:once stat:DELIVRD", 2), 0},
		{deliverSM(esmReceipt, "id:text stat:DELIVRD err:001", 3, idParameter, stateParameter, networkParameter), 0},
		{deliverSM(esmReceipt, "", 4, idParameter, stateParameter, networkParameter), 0},
		{deliverSM(esmReceipt, "no receipt", 5), 0},
		{deliverSM(esmIntermediate, "id:7 stat:ENROUTE", 6), 0},
		{deliverSM(esmReceipt, "id:7 stat:ENROUTE", 9), 0},
		// What a phone sends is no receipt, whatever it says.
		{deliverSM(0, "id:forged stat:DELIVRD", 7), 0},
		{deliverSM(esmReceipt, "", 8, "\x04\x24\x00\x12id:long stat:EXPIRED"[:4]+"id:long stat:EXPIRE"[:18]), 0},
	}
	finished := make(chan struct{})
	c := piped(t, func(c *Config) {
		c.Receipt = func(_ context.Context, r Receipt) error {
			if got = append(got, r); len(got) == 1 {
				return errors.New("the id is not known yet")
			}
			return nil
		}
	}, func(_ int, c *centre) {
		c.accept()
		for _, step := range script {
			c.write(step.send)
			f, ok := c.read()
			if !ok || f.id != pdu.DeliverSMRespID || f.sequence != step.send.sequence || f.status != step.want {
				t.Errorf("deliver_sm %d is answered with %+v; want status %#x", step.send.sequence, f, step.want)
			}
			if len(f.body) != 1 || f.body[0] != 0 {
				t.Errorf("the response has the message_id %q; want none", f.body)
			}
		}
		close(finished)
		c.takeAll()
	})
	<-finished
	want := []Receipt{
		{Provider: "acme", MessageID: "once", State: StateDelivered},
		{Provider: "acme", MessageID: "once", State: StateDelivered},
		{Provider: "acme", MessageID: "tlv", State: StateUndeliverable, Err: "001"},
		{Provider: "acme", MessageID: "tlv", State: StateUndeliverable, Err: "3:258"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d receipts: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("receipt %d: %+v; want %+v", i, got[i], want[i])
		}
	}
	if s := c.Accounts()[0]; s.Receipts != 3 || s.Inbound != 1 || s.Strays != 2 || s.OptOuts != 0 {
		t.Errorf("%+v", s)
	}
}

// A receipt of a message that stays unknown is put off for a while, and then taken:
// centres keep others back behind it.
func TestReceiptsOfUnknownMessagesAreTakenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		got := make(chan pdu.Status)
		c := piped(t, func(c *Config) {
			c.EnquireLink = time.Hour // this centre answers none
			c.Receipt = func(context.Context, Receipt) error {
				if calls.Add(1) > 3 {
					return errors.New("the store is down") // for as long as it takes
				}
				return fmt.Errorf("recording: %w", ErrUnknown)
			}
		}, func(_ int, c *centre) {
			c.accept()
			for _, pause := range []time.Duration{0, orphanTime - time.Second, time.Second, 0, orphanTime} {
				time.Sleep(pause)
				c.write(deliverSM(esmReceipt, "id:7 stat:DELIVRD", 1))
				f, _ := c.next(pdu.DeliverSMRespID)
				got <- f.status
			}
			c.takeAll()
		})
		for i, want := range []pdu.Status{statusTemporaryError, statusTemporaryError, 0, statusTemporaryError, statusTemporaryError} {
			if status := <-got; status != want {
				t.Errorf("answer %d: %#x; want %#x", i, status, want)
			}
		}
		if s := c.Accounts()[0]; s.Strays != 1 || s.Receipts != 0 {
			t.Errorf("%+v", s)
		}
	})
	var o orphans
	for i := range maxOrphans + 1 {
		o.giveUp(fmt.Sprint(i), time.Time{})
	}
	if len(o.since) > maxOrphans {
		t.Errorf("%d are remembered", len(o.since))
	}
}

// A receipt may overtake the result of its message: it is put off once and found the
// next time. What is remembered of it ends then, so that ordinary traffic does not
// fill the room of those that stay unknown.
func TestReceiptsThatAreFoundAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		answered := make(chan pdu.Status)
		c := piped(t, func(c *Config) {
			c.EnquireLink = time.Hour // this centre answers none
			c.Receipt = func(context.Context, Receipt) error {
				if calls.Add(1) == 1 {
					return fmt.Errorf("recording: %w", ErrUnknown)
				}
				return nil
			}
		}, func(_ int, c *centre) {
			c.accept()
			for range 2 {
				c.write(deliverSM(esmReceipt, "id:7 stat:DELIVRD", 1))
				f, _ := c.next(pdu.DeliverSMRespID)
				answered <- f.status
			}
			c.takeAll()
		})
		for i, want := range []pdu.Status{statusTemporaryError, 0} {
			if status := <-answered; status != want {
				t.Errorf("answer %d: %#x; want %#x", i, status, want)
			}
		}
		for _, a := range c.accounts {
			if len(a.orphans.since) > 0 {
				t.Errorf("%v is remembered", a.orphans.since)
			}
		}
	})
}

func TestOptOuts(t *testing.T) {
	for text, want := range map[string]bool{
		"STOP": true, " stop.\n": true, "\"Stop\"!": true, "Unsubscribe": true, "opt  out": true, "ARRÊT": true, "Стоп": true,
		"Abmelden": true, "stop 2": true, "BAJA": true, "stopp": true,
		"": false, "please stop": false, "stop it": false, "nonstop": false, "2": false, "yes": false, "[INC-1] stop": false,
	} {
		if isOptOut(text) != want {
			t.Errorf("%q: %v; want %v", text, !want, want)
		}
	}
}

func TestSenders(t *testing.T) {
	for _, c := range []struct {
		ton        byte
		addr, want string
	}{
		{1, "4915112345678", "+4915112345678"}, {1, "+4915112345678", "+4915112345678"}, {0, "4915112345678", "+4915112345678"},
		{0, "004915112345678", "+4915112345678"}, {2, "015112345678", "015112345678"}, {0, "015112345678", "015112345678"},
		{3, "72404", "72404"}, {0, "72404", "72404"}, {5, "ACME", ""}, {1, "", ""}, {1, "49'; --", ""},
	} {
		if got, _ := sender(c.ton, c.addr); got != c.want {
			t.Errorf("%d %q: %q; want %q", c.ton, c.addr, got, c.want)
		}
	}
}

// optedOut returns the numbers that are suppressed when phones of these types and
// numbers send STOP, and what is logged.
func optedOut(t *testing.T, country string, phones ...[2]any) (numbers []string, log string) {
	var logged bytes.Buffer
	finished := make(chan struct{})
	c := piped(t, func(c *Config) {
		c.Accounts[0].Country = country
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		c.OptOut = func(_ context.Context, _, number string) error { numbers = append(numbers, number); return nil }
	}, func(_ int, c *centre) {
		c.accept()
		for i, phone := range phones {
			c.write(deliverFrom(phone[0].(int), phone[1].(string), 0, pdutext.GSM7("STOP"), uint32(i+1)))
			if got, _ := c.read(); got.status != 0 {
				t.Errorf("STOP of %v is answered with %+v", phone, got)
			}
		}
		close(finished)
		c.takeAll()
	})
	<-finished
	_ = c.Close()
	return numbers, logged.String()
}

func TestNationalNumbersOptOut(t *testing.T) {
	phones := [][2]any{{2, "015112345678"}, {2, "15112345678"}, {0, "015112345678"}, {1, "4915112345678"}, {0, "4915112345678"},
		{3, "72404"}, {0, "72404"}, {2, "0"}, {2, "012345678901234567"}}
	for country, want := range map[string][]string{
		"49": {"+4915112345678", "+4915112345678", "+4915112345678", "+4915112345678", "+4915112345678", "72404", "72404", "0", "012345678901234567"},
		"":   {"015112345678", "15112345678", "015112345678", "+4915112345678", "+4915112345678", "72404", "72404", "0", "012345678901234567"},
	} {
		numbers, log := optedOut(t, country, phones...)
		if !slices.Equal(numbers, want) {
			t.Errorf("with country %q: %q; want %q", country, numbers, want)
		}
		said := 0
		if country == "" {
			said = 1
		}
		if n := strings.Count(log, "national form"); n != said || strings.Contains(log, "5112345678") {
			t.Errorf("with country %q it is said %d times, want %d, and never with a number:\n%s", country, n, said, log)
		}
	}
	if _, log := optedOut(t, "", [2]any{1, "4915112345678"}, [2]any{3, "72404"}); strings.Contains(log, "national form") {
		t.Errorf("complains of numbers that are complete:\n%s", log)
	}
}

func TestMessagesFromPhones(t *testing.T) {
	var numbers []string
	finished := make(chan struct{})
	c := piped(t, func(c *Config) {
		c.OptOut = func(_ context.Context, provider, number string) error {
			if numbers = append(numbers, provider+" "+number); len(numbers) == 1 {
				return errors.New("the store is down")
			}
			return nil
		}
	}, func(_ int, c *centre) {
		c.accept()
		for i, step := range []struct {
			text any
			esm  int
			want pdu.Status
		}{
			{pdutext.GSM7("Stop"), 0, 0x64}, {pdutext.GSM7("Stop"), 0, 0}, {pdutext.UCS2("СТОП"), 0, 0},
			{pdutext.Latin1("arrêt"), 0, 0},
			{append([]byte{5, 0, 3, 1, 1, 1}, "STOP"...), esmUDHI, 0},
			{pdutext.GSM7("thank you"), 0, 0}, {[]byte{200, 1}, esmUDHI, 0},
		} {
			f := deliverSM(step.esm, step.text, uint32(i+1))
			c.write(f)
			if got, _ := c.read(); got.status != step.want || got.sequence != f.sequence {
				t.Errorf("message %d is answered with %+v", i, got)
			}
		}
		close(finished)
		c.takeAll()
	})
	<-finished
	if len(numbers) != 5 {
		t.Errorf("%d calls: %q", len(numbers), numbers)
	}
	for _, n := range numbers {
		if n != "acme "+testNumber {
			t.Errorf("%q", n)
		}
	}
	if s := c.Accounts()[0]; s.OptOuts != 4 || s.Inbound != 2 {
		t.Errorf("%+v", s)
	}
}

// A store that is slow does not stop responses, and what it can't take is put off.
func TestRecordingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		putOff, acked := 0, 0
		c := piped(t, func(c *Config) {
			c.Receipt = func(context.Context, Receipt) error { <-release; return nil }
		}, func(_ int, c *centre) {
			c.accept()
			go func() {
				for i := range maxRecording + 10 {
					c.write(deliverSM(esmReceipt, "id:7 stat:DELIVRD", uint32(i+1)))
				}
			}()
			for {
				f, ok := c.read()
				switch {
				case !ok:
					return
				case f.id == pdu.SubmitSMID:
					c.write(taken(f, "m1"))
				case f.id == pdu.UnbindID:
					c.write(frame{pdu.UnbindRespID, 0, f.sequence, nil})
				case f.status == 0:
					acked++
				default:
					putOff++
				}
			}
		})
		synctest.Wait()
		if r := c.Send(t.Context(), message(t, c, false)); r.Handle != "m1" {
			t.Errorf("%+v", r)
		}
		close(release)
		_ = c.Close()
		synctest.Wait()
		if putOff != 10 || acked != maxRecording {
			t.Errorf("%d put off, %d acknowledged", putOff, acked)
		}
	})
}
