package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Options of a [Webhook] or an [SMTP].
type Options struct {
	// Script says how each target behaves; nil makes all of them OK. What a kind
	// means to a peer is said there.
	Script Script
	// Receipts names a file that receipts are written to while they come, in
	// the lines of [Receipt.AppendText]; none if empty.
	Receipts string
	// Take, if set, is given each receipt as it ends, from many goroutines at once,
	// and the peer keeps none of them: for those who watch for hours. What is
	// judged by its own receipts has none to say anything of.
	Take func(Receipt)
}

// station is what every peer that is dialled has: a listener, the connections
// that it accepted, and a script. Each open connection costs a file descriptor
// and a goroutine.
type station struct {
	book
	script   Script
	listener net.Listener

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	accepted int         // connections, over all time
	most     int         // at once
	refusals map[int]int // requests so far, of Throttled and Faulty targets
	handlers sync.WaitGroup
}

// listen takes a free port of an address; run has to follow. what names the peer
// in an error.
func (s *station) listen(what, host string, o Options) error {
	if s.script = o.Script; s.script == nil {
		s.script = Mix{}.Behaviour
	}
	s.conns, s.refusals = make(map[net.Conn]struct{}), make(map[int]int)
	config := net.ListenConfig{Control: keepToLoopback}
	listener, err := config.Listen(context.Background(), "tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("%s peer: %w", what, err)
	}
	s.take = o.Take
	if s.log, err = newReceiptLog(o.Receipts); err != nil {
		listener.Close()
		return fmt.Errorf("%s peer: %w", what, err)
	}
	s.listener = listener
	return nil
}

// run has each connection served in a goroutine of its own, until Close.
func (s *station) run(serve func(net.Conn)) { s.handlers.Go(func() { s.accept(serve) }) }

// Port returns the port that it listens on.
func (s *station) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Connections returns how many connections are open that were accepted. With 0,
// everything that came over them has its receipt.
func (s *station) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// CutAll ends all connections without a word. Receipts stay.
func (s *station) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Close ends all connections, waits for their receipts and returns what went
// wrong with the receipts file, if anything. Again it does nothing.
func (s *station) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.listener.Close()
	s.CutAll()
	s.handlers.Wait()
	return s.log.close()
}

// acceptPause is how long to wait for a file descriptor to become free.
const acceptPause = 10 * time.Millisecond

func (s *station) accept(serve func(net.Conn)) {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			time.Sleep(acceptPause) // the connection waits in the backlog
			continue
		}
		if err != nil {
			s.failures.note(errors.New("a connection could not be accepted"))
			time.Sleep(acceptPause)
			continue
		}
		if !s.adopt(c) {
			return
		}
		s.handlers.Go(func() {
			serve(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
	}
}

// adopt makes Close end c; false if it is too late for that.
func (s *station) adopt(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	s.accepted++
	s.most = max(s.most, len(s.conns))
	return true
}

// reset ends a connection with a reset instead of in order, and counts it.
func (s *station) reset(c net.Conn) {
	s.refused.Add(1)
	c.(*net.TCPConn).SetLinger(0) // fails only if the connection has ended
	c.Close()
}

// count numbers the requests of targets that refuse their first ones.
func (s *station) count(n int, b Behaviour) int {
	if b.Times == 0 {
		return 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[n]++
	return s.refusals[n]
}
