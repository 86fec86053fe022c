package smtp

import (
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

// BenchmarkRender is what an update costs, for each format, locale and visibility.
func BenchmarkRender(b *testing.B) {
	c, u := noPeer(b, nil), sampleUpdate(3)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Render(u, channels.Variant{Visibility: incident.Public}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompose is what a recipient costs.
func BenchmarkCompose(b *testing.B) {
	const link = sampleLink
	c := noPeer(b, func(c *Config) { c.Unsubscribe = func(int64) string { return link } })
	m, d := message(b, c, 3, address), new(draft)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.compose(c, c.first, m.Payload.(*payload), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSink sends b.N mails to Postfix's smtp-sink, and lets Postfix's own
// smtp-source do the same beside it:
//
//	go test -run - -bench Sink -benchtime 20000x ./channels/smtp
func BenchmarkSink(b *testing.B) {
	for _, sessions := range []int{10, 50} {
		b.Run(fmt.Sprintf("tocsin-%d", sessions), func(b *testing.B) {
			at := sink(b, "")
			c := newChannel(b, "smtp://"+at+"?tls=none", func(c *Config, _ *egress.Config) {
				c.Relays[0].Connections = sessions
				c.ConnectTimeout, c.Timeout, c.FinalTimeout = 30*time.Second, 30*time.Second, 30*time.Second
			})
			m := message(b, c, 3, address)
			var left atomic.Int64
			send := func(n int) {
				left.Store(int64(n))
				var all sync.WaitGroup
				for range sessions {
					all.Go(func() {
						for left.Add(-1) >= 0 {
							if r := c.Send(b.Context(), m); r.Class != channels.Delivered {
								b.Error(r)
								return
							}
						}
					})
				}
				all.Wait()
			}
			send(sessions)
			b.ReportAllocs()
			b.ResetTimer()
			send(b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
		b.Run(fmt.Sprintf("smtp-source-%d", sessions), func(b *testing.B) {
			at, program := sink(b, ""), tool(b, "smtp-source")
			c := noPeer(b, nil)
			m := message(b, c, 3, address)
			content, err := new(draft).compose(c, c.first, m.Payload.(*payload), m)
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			out, err := exec.CommandContext(b.Context(), program, "-d", "-s", strconv.Itoa(min(sessions, b.N)), "-m", strconv.Itoa(b.N),
				"-l", strconv.Itoa(len(content)), "-f", "status@example.com", "-t", address, at).CombinedOutput()
			if err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}
