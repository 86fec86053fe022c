package webhook

import (
	"bufio"
	"bytes"
	"compress/gzip"
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
	"github.com/tocsin/tocsin/internal/egress"
)

func TestStatusDecides(t *testing.T) {
	for status, want := range map[string]channels.Result{
		"200 OK":                    {Class: channels.Delivered},
		"201 Created":               {Class: channels.Delivered},
		"202":                       {Class: channels.Delivered},
		"204 No Content":            {Class: channels.Delivered},
		"299 Odd":                   {Class: channels.Delivered},
		"300 Choices":               {Class: channels.Permanent, Detail: "http 300: redirects are not followed: x y"},
		"302 Found":                 {Class: channels.Permanent, Detail: "http 302: redirects are not followed: x y"},
		"304 Not Modified":          {Class: channels.Permanent, Detail: "http 304: redirects are not followed"},
		"308 Permanent":             {Class: channels.Permanent, Detail: "http 308: redirects are not followed: x y"},
		"400 Bad Request":           {Class: channels.Permanent, Detail: "http 400: x y"},
		"401 Unauthorized":          {Class: channels.Permanent, Detail: "http 401: x y"},
		"404 Not Found":             {Class: channels.Permanent, Detail: "http 404: x y"},
		"408 Timeout":               {Class: channels.Temporary, Detail: "http 408: x y"},
		"410 Gone":                  {Class: channels.Gone, Detail: "http 410: x y"},
		"425 Too Early":             {Class: channels.Temporary, Detail: "http 425: x y"},
		"429 Too Many":              {Class: channels.Throttled, Detail: "http 429: x y"},
		"500 Oops":                  {Class: channels.Temporary, Detail: "http 500: x y"},
		"503 Unavailable":           {Class: channels.Temporary, Detail: "http 503: x y"},
		"599 Odd":                   {Class: channels.Temporary, Detail: "http 599: x y"},
		"600 Odd":                   {Class: channels.Temporary, Detail: "http 600: not a status of HTTP: x y"},
		"999 Odd":                   {Class: channels.Temporary, Detail: "http 999: not a status of HTTP: x y"},
		"99999 Odd":                 {Class: channels.Temporary, Detail: "the answer has no valid HTTP status"},
		"099 Odd":                   {Class: channels.Temporary, Detail: "the answer has no valid HTTP status"},
		"-20 Odd":                   {Class: channels.Temporary, Detail: "the answer has no valid HTTP status"},
		"429 A\r\nRetry-After: 120": {Class: channels.Throttled, Detail: "http 429: x y", RetryAfter: 2 * time.Minute},
		"429 A\r\nretry-after: -1":  {Class: channels.Throttled, Detail: "http 429: x y"},
		"503 A\r\nRetry-After: 0":   {Class: channels.Throttled, Detail: "http 503: x y", RetryAfter: time.Second},
		"503 A\r\nRetry-After: 1e3": {Class: channels.Temporary, Detail: "http 503: x y"},
		"500 A\r\nRetry-After: 9":   {Class: channels.Temporary, Detail: "http 500: x y"},
		"503 A\r\nRetry-After: Sat, 21 Nov 2026 06:00:30 GMT": {Class: channels.Throttled, Detail: "http 503: x y", RetryAfter: 30 * time.Second},
	} {
		t.Run(status, func(t *testing.T) {
			address := serve(t, says("HTTP/1.1 "+status+"\r\nContent-Length: 4\r\n\r\nx\r\ny"))
			c := newChannel(t, func(c *Config, _ *egress.Config) {
				c.Clock = func() time.Time { return time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC) }
			})
			if got := c.Send(t.Context(), message(t, c, address)); got != want {
				t.Errorf("%+v; want %+v", got, want)
			}
		})
	}
}

