package crash

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tocsin/tocsin/internal/peer"
)

// nameServer is this machine's: it knows targets by hN.peers.example. While it is in
// trouble it says SERVFAIL of every second one, and nothing of the others.
type nameServer struct {
	conn    net.PacketConn
	trouble atomic.Bool
	// Questions while it was in trouble and after, or before.
	failed, unanswered, answered atomic.Int64
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close() // which ends it
		<-ended
	})
	return s
}

func (s *nameServer) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := s.answerTo(buffer[:n]); answer != nil {
			_, _ = s.conn.WriteTo(answer, from) // who asked asks again
		}
	}
}

// answerTo answers one question, if it does.
func (s *nameServer) answerTo(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	var number int
	_, err := fmt.Sscanf(q.Name.String(), "h%d.peers.example.", &number)
	switch trouble := s.trouble.Load(); {
	case err != nil:
		answer.RCode = dnsmessage.RCodeNameError
	case trouble && number%2 == 0:
		s.unanswered.Add(1)
		return nil
	case trouble:
		s.failed.Add(1)
		answer.RCode = dnsmessage.RCodeServerFailure
	case q.Type == dnsmessage.TypeA:
		s.answered.Add(1)
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: peer.Host(number).As4()},
		}}
	}
	packed, err := answer.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// The machine's name server says SERVFAIL of some names and nothing of others, and then
// works again. Targets without a name are told all the while; those with one are told
// in the end, of the newest, once.
func TestFault_23_DNSDown(t *testing.T) {
	t.Parallel()
	if !apart(t, `printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' > "$folder/resolv.conf"; mount --bind "$folder/resolv.conf" /etc/resolv.conf`) {
		return
	}
	names := startNameServer(t)
	const all, named = 120, 40
	tr := beginWith(t, "sqlite", "", time.Hour, all, func(e *engine) {
		e.replace("http: true}", fmt.Sprintf("http: true, ports: [%d]}", e.peers))
		e.configure(rareRetries)
	})
	var lines strings.Builder
	for n := 1; n <= named; n++ {
		address := strings.Replace(tr.peers.address(n), peer.Host(n).String(), fmt.Sprintf("h%d.peers.example", n), 1)
		fmt.Fprintf(&lines, `{"channel":"webhook","address":%q,"external_id":"%d","every_update":%t}`+"\n", address, n, tr.everyUpdate(n))
	}
	if err := tr.api.importTargets(t.Context(), strings.NewReader(lines.String()), named); err != nil {
		t.Fatal(err)
	}
	names.trouble.Store(true)
	tr.publishNow(all - named)
	tr.failed(named)
	for _, r := range tr.peers.Receipts() {
		if r.Target <= named {
			t.Errorf("target %d was reached without its address", r.Target)
		}
	}
	names.trouble.Store(false)
	tr.judge()
	if failed, unanswered, answered := names.failed.Load(), names.unanswered.Load(), names.answered.Load(); failed == 0 || unanswered == 0 || answered == 0 {
		t.Errorf("the name server failed %d questions, left %d and answered %d", failed, unanswered, answered)
	}
}
