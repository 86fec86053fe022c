package floor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tocsin/tocsin/bench/tool"
	"github.com/tocsin/tocsin/internal/peer"
)

// The peer of tests reads each mail as a mail reader would.
func TestMailsArriveOnce(t *testing.T) {
	for _, way := range []string{"", "--lockstep"} {
		relay, err := peer.StartSMTP(peer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, address, _ := strings.Cut(relay.URL(), "://")
		address, _, _ = strings.Cut(address, "?")
		args := []string{"smtp", "--address", address, "--count", "40", "--connections", "3"}
		if way != "" {
			args = append(args, way)
		}
		r, err := runFloor(t, args...)
		if err != nil || r.Deliveries != 40 || r.P50MS <= 0 {
			t.Errorf("%s %+v, %v", way, r, err)
		}
		if err := relay.Close(); err != nil {
			t.Error(err)
		}
		got := relay.Report()
		sound(t, got.Report, 40)
		if got.Connections != 3 {
			t.Errorf("%s %d connections", way, got.Connections)
		}
	}
}

func TestMailsThatAreRefused(t *testing.T) {
	mix, err := peer.ParseMix("dead=50")
	if err != nil {
		t.Fatal(err)
	}
	dead := 0
	for n := 1; n <= 20; n++ {
		if mix.Behaviour(n).Kind == peer.Dead {
			dead++
		}
	}
	relay, err := peer.StartSMTP(peer.Options{Script: mix.Behaviour})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	_, address, _ := strings.Cut(relay.URL(), "://")
	address, _, _ = strings.Cut(address, "?")
	// A connection ends with the first mail that is refused; so many are enough.
	r, err := runFloor(t, "smtp", "--address", address, "--count", "20", "--connections", "20")
	if err == nil || !strings.Contains(err.Error(), "451") || r.Errors != dead || r.Deliveries != 20-dead {
		t.Errorf("%+v, %v; %d are dead", r, err, dead)
	}
}

func TestMailsHaveTheirSize(t *testing.T) {
	story, err := NewStory("FLOOR-1", 1024)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1700; size < 1900; size++ {
		l, err := newLetter(&story, size)
		if err != nil {
			t.Fatal(size, err)
		}
		content := l.append(nil, 1)
		if len(content) != size {
			t.Fatalf("%d bytes; want %d", len(content), size)
		}
		for line := range bytes.SplitSeq(bytes.TrimSuffix(content, []byte("\r\n")), []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n") || bytes.HasPrefix(line, []byte(".")) {
				t.Fatalf("a line is %q", line)
			}
		}
		if _, err := mail.ReadMessage(bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
}

// relay answers mails as it is told: the commands before each answer are in said.
func scriptedRelay(c net.Conn, together bool, said func(lines []string)) {
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220-hello\r\n220 relay\r\n")
	if _, err := r.ReadString('\n'); err != nil {
		return
	}
	fmt.Fprint(c, "250-relay\r\n250 PIPELINING\r\n")
	for {
		var lines []string
		for _, answer := range []string{"250 ok\r\n", "250 ok\r\n", "354 go on\r\n"} {
			line, err := r.ReadString('\n')
			if err != nil || line == "QUIT\r\n" {
				fmt.Fprint(c, "221 bye\r\n")
				return
			}
			lines = append(lines, line)
			if !together {
				if r.Buffered() > 0 {
					lines = append(lines, "too early")
				}
				fmt.Fprint(c, answer)
			}
		}
		if together {
			fmt.Fprint(c, "250 ok\r\n250 ok\r\n354 go on\r\n")
		}
		said(lines)
		for line := ""; line != ".\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		fmt.Fprint(c, "250 taken\r\n")
	}
}

// With PIPELINING a relay that waits for all three commands gets them; in lockstep
// each waits for the answer to the one before.
func TestPipeliningAndLockstep(t *testing.T) {
	for _, together := range []bool{true, false} {
		said := make(chan []string, 2)
		address := serve(t, func(c net.Conn) { scriptedRelay(c, together, func(lines []string) { said <- lines }) })
		args := []string{"smtp", "--address", address.String(), "--count", "2", "--connections", "1", "--limit", "20s"}
		if !together {
			args = append(args, "--lockstep")
		}
		if r, err := runFloor(t, args...); err != nil || r.Deliveries != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		for n := 1; n <= 2; n++ {
			want := "MAIL FROM:<status@example.com>\r\nRCPT TO:<" + peer.Mailbox(n) + ">\r\nDATA\r\n"
			if got := strings.Join(<-said, ""); got != want {
				t.Errorf("%q; want %q", got, want)
			}
		}
	}
}

func TestRelaysThatGoAway(t *testing.T) {
	silent := serve(t, func(c net.Conn) { fmt.Fprint(c, "220 relay\r\n") })
	angry := serve(t, func(c net.Conn) { fmt.Fprint(c, "554 no\r\n") })
	for name, address := range map[string]string{"closes": silent.String(), "refuses": angry.String(), "is not there": refused(t)} {
		if r, err := runFloor(t, "smtp", "--address", address, "--count", "3", "--connections", "2"); err == nil || r.Errors != 3 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestReplies(t *testing.T) {
	for said, want := range map[string]int{
		"250 ok\r\n": 250, "250\r\n": 250, "250-a\r\n250-b\r\n250 c\r\nrest": 250, "354 go on\n": 354,
		"250-a\r\n251 b\r\n": 0, "25\r\n": 0, "abc d\r\n": 0, "250 o": 0, "": 0, "250-a\r\n": 0,
		strings.Repeat("250-a\r\n", 200): 0, "250 " + strings.Repeat("x", 5000) + "\r\n": 0,
	} {
		if got, err := readReply(bufio.NewReader(strings.NewReader(said))); got != want || (err == nil) != (want != 0) {
			t.Errorf("%.20q: %d, %v", said, got, err)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("250-a\r\n250 b\r\n")
	f.Add("354 c\n")
	f.Fuzz(func(t *testing.T, said string) {
		code, err := readReply(bufio.NewReader(strings.NewReader(said)))
		again, slow := readReply(bufio.NewReader(iotest.OneByteReader(strings.NewReader(said))))
		if code != again || (err == nil) != (slow == nil) || err == nil && (code < 0 || code > 999) {
			t.Errorf("%d, %v; in bytes %d, %v", code, err, again, slow)
		}
	})
}

func TestSMTPSource(t *testing.T) {
	sink, err := tool.StartSMTPSink()
	if errors.Is(err, tool.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := runFloor(t, "smtp-source", "--address", sink.Address, "--count", "30", "--connections", "4", "--size", "2500")
	if errors.Is(err, tool.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil || r.Deliveries != 30 || r.PerS <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// And by ourselves.
	if r, err := runFloor(t, "smtp", "--address", sink.Address, "--count", "12", "--connections", "4"); err != nil || r.Deliveries != 12 {
		t.Errorf("%+v, %v", r, err)
	}
	awaitMails(t, sink, 42)
	if r, err := runFloor(t, "smtp-source", "--address", refused(t), "--count", "3", "--connections", "1"); err == nil || r != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// awaitMails waits until the sink has counted so many.
func awaitMails(t *testing.T, sink *tool.SMTPSink, want int) {
	t.Helper()
	for {
		got, err := sink.Mails()
		if err != nil || got > want {
			t.Fatalf("%d mails, %v; want %d", got, err, want)
		}
		if got == want {
			return
		}
		conn, err := net.Dial("tcp", sink.Address) // it counts between two answers
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "QUIT\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}

// What every mail has is as long for every target with as many digits.
func TestLettersDifferInTheirRecipient(t *testing.T) {
	story, err := NewStory("FLOOR-1", 1024)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLetter(&story, 2500)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for n := 1; n <= 9; n++ {
		m := string(l.append(nil, n))
		if len(m) != 2500 || seen[m] || !strings.Contains(m, "To: "+peer.Mailbox(n)+"\r\n") || !strings.Contains(m, strconv.Itoa(n)+"@example.com>\r\nReferences:") {
			t.Errorf("%s", m)
		}
		seen[m] = true
	}
}
