package peer

import (
	"bufio"
	"net"
	"net/smtp"
	"sync/atomic"
	"testing"
	"time"
)

// lateConn is slow to say that what it was given has left.
type lateConn struct {
	net.Conn
	late     atomic.Bool
	released chan struct{}
}

func (c *lateConn) Write(p []byte) (int, error) {
	late := c.late.Load()
	n, err := c.Conn.Write(p)
	if late {
		<-c.released
	}
	return n, err
}

// Whoever has had an answer finds its receipt.
func TestPeersHaveReceiptsOfWhatTheyAnswered(t *testing.T) {
	for name, answered := range map[string]func(t *testing.T, conn *lateConn, client net.Conn) (receipts func() []Receipt){
		"webhook": func(t *testing.T, conn *lateConn, end net.Conn) func() []Receipt {
			w := start(t, Options{})
			w.handlers.Go(func() { w.serve(conn, 1) })
			t.Cleanup(func() { end.Close() })
			conn.late.Store(true)
			c := &client{t, end, bufio.NewReader(end)}
			c.send(1, 1)
			if status, _ := c.status(); status != 200 {
				t.Fatal(status)
			}
			return w.Receipts
		},
		"mail": func(t *testing.T, conn *lateConn, end net.Conn) func() []Receipt {
			asked := 0
			s := startSMTP(t, Options{Script: func(int) Behaviour {
				asked++
				conn.late.Store(asked == 2) // at RCPT, and when the message was read
				return Behaviour{}
			}})
			s.handlers.Go((&smtpSession{peer: s, conn: conn, lines: bufio.NewReader(conn)}).serve)
			t.Cleanup(func() { end.Close() })
			c, err := smtp.NewClient(end, "peer.example")
			if err != nil {
				t.Fatal(err)
			}
			if code := deliver(c, Mailbox(1), letter(1, "INC-1", 1)); code != 250 {
				t.Fatal(code)
			}
			return s.Receipts
		},
		"SMS": func(t *testing.T, conn *lateConn, end net.Conn) func() []Receipt {
			s := startSMSC(t, SMSCOptions{Quiet: true})
			s.handlers.Go(newSMSCLink(s, conn).serve)
			t.Cleanup(func() { end.Close() })
			e := &esme{t: t, Conn: end}
			if status := e.bind("tocsin", "secret"); status != 0 {
				t.Fatal(status)
			}
			conn.late.Store(true)
			e.submitTo(1, shortText(1), 0)
			if status := e.status(); status != 0 {
				t.Fatal(status)
			}
			return s.Receipts
		},
	} {
		t.Run(name, func(t *testing.T) {
			end, server := net.Pipe()
			conn := &lateConn{Conn: server, released: make(chan struct{})}
			receipts := answered(t, conn, end)
			got := make(chan int, 1)
			go func() { got <- len(receipts()) }()
			select {
			case n := <-got:
				t.Errorf("%d receipts before the answer was noted", n)
				got <- n
			case <-time.After(20 * time.Millisecond):
			}
			close(conn.released)
			if n := <-got; n != 1 {
				t.Errorf("%d receipts of one that was answered", n)
			}
		})
	}
}
