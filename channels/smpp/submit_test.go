package smpp

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"

	"github.com/tocsin/tocsin/channels"
)

func TestSubmitFields(t *testing.T) {
	type fields = map[pdufield.Name]string
	for source, want := range map[string]fields{
		"STATUS":        {pdufield.SourceAddrTON: "5", pdufield.SourceAddrNPI: "0", pdufield.SourceAddr: "STATUS"},
		"+491510000000": {pdufield.SourceAddrTON: "1", pdufield.SourceAddrNPI: "1", pdufield.SourceAddr: "491510000000"},
		"491510000000":  {pdufield.SourceAddrTON: "1", pdufield.SourceAddrNPI: "1", pdufield.SourceAddr: "491510000000"},
		"72404":         {pdufield.SourceAddrTON: "3", pdufield.SourceAddrNPI: "0", pdufield.SourceAddr: "72404"},
	} {
		seen := make(chan frame, 1)
		c := piped(t, func(c *Config) { c.Accounts[0].Source = source }, func(_ int, c *centre) {
			c.accept()
			f, _ := c.next(pdu.SubmitSMID)
			seen <- f
			c.write(taken(f, "m1"))
			c.takeAll()
		})
		c.Send(t.Context(), message(t, c, false))
		got := (<-seen).submitted(t)
		want[pdufield.DestAddrTON], want[pdufield.DestAddrNPI] = "1", "1"
		want[pdufield.DestinationAddr], want[pdufield.RegisteredDelivery] = testNumber[1:], "1"
		want[pdufield.ESMClass], want[pdufield.DataCoding], want[pdufield.ServiceType] = "0", "0", ""
		for name, value := range want {
			if got[name].String() != value {
				t.Errorf("source %s: %s is %q; want %q", source, name, got[name], value)
			}
		}
	}
}

// What is written by hand is what the codec would have written.
func TestSubmitsAreThoseOfTheCodec(t *testing.T) {
	for _, payload := range []bool{false, true} {
		account := testConfig(nil).Accounts[0]
		account.MessagePayload = payload
		a, err := newAccount(new(testConfig(nil)), account, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"", "a{b}", strings.Repeat("ж", 70), strings.Repeat("x", 2000), strings.Repeat("😀", 100)} {
			for i, got := range a.submits(testNumber[1:], encodeText(body), 7) {
				p, err := pdu.Decode(bytes.NewReader(stamp(bytes.Clone(got), 7)))
				if err != nil {
					t.Fatal(err)
				}
				var want bytes.Buffer
				if err := p.SerializeTo(&want); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(want.Bytes(), stamp(bytes.Clone(got), 7)) {
					t.Errorf("segment %d of %.10q:\n%x\n%x", i, body, got, want.Bytes())
				}
				if cap(got) < len(got) || cap(got) > len(got)+16 {
					t.Errorf("%d bytes in a buffer of %d", len(got), cap(got))
				}
			}
		}
	}
}

func TestSegmentsGoInOrderWithOneReference(t *testing.T) {
	const window = 2 // smaller than the message
	var mu sync.Mutex
	var attempts [][]byte
	c := piped(t, func(c *Config) { c.Accounts[0].Window = window }, func(_ int, c *centre) {
		c.accept()
		for n := 0; ; n++ {
			f, ok := c.next(pdu.SubmitSMID)
			if !ok {
				return
			}
			m := f.submitted(t)
			udh := m[pdufield.ShortMessage].Bytes()[:6]
			mu.Lock()
			attempts = append(attempts, append([]byte(nil), udh...))
			mu.Unlock()
			if m[pdufield.ESMClass].String() != "64" {
				t.Errorf("esm_class %s", m[pdufield.ESMClass])
			}
			wanted := "0"
			if udh[5] == 1 {
				wanted = "1"
			}
			if got := m[pdufield.RegisteredDelivery].String(); got != wanted {
				t.Errorf("segment %d: registered_delivery %s", udh[5], got)
			}
			if n == 1 { // the second segment of the first attempt
				c.write(refused(f, 0x58))
				continue
			}
			c.write(taken(f, string(rune('a'+n))))
		}
	})
	m := message(t, c, true)
	if n := c.Cost(m.Payload); n != 3 {
		t.Fatalf("%d segments", n)
	}
	got := c.Send(t.Context(), m)
	if got.Class != channels.Throttled || got.Handle != "" {
		t.Errorf("got %+v", got)
	}
	m.Attempt++
	mu.Lock()
	first := len(attempts)
	mu.Unlock()
	wantResult(t, c.Send(t.Context(), m), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: string(rune('a' + first))})
	mu.Lock()
	defer mu.Unlock()
	for i, udh := range attempts[first:] {
		if want := []byte{5, 0, 3, attempts[0][3], 3, byte(i + 1)}; string(udh) != string(want) {
			t.Errorf("segment %d of the retry has the header %v; want %v", i+1, udh, want)
		}
	}
	if len(attempts) != first+3 || first < 2 || first > 3 {
		t.Errorf("%d submits in the first attempt, %d in all", first, len(attempts))
	}
	next := *m
	update := *m.Update
	update.Sequence++
	next.Update = &update
	if reference(&next) == reference(m) {
		t.Error("the next update has the same reference")
	}
}

func TestMessagePayload(t *testing.T) {
	seen := make(chan frame, 1)
	c := piped(t, func(c *Config) { c.Accounts[0].MessagePayload = true }, func(_ int, c *centre) {
		c.accept()
		f, _ := c.next(pdu.SubmitSMID)
		seen <- f
		c.write(taken(f, "m1"))
		c.takeAll()
	})
	m := message(t, c, true)
	wantResult(t, c.Send(t.Context(), m), channels.Result{Class: channels.Delivered, Detail: accepted, Handle: "m1"})
	p, err := parseDeliver((<-seen).body) // which has the same fields
	if err != nil {
		t.Fatal(err)
	}
	if want := compose(m.Update, ""); p.text != want {
		t.Errorf("the payload is %q; want %q", p.text, want)
	}
}

func TestNumbers(t *testing.T) {
	for number, want := range map[string]bool{
		"1234567": true, "491511234567890": true, "123456": false, "1234567890123456": false, "": false,
		"01234567": false, "12345a7": false, "1234567 ": false, "+1234567": false, "123456\n": false, "1234567\n": false, "１234567": false,
	} {
		if e164(number) != want {
			t.Errorf("%q: %v", number, !want)
		}
	}
}
