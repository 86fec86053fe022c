package webhook

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/channels/channeltest"
	"github.com/tocsin/tocsin/internal/egress"
)

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Fixture{
		New: func(t *testing.T, s channeltest.Script) channels.Channel {
			return newChannel(t, func(c *Config, _ *egress.Config) {
				c.ConnectTimeout, c.Timeout = s.Patience(), s.Patience()
			})
		},
		Play:    play,
		Secrets: []string{secretA, secretB},
	})
}

// play is the far side of the contract kit.
func play(t *testing.T, s channeltest.Script) *channeltest.Peer {
	var mu sync.Mutex
	var received []channeltest.Receipt
	var talked atomic.Int64
	base := serve(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			head, err := httputil.DumpRequest(req, false)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			mu.Lock()
			received = append(received, channeltest.Receipt{ID: req.Header.Get("webhook-id"), Body: body})
			mu.Unlock()
			said := strings.Join([]string{req.RequestURI, secretA, secretB, req.Host, string(head), string(body)}, " ")
			if !answerBy(c, s, said, &talked) {
				return
			}
		}
	})
	if s == channeltest.Nobody {
		base = "http://" + fullBacklog(t)
	}
	const path, query = "/services/T0001/XyZzy42", "token=abracadabra"
	return &channeltest.Peer{
		Address: base + path + "?" + query,
		Private: []string{base[len("http://"):], path, query, "XyZzy42", "abracadabra"},
		Received: func() []channeltest.Receipt {
			mu.Lock()
			defer mu.Unlock()
			return append([]channeltest.Receipt(nil), received...)
		},
		Talked: talked.Load,
	}
}

// answerBy plays a script and reports whether the connection goes on.
func answerBy(c net.Conn, s channeltest.Script, said string, talked *atomic.Int64) bool {
	const empty = "Content-Length: 0\r\n\r\n"
	answer := map[channeltest.Script]string{
		channeltest.Accept:   answerOK,
		channeltest.Echo:     "HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n" + said,
		channeltest.Throttle: "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n" + empty,
		channeltest.Gone:     "HTTP/1.1 410 Gone\r\n" + empty,
		channeltest.Refuse:   "HTTP/1.1 400 No\r\n" + empty,
		channeltest.Silent:   "",
		channeltest.Garbage:  "\x00\x1b[31m\xff 220 mail.example.com ESMTP\r\n",
		channeltest.Flood:    "HTTP/1.1 500 Oops\r\n\r\n",
	}
	_, err := io.WriteString(c, answer[s])
	switch s {
	case channeltest.Echo, channeltest.Cut:
		return false
	case channeltest.Flood:
		for err == nil {
			var n int
			n, err = io.WriteString(c, "and so on and on ")
			talked.Add(int64(n))
		}
	}
	return err == nil
}
