package webhook

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// counted counts the connections a peer gets and the requests on them.
type counted struct{ conns, requests atomic.Int32 }

// answers handles a connection with the n-th of texts for its n-th request, the
// last for all that follow; an empty one closes.
func (k *counted) answers(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		k.conns.Add(1)
		r := bufio.NewReader(c)
		for i := 0; request(r); i++ {
			k.requests.Add(1)
			text := texts[min(i, len(texts)-1)]
			if text == "" {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

func TestCleanConnectionsAreUsedAgain(t *testing.T) {
	const ok, no = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 No\r\n"
	for name, tc := range map[string]struct {
		answer string
		again  bool
	}{
		"with a length":            {answerOK, true},
		"no content":               {"HTTP/1.1 204 No Content\r\n\r\n", true},
		"chunked":                  {ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
		"a failure with words":     {no + "Content-Length: 3\r\n\r\nabc", true},
		"a failure in chunks":      {no + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
		"8 KiB":                    {ok + "Content-Length: 8192\r\n\r\n" + string(make([]byte, 8192)), true},
		"more than 8 KiB":          {ok + "Content-Length: 8193\r\n\r\n" + string(make([]byte, 8193)), false},
		"chunks with a trailer":    {ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", false},
		"no length":                {ok + "\r\n", false},
		"asks to close":            {ok + "Connection: close\r\nContent-Length: 0\r\n\r\n", false},
		"asks to Close, in a list": {ok + "Connection: x, Close\r\nContent-Length: 0\r\n\r\n", false},
		"HTTP/1.0":                 {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false},
		"says more than it should": {answerOK + answerOK, false},
		"an interim answer late":   {answerOK + "HTTP/1.1 100 Continue\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			var k counted
			c, address := newChannel(t, nil), serve(t, k.answers(tc.answer))
			for range 3 {
				if r := c.Send(t.Context(), message(t, c, address)); r.Class != channels.Delivered && r.Detail != "http 500: abc" {
					t.Fatal(r)
				}
			}
			if conns := k.conns.Load(); k.requests.Load() != 3 || (conns == 1) != tc.again || !tc.again && conns != 3 {
				t.Errorf("%d requests on %d connections; want used again: %t", k.requests.Load(), conns, tc.again)
			}
		})
	}
}

// What a peer sends between two requests could be taken for the answer to the next.
func TestAnswersSentInAdvanceAreNotTaken(t *testing.T) {
	var conns atomic.Int32
	said := make(chan struct{})
	c, address := newChannel(t, nil), serve(t, func(peer net.Conn) {
		first := conns.Add(1) == 1
		r := bufio.NewReader(peer)
		for request(r) {
			_, _ = io.WriteString(peer, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
			if first {
				// In a piece of its own, so that it comes after the answer was read.
				<-said
				_, _ = io.WriteString(peer, answerOK)
				said <- struct{}{}
			}
		}
	})
	send := func() channels.Class { return c.Send(t.Context(), message(t, c, address)).Class }
	if got := send(); got != channels.Temporary {
		t.Fatal(got)
	}
	said <- struct{}{}
	<-said
	if got := send(); got != channels.Temporary {
		t.Errorf("%s; the peer answered 500 to both", got)
	}
	if conns.Load() != 2 {
		t.Errorf("%d connections; want a new one", conns.Load())
	}
}

// A peer that closes a kept connection as the next request comes in has not failed.
func TestAStaleConnectionIsReplacedOnce(t *testing.T) {
	for name, texts := range map[string][]string{
		"the new one answers":           {answerOK, ""},
		"the new one is closed as well": {""},
	} {
		t.Run(name, func(t *testing.T) {
			var k counted
			var conns atomic.Int32
			c, address := newChannel(t, nil), serve(t, func(peer net.Conn) {
				if conns.Add(1) == 1 {
					k.answers(answerOK, "")(peer)
				} else {
					k.answers(texts...)(peer)
				}
			})
			m := message(t, c, address)
			if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
				t.Fatal(r)
			}
			r := c.Send(t.Context(), m)
			if texts[0] == "" {
				if r.Class != channels.Temporary || r.Detail != "closed before an answer" || r.NoConnection {
					t.Errorf("%+v", r)
				}
			} else if r.Class != channels.Delivered {
				t.Errorf("%+v", r)
			}
			if k.requests.Load() != 3 || k.conns.Load() != 2 {
				t.Errorf("%d requests on %d connections", k.requests.Load(), k.conns.Load())
			}
		})
	}
}

func TestAKeptConnectionThatFallsSilentIsNotReplaced(t *testing.T) {
	var k counted
	c := newChannel(t, func(c *Config, _ *egress.Config) { c.Timeout = time.Second })
	address := serve(t, k.answers(answerOK, "HTTP/1.1"))
	m := message(t, c, address)
	if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
		t.Fatal(r)
	}
	if r := c.Send(t.Context(), m); r.Class != channels.Temporary || r.Detail != "timeout: no answer in time" {
		t.Errorf("%+v", r)
	}
	if k.requests.Load() != 2 {
		t.Errorf("%d requests", k.requests.Load())
	}
}

func TestTheConnectionUsedLastIsTakenFirstAndFewAreKept(t *testing.T) {
	var conns atomic.Int32
	came, answer := make(chan struct{}, 16), make(chan struct{})
	c := newChannel(t, func(c *Config, _ *egress.Config) { c.IdlePerHost = 2 })
	address := serve(t, func(peer net.Conn) {
		conns.Add(1)
		for r := bufio.NewReader(peer); request(r); {
			came <- struct{}{}
			<-answer
			if _, err := io.WriteString(peer, answerOK); err != nil {
				return
			}
		}
	})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if r := c.Send(t.Context(), message(t, c, address)); r.Class != channels.Delivered {
				t.Errorf("%+v", r)
			}
		})
	}
	for range 5 {
		<-came // all at once: each needs a connection of its own
	}
	close(answer)
	all.Wait()
	if used := c.dialer.Budget.Used(); used != 2 {
		t.Errorf("%d connections are kept; want 2", used)
	}
	h := c.idle.hosts[egress.Endpoint{Host: "127.0.0.1", Port: portOf(t, address)}]
	last := h.idle[1]
	c.Send(t.Context(), message(t, c, address))
	if h.idle[1] != last || conns.Load() != 5 {
		t.Error("want the connection that was used last taken first, and nothing dialled")
	}
	c.dialer.Budget.EvictOldest()
	if len(h.idle) != 1 || h.idle[0] != last || h.open != 1 {
		t.Errorf("%d idle and %d open after an eviction", len(h.idle), h.open)
	}
	c.dialer.Budget.EvictOldest()
	if len(c.idle.hosts) != 0 {
		t.Error("a host without connections is still known")
	}
}

func portOf(t *testing.T, address string) uint16 {
	t.Helper()
	u, err := net.ResolveTCPAddr("tcp", address[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	return uint16(u.Port)
}

// One more host than there are descriptors: the idle ones make room.
func TestManyHostsFitIntoASmallBudget(t *testing.T) {
	var k counted
	c := newChannel(t, func(_ *Config, e *egress.Config) { e.Budget = egress.NewBudget(4, time.Minute) })
	address := serve(t, k.answers(answerOK))
	port := address[len("http://127.0.0.1"):]
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			host := net.IPv4(127, 0, 1, byte(i+1)).String()
			if r := c.Send(t.Context(), message(t, c, "http://"+host+port)); r.Class != channels.Delivered {
				t.Errorf("%+v", r)
			}
		})
	}
	all.Wait()
	if used := c.dialer.Budget.Used(); used > 4 || k.requests.Load() != 40 {
		t.Errorf("%d descriptors used, %d requests", used, k.requests.Load())
	}
}

