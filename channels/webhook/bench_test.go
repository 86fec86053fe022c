package webhook

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

const answerOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// sink answers every request on a connection with 200 without parsing more than
// it must.
func sink(c net.Conn) {
	r := bufio.NewReader(c)
	var req fasthttp.Request
	for req.Read(r) == nil {
		if _, err := io.WriteString(c, answerOK); err != nil {
			return
		}
	}
}

func benchMessage(b *testing.B, c *Channel, address string) *channels.Message {
	b.Helper()
	p, err := c.Render(sampleUpdate(), channels.Variant{Visibility: incident.Public})
	if err != nil {
		b.Fatal(err)
	}
	return &channels.Message{ID: "msg_01234567890123456789012345", Address: address, Attempt: 1, Payload: p,
		Secrets: []string{secretA}}
}

// BenchmarkRender is what an update costs, for each locale and visibility.
func BenchmarkRender(b *testing.B) {
	c, u := new(Channel), sampleUpdate()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Render(u, channels.Variant{Visibility: incident.Public}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSign is the signature of a delivery, and most of what it costs;
// BenchmarkRequest is all of the request, signature included.
func BenchmarkSign(b *testing.B) {
	d, m := newDrafts("Tocsin/1").get(), benchMessage(b, new(Channel), "")
	body := m.Payload.(*payload).json
	stamp, into := []byte("1795237981"), make([]byte, 0, 128)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.signer.sign(into, m.Secrets, m.ID, stamp, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	d, m, now := newDrafts("Tocsin/1").get(), benchMessage(b, new(Channel), ""), time.Now()
	url := egress.URL{Authority: "hooks.example.com", Path: "/hooks/tocsin?team=7"}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.write(m, &url, m.Payload.(*payload).json, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSendWarm(b *testing.B) {
	c, address := newChannel(b, nil), serve(b, sink)
	m := benchMessage(b, c, address)
	if r := c.Send(b.Context(), m); r.Class != channels.Delivered {
		b.Fatal(r)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if r := c.Send(b.Context(), m); r.Class != channels.Delivered {
			b.Fatal(r)
		}
	}
}

func BenchmarkSendCold(b *testing.B) {
	c, address := newChannel(b, nil), serve(b, sink)
	_, port, _ := net.SplitHostPort(address[len("http://"):])
	messages := make([]*channels.Message, 1000)
	for i := range messages {
		messages[i] = benchMessage(b, c, fmt.Sprintf("http://127.1.%d.%d:%s/hook", i/250, i%250+1, port))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if r := c.Send(b.Context(), messages[i%len(messages)]); r.Class != channels.Delivered {
			b.Fatal(r)
		}
		if i++; i%len(messages) == 0 {
			b.StopTimer()
			for c.dialer.Budget.EvictOldest() {
			}
			b.StartTimer()
		}
	}
}
