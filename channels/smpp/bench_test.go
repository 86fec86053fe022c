package smpp

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/peer"
)

// benchmarkSend sends over one bind with a window of 100 to a centre in this
// process: the figure is of both sides.
func benchmarkSend(b *testing.B, url string, long bool) {
	const window = 100
	c := listening(b, testConfig(func(c *Config) { c.Accounts[0].URL, c.Accounts[0].Window = url, window }))
	m := message(b, c, long)
	segments := c.Cost(m.Payload)
	numbers := make([]string, 10_000)
	for i := range numbers {
		numbers[i] = peer.PhoneNumber(i + 1)
	}
	b.ReportAllocs()
	next := make(chan int, window)
	var all sync.WaitGroup
	for range window {
		all.Go(func() {
			for n := range next {
				own := *m
				own.Address = numbers[n%len(numbers)]
				if r := c.Send(b.Context(), &own); r.Class != channels.Delivered {
					b.Error(r)
				}
			}
		})
	}
	n := 0
	for b.Loop() {
		next <- n
		n++
	}
	close(next)
	all.Wait()
	b.ReportMetric(float64(n*segments)/b.Elapsed().Seconds(), "SMS/s")
}

// The sink takes everything and looks at nothing: what remains is our side.
func BenchmarkSend(b *testing.B) {
	benchmarkSend(b, "smpp://tocsin:x@"+serve(b, sink), false)
}

func BenchmarkSendLong(b *testing.B) {
	benchmarkSend(b, "smpp://tocsin:x@"+serve(b, sink), true)
}

func sink(c *centre) {
	if !c.accept() {
		return
	}
	var out []byte
	for {
		if !buffered(c.in) {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
		h, _, err := readFrame(c.in, &c.buf)
		if err != nil || h.ID == pdu.UnbindID {
			return
		}
		out = append(out, 0, 0, 0, 18, 0x80, 0, 0, 4, 0, 0, 0, 0)
		out = append(binary.BigEndian.AppendUint32(out, h.Seq), '1', 0)
	}
}

// The SMSC of package peer reads every message as a handset would, and with
// receipts sends one for each.
func BenchmarkSendToPeer(b *testing.B)             { benchmarkPeer(b, false) }
func BenchmarkSendToPeerWithReceipts(b *testing.B) { benchmarkPeer(b, true) }

func benchmarkPeer(b *testing.B, receipts bool) {
	smsc, err := peer.StartSMSC(peer.SMSCOptions{Quiet: !receipts})
	if err != nil {
		b.Fatal(err)
	}
	benchmarkSend(b, smsc.URL(), false)
	b.StopTimer()
	if err := smsc.Close(); err != nil {
		b.Error(err)
	}
}

func BenchmarkSubmitEncode(b *testing.B) {
	a, err := newAccount(new(testConfig(nil)), testConfig(nil).Accounts[0], nil)
	if err != nil {
		b.Fatal(err)
	}
	text := encodeText(compose(sampleUpdate(), ""))
	b.ReportAllocs()
	for b.Loop() {
		a.submits(testNumber[1:], text, 7)
	}
}

func BenchmarkRender(b *testing.B) {
	c, u := &Channel{}, sampleUpdate()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Render(u, channels.Variant{Locale: "de"}); err != nil {
			b.Fatal(err)
		}
	}
}