func TestStoppingBeforeAnythingIsSent(t *testing.T) {
	var k counted
	c := newChannel(t, func(_ *Config, e *egress.Config) { e.Gate = egress.NewGate(1, 1) })
	address := serve(t, k.answers(answerOK))
	m := message(t, c, address)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := c.Send(ctx, m); r != notSent {
		t.Errorf("ended before: %+v", r)
	}

	pass, err := c.dialer.Gate.Enter(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer pass.Leave()
	// It waits in the gate, or has not yet begun to.
	ctx, cancel = context.WithCancel(t.Context())
	go cancel()
	if r := c.Send(ctx, m); r != notSent {
		t.Errorf("ended in the gate: %+v", r)
	}
	if k.conns.Load() != 0 {
		t.Errorf("%d connections", k.conns.Load())
	}
}

func TestStoppingWhileTheAnswerIsAwaited(t *testing.T) {
	came := make(chan struct{})
	c := newChannel(t, func(c *Config, _ *egress.Config) { c.Timeout = time.Hour })
	address := serve(t, func(peer net.Conn) {
		request(bufio.NewReader(peer))
		close(came)
		_, _ = io.Copy(io.Discard, peer)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-came; cancel() }()
	if r := c.Send(ctx, message(t, c, address)); r != temporary("stopped while it waited for the answer") {
		t.Errorf("%+v", r)
	}
	if used := c.dialer.Budget.Used(); used != 0 {
		t.Errorf("%d descriptors used", used)
	}
}

// A kept connection whose context ended must not be given to the next exchange.
func TestStoppingAKeptConnectionDoesNotKeepIt(t *testing.T) {
	var k counted
	c, address := newChannel(t, nil), serve(t, k.answers(answerOK))
	m := message(t, c, address)
	c.Send(t.Context(), m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := c.Send(ctx, m); r != notSent {
		t.Errorf("%+v", r)
	}
	if r := c.Send(t.Context(), m); r.Class != channels.Delivered {
		t.Errorf("%+v", r)
	}
}
