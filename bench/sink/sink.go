package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/internal/peer"
)

// Options say who a sink is.
type Options struct {
	// Port is where it listens; 0 means any free one.
	Port int
	// Targets and Sequences bound what may come; the rest is counted as
	// invalid.
	Targets, Sequences int
	// Addresses are where the targets are.
	Addresses Addresses
	// Mix says how the targets up to Mixed behave; all others answer 200 at
	// once.
	Mix   peer.Mix
	Mixed int
	// TLS makes it speak HTTPS.
	TLS *tls.Config
}

// Sink is a listener that is every host at once. Each open connection costs a
// descriptor, a goroutine and 4 KiB.
type Sink struct {
	options  Options
	listener net.Listener
	tally    *tally
	tries    []atomic.Uint32 // requests so far by target, where Mix asks for it

	handshakes atomic.Int64
	resumed    atomic.Int64

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	invalid  map[string]int
	handlers sync.WaitGroup
}

// Start listens on every loopback address. The caller must Close the sink.
func Start(o Options) (*Sink, error) {
	if o.Targets < 1 || o.Sequences < 1 || !o.Addresses.valid() {
		return nil, fmt.Errorf("a sink needs targets, sequences and hosts, 1 or more of each, and at most %d hosts to be shared", peer.MaxShared)
	}
	listen := net.ListenConfig{Control: keepToLoopback}
	listener, err := listen.Listen(context.Background(), "tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Sink{options: o, listener: listener, tally: newTally(o.Targets, o.Sequences),
		conns: make(map[net.Conn]struct{}), invalid: make(map[string]int)}
	if len(o.Mix.Shares) > 0 {
		s.tries = make([]atomic.Uint32, o.Targets)
	}
	s.handlers.Go(s.accept)
	return s, nil
}

// Port returns where every host listens.
func (s *Sink) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close ends all connections and waits for their goroutines.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.listener.Close()
	s.mu.Unlock()
	s.HangUp()
	s.handlers.Wait()
	return err
}

// HangUp closes every connection, idle or not: the next requests need new ones.
func (s *Sink) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// acceptPause is how long to wait for a descriptor to become free.
const acceptPause = 10 * time.Millisecond

func (s *Sink) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
				s.refuse(errors.New("a connection could not be accepted"))
			}
			time.Sleep(acceptPause) // it waits in the backlog
			continue
		}
		host := s.options.Addresses.local(c)
		if host < 1 {
			c.Close()
			continue
		}
		if !s.adopt(c) {
			return
		}
		s.handlers.Go(func() {
			s.serve(c, host)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
	}
}

// adopt makes Close end c; false if it is too late for that.
func (s *Sink) adopt(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Sink) refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalid[why.Error()]++
}

func (s *Sink) refused() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.invalid)
}

func (s *Sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// handshakePatience bounds a TLS handshake.
const handshakePatience = time.Minute

// serve answers one request after the other.
func (s *Sink) serve(c net.Conn, host int) {
	if s.options.TLS != nil {
		secured := tls.Server(c, s.options.TLS)
		c.SetDeadline(time.Now().Add(handshakePatience))
		if secured.Handshake() != nil {
			return // who dialled says why
		}
		c.SetDeadline(time.Time{})
		s.handshakes.Add(1)
		if secured.ConnectionState().DidResume {
			s.resumed.Add(1)
		}
		c = secured
	}
	buffer, have := make([]byte, 4096), 0
	for {
		r, err := parse(buffer[:have])
		switch {
		case err == nil && r.size == 0:
			if have == len(buffer) {
				buffer = append(buffer, make([]byte, len(buffer))...)
			}
			n, err := c.Read(buffer[have:])
			if n == 0 && err != nil {
				return // between two requests, or its client died within one
			}
			have += n
			continue
		case err == nil && s.options.Addresses.host(r.target) != host:
			err = errHost
		case err == nil && !s.tally.knows(r.target, r.sequence):
			err = errUnknown
		}
		if err != nil {
			s.refuse(err)
			c.Write(badRequest)
			return
		}
		if !s.answer(c, r) || r.close {
			return
		}
		have = copy(buffer, buffer[r.size:have])
	}
}

// answer does what the target's behaviour says; false ends the connection.
func (s *Sink) answer(c net.Conn, r request) bool {
	s.tally.receive(r.target, r.sequence, r.size)
	status, response := 200, okResponse
	if r.target <= s.options.Mixed {
		b := s.options.Mix.Behaviour(r.target)
		nth := 1
		if s.tries != nil {
			nth = int(s.tries[r.target-1].Add(1))
		}
		if status = b.Status(nth); status == 0 {
			gone(c, time.Time{})
			return false
		}
		if b.After > 0 && gone(c, time.Now().Add(b.After)) {
			return false
		}
		response = responseOf(status, b.RetryAfter)
	}
	first := status == 200 && s.tally.answer(r.target, r.sequence)
	if _, err := c.Write(response); err != nil {
		if first {
			s.tally.unanswer(r.target, r.sequence)
		}
		return false
	}
	return true
}

// gone waits until a time, for ever if it is zero, and reports whether the client
// left meanwhile. One that sends more instead is none of ours: that ends it too.
func gone(c net.Conn, until time.Time) bool {
	c.SetReadDeadline(until)
	var b [1]byte
	if _, err := c.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	return c.SetReadDeadline(time.Time{}) != nil
}

var (
	okResponse   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	goneResponse = []byte("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
	errorAnswer  = []byte("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 11\r\n\r\nout of tea\n")
	badRequest   = []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
)

func responseOf(status int, retryAfter time.Duration) []byte {
	switch status {
	case 200:
		return okResponse
	case 410:
		return goneResponse
	case 429:
		seconds := int64((retryAfter + time.Second - 1) / time.Second)
		b := []byte("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: ")
		return append(strconv.AppendInt(b, seconds, 10), "\r\n\r\n"...)
	}
	return errorAnswer
}
