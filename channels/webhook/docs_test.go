package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestDocumentedStatuses(t *testing.T) {
	rows := channeltest.ReadDocs(t, "## Webhook").Table(t, "status")
	used := make([]bool, len(rows))
	for status := 100; status <= 999; status++ {
		for _, pause := range []time.Duration{0, time.Second} {
			at := -1
			for i, row := range rows {
				if channeltest.Numbers(t, row[0])(status) && (row[1] == "any" || pause > 0) {
					at = i
					break
				}
			}
			if at < 0 {
				t.Fatalf("docs/channels.md has no class for %d", status)
			}
			used[at] = true
			if got := classOf(status, pause).String(); got != rows[at][2] {
				t.Errorf("docs/channels.md says %s of %d with the pause %s; it is %s", rows[at][2], status, pause, got)
			}
		}
	}
	for i, row := range rows {
		if !used[i] {
			t.Errorf("docs/channels.md has a row for %s that never decides", row[0])
		}
	}
}

func TestDocumentedResults(t *testing.T) {
	var made []channels.Result
	for _, kind := range []string{"dns: no such host", "connect: refused", "tls_error: timeout"} {
		made = append(made, dialFailed(t.Context(), &egress.Error{Detail: kind}))
	}
	made = append(made, dialFailed(t.Context(), egress.ErrBlocked))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	made = append(made, dialFailed(ended, context.Canceled))
	for _, err := range []error{os.ErrDeadlineExceeded, io.EOF, syscall.ECONNRESET, errors.New("else")} {
		made = append(made, temporary(silence(err)))
	}
	for _, answer := range []string{
		"SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 099 Odd\r\n", "HTTP/1.1 100 Continue\r\n\x00", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9),
	} {
		r := &reader{buf: bufio.NewReader(strings.NewReader(answer))}
		x := &exchange{channel: newChannel(t, nil)}
		x.judge(r.read(nil))
		made = append(made, x.result)
	}
	c := newChannel(t, nil)
	for _, change := range []func(*channels.Message){
		func(m *channels.Message) { m.Address = "https://10.1.2.3/" },
		func(m *channels.Message) { m.Address = "file:///etc/passwd" },
		func(m *channels.Message) { m.Secrets = []string{"no base64!"} },
		func(m *channels.Message) { m.ID = "a.b" },
		func(m *channels.Message) { m.Payload = nil },
	} {
		m := message(t, c, serve(t, sink))
		change(m)
		made = append(made, c.Send(t.Context(), m))
	}
	waits, stop := context.WithCancel(t.Context())
	silent := serve(t, func(c net.Conn) {
		if request(bufio.NewReader(c)) {
			stop()
			_, _ = io.Copy(io.Discard, c)
		}
	})
	made = append(made, c.Send(waits, message(t, c, silent)))
	channeltest.ReadDocs(t, "## Webhook").Results(t, made)
}

func TestDocumentedLimits(t *testing.T) {
	config := Defaults("1")
	channeltest.ReadDocs(t, "## Webhook").Match(t, "limit", map[string]string{
		"name lookup, connect and TLS handshake together (webhook.connect_timeout)": fmt.Sprintf("%.0f s", config.ConnectTimeout.Seconds()),
		"request and answer (webhook.timeout)":                                      fmt.Sprintf("%.0f s", config.Timeout.Seconds()),
		"idle connections kept for a host (webhook.connections)":                    fmt.Sprint(config.IdlePerHost),
		"entries of the timeline":                                                   fmt.Sprint(channels.MaxRecent),
		"their messages together":                                                   fmt.Sprintf("%d KiB", channels.MaxRecentText>>10),
		"head of an answer that is looked at":                                       fmt.Sprintf("%d KiB", largeHead>>10),
		"interim (1xx) answers before the final one":                                fmt.Sprint(maxInterim),
		"body of a failure that is kept":                                            fmt.Sprintf("%d B", maxWords),
		"body that is read to use the connection again":                             fmt.Sprintf("%d KiB", maxBody>>10),
		"and how long it may take":                                                  fmt.Sprintf("%.0f s", bodyTime.Seconds()),
	})
}

func TestDocumentedRequest(t *testing.T) {
	p, err := egress.NewPolicy(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	url, err := p.CheckURL("https://example.com/hooks/tocsin?team=7")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := (&Channel{}).Render(sampleUpdate().SeenBy(incident.Public), channels.Variant{Visibility: incident.Public})
	if err != nil {
		t.Fatal(err)
	}
	m := &channels.Message{ID: "msg_01234567890123456789012345", Secrets: []string{secretA}}
	d := newDrafts(Defaults("1.2.3").UserAgent).get()
	if err := d.write(m, &url, rendered.(*payload).json, sampleUpdate().AcceptedAt.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(d.wire), "\r\n\r\n")
	if got, want := channeltest.ReadDocs(t, "## Webhook").Example(t), strings.ReplaceAll(head, "\r", "")+"\n"; got != want {
		t.Errorf("docs/channels.md has another request than is sent; that is\n%s", want)
	}
}
