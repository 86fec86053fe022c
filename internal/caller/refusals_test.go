package caller

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestTooManyRefusals: bodies of an address that was refused too often are not read.
// What the header alone shows is still let in, and others are unaffected.
func TestTooManyRefusals(t *testing.T) {
	g := newGate(t, signed, bearer)
	for range 2 * peerBurst {
		g.RefuseToken(post("").Request)
	}
	g.wants("grafana", grafana(g.now, "{0}"), 200)
	g.now = g.now.Add(time.Minute) // for lines of the log
	g.log.Reset()
	bad := func() request {
		r := grafana(g.now, "{}")
		r.Header.Set("X-Grafana-Alerting-Signature", strings.Repeat("ab", 32))
		return r
	}
	for range peerBurst {
		g.refuses(ErrRefused, bad())
	}
	reads := g.reads
	g.refuses(ErrLater, bad())
	g.refuses(ErrLater, grafana(g.now, "{}"))
	g.refuses(ErrLater, post("{}", "Authorization", "Bearer hush"))
	if g.reads != reads {
		t.Errorf("%d more bodies were read", g.reads-reads)
	}
	if want := fmt.Sprintf("unsaid=%d", 2*peerBurst-linesBurst); !strings.Contains(g.log.String(), want) || strings.Count(g.log.String(), "\n") != linesBurst {
		t.Errorf("the log has %d lines", strings.Count(g.log.String(), "\n"))
	}
	g.wants("prom", post("{}", "Authorization", "Bearer "+token), 200)
	g.wants("grafana", grafana(g.now, "{}").from("192.0.2.2:1"), 200)
	g.now = g.now.Add(6 * time.Second)
	g.log.Reset()
	g.wants("grafana", grafana(g.now, "{}"), 200)
	g.refuses(ErrRefused, bad())
	if want := fmt.Sprintf("unsaid=%d", peerBurst+3-linesBurst); !strings.Contains(g.log.String(), want) {
		t.Errorf("the log has no %s: %s", want, &g.log)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	f := newRefusals()
	for i := range 2 * maxPeers {
		f.add(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), start)
	}
	if len(f.peers) != maxPeers {
		t.Errorf("%d peers are remembered", len(f.peers))
	}
	f = newRefusals()
	for i := range peerBurst { // one host, with all the addresses of its network
		f.add(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), start)
	}
	if len(f.peers) != 1 || !f.tooMany(netip.MustParseAddr("2001:db8::abcd"), start) || f.tooMany(netip.MustParseAddr("2001:db8:0:1::1"), start) {
		t.Errorf("%d peers", len(f.peers))
	}
	if f.add(netip.Addr{}, start); f.tooMany(netip.Addr{}, start) {
		t.Error("no address is one peer")
	}
}
