package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// question is a request that counts how often it was written.
type question struct {
	bytes   []byte
	written int
}

func (q *question) Bytes() []byte { return q.bytes }
func (q *question) Written()      { q.written++ }

// dialled returns a connection to a peer that is served so.
func dialled(t *testing.T, serve func(net.Conn)) *Conn {
	t.Helper()
	at := peer(t, "127.0.0.1:0", serve)
	c, err := newDialer(t, loopback, nil).Dial(t.Context(), Endpoint{Host: "127.0.0.1", Port: at.Port()}, time.Second)
	must(t, err)
	t.Cleanup(c.Abort)
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

// asks are both ways to ask.
var asks = map[string]func(*Conn, Question, []byte) (int, bool, error){"ask": (*Conn).Ask, "again": (*Conn).AskAgain}

func TestAskWritesAllAndReadsTheAnswer(t *testing.T) {
	sizes := map[string]int{"short": 100, "more than a socket takes": 8 << 20}
	for name, ask := range asks {
		for of, size := range sizes {
			t.Run(name+", "+of, func(t *testing.T) {
				request, answer := bytes.Repeat([]byte("request "), size/8+1), make([]byte, 16)
				c := dialled(t, func(c net.Conn) {
					got := make([]byte, len(request))
					for {
						if _, err := io.ReadFull(c, got); err != nil {
							return
						}
						text := "the same"
						if !bytes.Equal(got, request) {
							text = "another"
						}
						if _, err := io.WriteString(c, text); err != nil {
							return
						}
					}
				})
				q := &question{bytes: request}
				for i := range 3 {
					n, whole, err := ask(c, q, answer)
					if err != nil || !whole || string(answer[:n]) != "the same" || q.written != i+1 {
						t.Fatalf("%q, whole: %t, written %d times, %v", answer[:n], whole, q.written, err)
					}
				}
			})
		}
	}
}

func TestAskAgainSeesWhatAnIdlePeerDid(t *testing.T) {
	for name, did := range map[string]func(net.Conn) error{
		"spoke":  func(c net.Conn) error { _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); return err },
		"closed": net.Conn.Close,
		"reset": func(c net.Conn) error {
			if err := c.(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
			return c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			do, done := make(chan struct{}), make(chan error, 1)
			defer close(do)
			c := dialled(t, func(c net.Conn) {
				<-do
				done <- did(c)
				<-do
			})
			do <- struct{}{}
			must(t, <-done)
			q := &question{bytes: []byte("request")}
			if n, _, err := c.AskAgain(q, make([]byte, 8)); n != 0 || err != ErrNotQuiet || q.written != 0 {
				t.Errorf("%d bytes, %v, written %d times", n, err, q.written)
			}
		})
	}
}

// What ends a question ends it at once, and says what it was.
func TestAskEnds(t *testing.T) {
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			for end, tc := range map[string]struct {
				cut  func(*Conn) // by us, once the peer has the request; else it closes
				want func(error) bool
			}{
				"closed":    {nil, ClosedByPeer},
				"aborted":   {(*Conn).Abort, func(err error) bool { return errors.Is(err, net.ErrClosed) }},
				"timed out": {func(c *Conn) { _ = c.SetDeadline(time.Now()) }, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
			} {
				t.Run(end, func(t *testing.T) {
					var c *Conn
					asked := make(chan struct{})
					c = dialled(t, func(peer net.Conn) {
						_, _ = io.ReadFull(peer, make([]byte, len("request")))
						if tc.cut != nil {
							tc.cut(c)
							<-asked
						}
					})
					n, whole, err := ask(c, &question{bytes: []byte("request")}, make([]byte, 8))
					close(asked)
					if n != 0 || !whole || !tc.want(err) {
						t.Errorf("%d bytes, whole: %t, %v", n, whole, err)
					}
				})
			}
		})
	}
}

func TestAskAgainDoesNotAllocate(t *testing.T) {
	c := dialled(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	q, answer := &question{bytes: []byte("request")}, make([]byte, 8)
	if n := testing.AllocsPerRun(100, func() {
		if n, _, err := c.AskAgain(q, answer); n != len(q.bytes) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
