package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/egress"
)

// silent dials so many connections to a peer that says nothing.
func silent(t *testing.T, n int) []*conn {
	t.Helper()
	url := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := newChannel(t, nil)
	u, err := c.dialer.Policy.CheckURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*conn, n)
	for i := range conns {
		dialled, err := c.dialer.Dial(t.Context(), u.Endpoint, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.idle.adopt(u.Endpoint, dialled, 5*time.Second)
		t.Cleanup(func() { c.idle.drop(conns[i]) })
	}
	return conns
}

func isCut(c *conn) bool {
	_, err := c.Read(make([]byte, 1)) // ends by the cut, or by the deadline
	return errors.Is(err, net.ErrClosed)
}

func TestAContextCutsItsExchangesAlone(t *testing.T) {
	conns := silent(t, 6)
	ctx, cancel := context.WithCancel(t.Context())
	other, cancelOther := context.WithCancel(t.Context())
	defer cancelOther()
	var k cuts
	for i, c := range conns[:4] {
		k.add(ctx, c)
		if n := len(k.all); n != 1 {
			t.Errorf("%d hooks for %d exchanges", n, i+1)
		}
	}
	k.add(other, conns[4])
	// The first leaves its place to the last.
	for _, c := range conns[:2] {
		if !k.remove(c) {
			t.Error("cut, and nothing has ended")
		}
	}
	cancel()
	if !isCut(conns[2]) {
		t.Error("an exchange outlives its context")
	}
	// Too late for the hook that there was, whose exchanges are not over.
	k.add(ctx, conns[5])
	for _, c := range []*conn{conns[2], conns[3], conns[5]} {
		if !isCut(c) || k.remove(c) {
			t.Error("an exchange outlives its context")
		}
	}
	for _, c := range []*conn{conns[0], conns[1], conns[4]} {
		if err := c.SetDeadline(time.Now()); err != nil || isCut(c) {
			t.Errorf("somebody else's connection is cut: %v", err)
		}
	}
	if !k.remove(conns[4]) || len(k.all) != 1 {
		t.Errorf("%d hooks; want one that is kept for the next", len(k.all))
	}
	k.add(t.Context(), conns[4])
	if !k.remove(conns[4]) || len(k.all) != 1 {
		t.Errorf("%d hooks; want one for the last context", len(k.all))
	}
	k.close()
	if len(k.all) != 0 {
		t.Errorf("%d hooks stay", len(k.all))
	}
}

func TestAContextThatNeverEndsCutsNothing(t *testing.T) {
	var k cuts
	c := &conn{Conn: &egress.Conn{}}
	k.add(context.Background(), c)
	if !k.remove(c) || len(k.all) != 0 {
		t.Errorf("%d hooks", len(k.all))
	}
}
