package floor

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/peer"
)

// The centre of tests reads each message as a handset would.
func TestMessagesArriveOnce(t *testing.T) {
	for _, args := range [][]string{nil, {"--receipts"}} {
		centre, err := peer.StartSMSC(peer.SMSCOptions{SystemID: "tocsin", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		flags := []string{"smpp", "--port", strconv.Itoa(centre.Port()), "--count", "60", "--window", "7"}
		r, err := runFloor(t, append(flags, args...)...)
		if err != nil || r.Deliveries != 60 || r.P50MS <= 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := centre.Close(); err != nil {
			t.Error(err)
		}
		got := centre.Report()
		sound(t, got.Report, 60)
		if wanted := len(args) > 0; (got.Reports.Sent > 0) != wanted {
			t.Errorf("%d delivery reports", got.Reports.Sent)
		}
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	mix, err := peer.ParseMix("dead=50")
	if err != nil {
		t.Fatal(err)
	}
	dead := 0
	for n := 1; n <= 30; n++ {
		if mix.Behaviour(n).Kind == peer.Dead {
			dead++
		}
	}
	centre, err := peer.StartSMSC(peer.SMSCOptions{Script: mix.Behaviour, Quiet: true, SystemID: "tocsin", Password: "other"})
	if err != nil {
		t.Fatal(err)
	}
	defer centre.Close()
	flags := []string{"smpp", "--port", strconv.Itoa(centre.Port()), "--count", "30", "--window", "4"}
	if r, err := runFloor(t, flags...); err == nil || r != nil || !strings.Contains(err.Error(), "bind") {
		t.Errorf("the password is wrong: %+v, %v", r, err)
	}
	r, err := runFloor(t, append(flags, "--password", "other")...)
	if err == nil || !strings.Contains(err.Error(), "0x8") || r.Errors != dead || r.Deliveries != 30-dead {
		t.Errorf("%+v, %v; %d are dead", r, err, dead)
	}
}

// link is a bind as an SMS centre has it.
type link struct {
	net.Conn
	in     *bufio.Reader
	buffer [smppMost]byte
}

// accept takes a bind.
func accept(c net.Conn) (*link, bool) {
	l := &link{Conn: c, in: bufio.NewReader(c)}
	p, ok := l.next()
	return l, ok && p.command == bindTransceiver && l.answer(p, 0)
}

func (l *link) next() (pdu, bool) {
	p, err := readPDU(l.in, &l.buffer)
	return p, err == nil
}

func (l *link) answer(p pdu, status byte) bool {
	b := appendPDU(nil, p.command|smppResponse, p.sequence, 0)
	b[11] = status
	_, err := l.Write(b)
	return err == nil
}

// centre serves binds and returns the port.
func centre(t *testing.T, serveLink func(*link)) string {
	t.Helper()
	address := serve(t, func(c net.Conn) {
		if l, ok := accept(c); ok {
			serveLink(l)
		}
	})
	return strconv.Itoa(address.(*net.TCPAddr).Port)
}

// A centre that answers only once the window is full gets a full one, and no more.
func TestTheWindowIsFull(t *testing.T) {
	const window, count = 5, 20
	port := centre(t, func(l *link) {
		for range count / window {
			var waiting [window]pdu
			for i := range waiting {
				var ok bool
				if waiting[i], ok = l.next(); !ok {
					return
				}
			}
			if l.in.Buffered() > 0 {
				t.Error("there are more messages than the window has places")
			}
			for _, p := range waiting {
				l.answer(p, 0)
			}
		}
	})
	r, err := runFloor(t, "smpp", "--port", port, "--count", strconv.Itoa(count), "--window", strconv.Itoa(window), "--limit", "20s")
	if err != nil || r.Deliveries != count {
		t.Errorf("%+v, %v", r, err)
	}
}

// What the centre asks meanwhile gets its answer.
func TestTheCentreAsks(t *testing.T) {
	answers := make(chan pdu, 2)
	port := centre(t, func(l *link) {
		submit, ok := l.next()
		if !ok {
			return
		}
		if _, err := l.Write(appendPDU(appendPDU(nil, enquireLink, 7), deliverSM, 8)); err != nil {
			return
		}
		for range 2 {
			p, ok := l.next()
			if !ok {
				return
			}
			answers <- p
		}
		l.answer(submit, 0)
	})
	if r, err := runFloor(t, "smpp", "--port", port, "--count", "1", "--limit", "20s"); err != nil || r.Deliveries != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, want := range []pdu{{enquireLink | smppResponse, 0, 7}, {deliverSM | smppResponse, 0, 8}} {
		if got := <-answers; got != want {
			t.Errorf("%+v; want %+v", got, want)
		}
	}
}

func TestCentresThatMisbehave(t *testing.T) {
	for name, serveLink := range map[string]func(*link){
		"hangs up": func(l *link) { l.next() },
		"unbinds": func(l *link) {
			l.next()
			_, _ = l.Write(appendPDU(nil, unbind, 1))
			l.next()
		},
		"answers nobody": func(l *link) {
			p, _ := l.next()
			p.sequence = 99
			l.answer(p, 0)
			l.next()
		},
		"answers twice": func(l *link) {
			p, _ := l.next()
			l.answer(p, 0)
			l.answer(p, 0)
			for ok := true; ok; _, ok = l.next() {
			}
		},
		"talks nonsense": func(l *link) {
			l.next()
			_, _ = l.Write(make([]byte, 64))
			l.next()
		},
	} {
		port := centre(t, serveLink)
		if r, err := runFloor(t, "smpp", "--port", port, "--count", "4", "--window", "2", "--limit", "20s"); err == nil || r == nil || r.Errors < 2 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	_, port, err := net.SplitHostPort(refused(t))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := runFloor(t, "smpp", "--port", port, "--count", "4"); err == nil || r != nil {
		t.Errorf("nobody is there: %+v, %v", r, err)
	}
}

func FuzzPDU(f *testing.F) {
	f.Add(appendPDU(nil, submitSM|smppResponse, 1, 0))
	f.Add([]byte{0, 0, 0, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bufio.NewReader(strings.NewReader(string(b)))
		var buffer [smppMost]byte
		for left := len(b); ; {
			if _, err := readPDU(in, &buffer); err != nil {
				return
			}
			if left -= smppHead; left < 0 {
				t.Fatal("there are more PDUs than bytes")
			}
		}
	})
}