func TestHostilePeers(t *testing.T) {
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := strings.Repeat(member.String(), 200) // 200 KB that become 200 MiB
	packed := fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb), bomb)
	reset := func(c net.Conn) {
		request(bufio.NewReader(c))
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	const ok, oops = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 Oops\r\n"
	mega := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		handle func(net.Conn)
		class  channels.Class
		detail string
	}{
		"endless body, 200":          {repeats(ok+"Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n"), channels.Delivered, ""},
		"endless body, 500":          {repeats(oops+"\r\n", "abc "), channels.Temporary, "http 500: abc abc"},
		"long body, 200":             {says(ok + "Content-Length: 1048576\r\n\r\n" + mega), channels.Delivered, ""},
		"long body, 404":             {says("HTTP/1.1 404 No\r\nContent-Length: 1048576\r\n\r\nno such hook " + mega), channels.Permanent, "http 404: no such hook"},
		"huge length, 200":           {says(ok + "Content-Length: 9999999999999999999999\r\n\r\n"), channels.Delivered, ""},
		"negative length, 500":       {says(oops + "Content-Length: -1\r\n\r\n"), channels.Temporary, "http 500"},
		"two lengths, 200":           {says(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk"), channels.Delivered, ""},
		"huge chunk, 500":            {says(oops + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"), channels.Temporary, "http 500"},
		"gzip bomb, 200":             {says(ok + packed), channels.Delivered, ""},
		"gzip bomb, 500":             {says(oops + packed), channels.Temporary, "http 500"},
		"32 MB of headers, 200":      {repeats(ok, "X: "+mega[:8000]+"\r\n"), channels.Delivered, ""},
		"32 MB of headers, 429":      {repeats("HTTP/1.1 429 Slow\r\n", "X: "+mega[:8000]+"\r\n"), channels.Throttled, "http 429"},
		"12 KB of headers, 429":      {says("HTTP/1.1 429 Slow\r\nX: " + mega[:12000] + "\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nhey"), channels.Throttled, "http 429: hey"},
		"1xx flood":                  {repeats("", "HTTP/1.1 102 Processing\r\n\r\n"), channels.Temporary, "too many interim (1xx) answers"},
		"two 1xx, then 200":          {says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + answerOK), channels.Delivered, ""},
		"1xx, then silence":          {says("HTTP/1.1 100 Continue\r\n\r\n"), channels.Temporary, "timeout: no answer in time"},
		"101":                        {says("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), channels.Temporary, "http 101: not a final answer"},
		"silence":                    {says(""), channels.Temporary, "timeout: no answer in time"},
		"silence after half a line":  {says("HTTP/1.1 2"), channels.Temporary, "timeout: no answer in time"},
		"status line drip":           {drips("", ok), channels.Temporary, "timeout: no answer in time"},
		"header drip, 200":           {drips(ok, "X"), channels.Delivered, ""},
		"header drip, 500":           {drips(oops, "X"), channels.Temporary, "http 500"},
		"body drip, 200":             {drips(ok+"Content-Length: 4000\r\n\r\n", "abc "), channels.Delivered, ""},
		"body drip, 500":             {drips(oops+"Content-Length: 4000\r\n\r\n", "abc "), channels.Temporary, "http 500"},
		"cut after the request":      {saysAndCloses(""), channels.Temporary, "closed before an answer"},
		"cut in the status line":     {saysAndCloses("HTTP/1.1 20"), channels.Temporary, "closed before an answer"},
		"cut after the status line":  {saysAndCloses(ok), channels.Delivered, ""},
		"cut in the headers":         {saysAndCloses(ok + "Content-Le"), channels.Delivered, ""},
		"cut in the body, 200":       {saysAndCloses(ok + "Content-Length: 9\r\n\r\nabc"), channels.Delivered, ""},
		"cut in the body, 500":       {saysAndCloses(oops + "Content-Length: 9\r\n\r\nabc de"), channels.Temporary, "http 500: abc"},
		"cut in the chunks, 500":     {saysAndCloses(oops + "Transfer-Encoding: chunked\r\n\r\n9\r\nabc de"), channels.Temporary, "http 500: abc"},
		"reset before the status":    {reset, channels.Temporary, "reset before an answer"},
		"SSH banner":                 {says("SSH-2.0-OpenSSH_9.9\r\n"), channels.Temporary, "the answer is not HTTP/1.1"},
		"HTTP/2 preface":             {says("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"), channels.Temporary, "the answer is not HTTP/1.1"},
		"HTTP/0.9":                   {says("<html>hello there</html>"), channels.Temporary, "the answer is not HTTP/1.1"},
		"invalid header, 200":        {says(ok + "\x00: \x01\r\n\r\n"), channels.Delivered, ""},
		"HTTP/1.0, 200":              {saysAndCloses("HTTP/1.0 200 OK\r\n\r\nhello"), channels.Delivered, ""},
		"503 with a page":            {saysAndCloses("HTTP/1.1 503 Down\r\nContent-Type: text/html\r\n\r\n<html><style>p {}</style><body><h1>Down</h1> for <b>upgrade</b>"), channels.Temporary, "http 503: Down for upgrade"},
		"control characters, 500":    {saysAndCloses(oops + "\r\na\x00b\x1b[31m\xff\xfec\u202ed\r\n"), channels.Temporary, "http 500: a b [31mc d"},
		"429 refused while we write": {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n")); says("")(c) }, channels.Throttled, "http 429"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, tc.handle)
			c := newChannel(t, func(c *Config, _ *egress.Config) { c.Timeout = time.Second }) // less than a status line drips
			got := c.Send(t.Context(), message(t, c, address))
			if got.Class != tc.class || got.NoConnection || !strings.HasPrefix(got.Detail, tc.detail) || (tc.detail == "") != (got.Detail == "") {
				t.Errorf("%+v; want %s, %q", got, tc.class, tc.detail)
			}
			if len(got.Detail) > channels.MaxDetail {
				t.Errorf("%d bytes of detail", len(got.Detail))
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	stalled := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	plain := serve(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n")) })
	for name, tc := range map[string]struct{ address, detail string }{
		"refused":         {"http://" + channeltest.FreeAddress(t), "connect: refused"},
		"no such host":    {"https://hooks.example.com/", "dns: no such host"},
		"no TLS":          {strings.Replace(plain, "http:", "https:", 1), "tls_error: the peer does not speak TLS"},
		"handshake stall": {strings.Replace(stalled, "http:", "https:", 1), "tls_error: timeout"},
		"full backlog":    {"http://" + fullBacklog(t), "connect: timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChannel(t, func(c *Config, _ *egress.Config) { c.ConnectTimeout = time.Second })
			got := c.Send(t.Context(), message(t, c, tc.address+"/secret?token=abcdef"))
			if want := (channels.Result{Class: channels.Temporary, Detail: tc.detail, NoConnection: true}); got != want {
				t.Errorf("%+v; want %+v", got, want)
			}
		})
	}
}

// fullBacklog returns the address of a listener that takes no more connections.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := os.NewFile(uintptr(fd), "listener")
	t.Cleanup(func() { _ = l.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 2 { // the backlog holds one more than its number
		if c, err := net.DialTimeout("tcp", address, 100*time.Millisecond); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return address
}

func TestNamesThatLeadInsideAreBlocked(t *testing.T) {
	c := newChannel(t, func(_ *Config, e *egress.Config) {
		named(t, e, "80")
		policy, err := egress.NewPolicy(egress.Rules{})
		if err != nil {
			t.Fatal(err)
		}
		e.Policy = policy
	})
	got := c.Send(t.Context(), message(t, c, "https://hooks.example.com/x"))
	if want := (channels.Result{Class: channels.Permanent, Detail: "ssrf_blocked"}); got != want {
		t.Errorf("%+v; want %+v", got, want)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "120", "-5", "1e12", "1000000000000", "99999999999999999999999999", "soon", " 5",
		"Sat, 21 Nov 2026 07:00:00 GMT", "Saturday, 21-Nov-26 06:30:00 GMT", "Sat Nov 21 05:00:00 2026", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if got := retryAfter([]byte(text), now); got != 0 && (got < time.Second || got > time.Hour) {
			t.Errorf("%q: %s", text, got)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": time.Second, "1": time.Second, "120": 2 * time.Minute, "3600": time.Hour, "3601": time.Hour,
		"1000000000000": time.Hour, "99999999999999999999999999": time.Hour, "1e12": 0, "-5": 0, "+5": 0, "5 s": 0, "soon": 0, "1.5": 0,
		"Sat, 21 Nov 2026 06:00:30 GMT":    30 * time.Second,
		"Sat, 21 Nov 2026 05:00:00 GMT":    time.Second,
		"Fri, 31 Dec 9999 23:59:59 GMT":    time.Hour,
		"Saturday, 21-Nov-26 06:30:00 GMT": 30 * time.Minute,
		"Sat Nov 21 06:01:00 2026":         time.Minute,
	} {
		if got := retryAfter([]byte(text), now); got != want {
			t.Errorf("%q: %s; want %s", text, got, want)
		}
	}
}
